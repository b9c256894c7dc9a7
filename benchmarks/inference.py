"""Segmentation of one scan compared with nnU-Net: same weights, same scan, whole commands."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np

from benchmarks.benchmark import Benchmark, require_at_least
from benchmarks.chip import ChipRates, measure_chip
from benchmarks.commands import OURS, BenchError, Cost, Costs, run_command
from benchmarks.heading import describe_head
from mapping_stroke.console import track
from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.images.formats import image_suffix
from mapping_stroke.images.image import read_image, write_image
from mapping_stroke.interop.nnunet_export import write_nnunet_v2
from mapping_stroke.networks.bundle import Bundle, open_bundle, write_bundle
from mapping_stroke.networks.cards import BundleCard, BundleMember, MemberCard
from mapping_stroke.networks.spec import NetworkSpec, Weights
from mapping_stroke.networks.unet import build_unet, unet_weights

NNUNET_COMMAND = "nnUNetv2_predict_from_modelfolder"
NETWORK = NetworkSpec()
PATCH = (128, 128, 128)
"""Network and patch of every member."""
QUIET = -9.0
"""Added to the bias of the lesion output of an untrained network, so that it marks few voxels, like a trained one."""


@dataclass(frozen=True)
class Inference(Benchmark):
    """Compare segmentation of one scan with nnU-Net v2: same weights, time and memory of whole commands."""

    nnunet: Path | None = None
    """Folder of the commands of an installed nnU-Net v2 (its environment's `bin`); without it only ours is measured."""
    scan: Path | None = None
    """T1w scan; if left out, a stroke simulated on the template, 197x233x189 at 1 mm."""
    members: int = 4
    """Members of the ensemble that is compared with one member."""
    cohort: int = 20
    """Scans of a single call whose time and memory are monitored; 0 skips that."""
    repeats: int = 3
    """Runs of each program; medians are reported."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Device of both programs."""

    def __post_init__(self) -> None:
        require_at_least("--repeats", self.repeats)

    def report(self) -> str:
        """Run all programs in turns, and list the medians and their ratios."""
        nnunet = " --nnunet ENVIRONMENT/bin" if self.nnunet else ""
        scan = f" --scan {self.scan.name}" if self.scan else ""
        numbers = f"--members {self.members} --cohort {self.cohort} --repeats {self.repeats} --device {self.device}"
        command = f"python -m benchmarks inference{nnunet}{scan} {numbers}"
        return describe_inference(bench_inference(self), self, command)


@dataclass(frozen=True)
class InferenceResult:
    """Results of the benchmark.

    Attributes:
        reference: nnU-Net, one member, no mirroring; None if it was skipped.
        ours: Our presets.
        stages: Seconds of each step of our run with one member and tiles, from its `run.json`.
        chip: Performance of the processor; None on a GPU.
        cohort: Seconds of each scan of a cohort, in order, and the peak memory of that command.
        disagreement: Share of voxels in which our mask of P > 0.5 differs from nnU-Net's; None without nnU-Net.
    """

    reference: Costs | None
    ours: tuple[Costs, ...]
    stages: dict[str, float]
    chip: ChipRates | None
    cohort: tuple[tuple[float, ...], float]
    disagreement: float | None


def bench_inference(config: Inference) -> InferenceResult:
    """Run all programs in turns on one scan. Raises `BenchError` if a command fails."""
    with _workplace(config) as place:
        ways = _commands(config, place)
        costs: dict[str, list[Cost]] = {way: [] for way in ways}
        # in turns, so that changes of the machine's speed affect all programs equally
        turns = [(way, command) for _ in range(config.repeats) for way, command in ways.items()]
        for way, command in track(turns, "Measuring", len(turns)):
            shutil.rmtree(place / "results" / way, ignore_errors=True)
            costs[way].append(run_command(command))
        measured = {way: Costs(way, tuple(each)) for way, each in costs.items()}
        reference = measured.pop("nnunet", None)
        ours = tuple(measured.values())
        stages = _stages(place / "results" / "tiles", ours[0].seconds)
        disagreement = _disagreement(place) if config.nnunet else None
        chip = measure_chip(NETWORK, PATCH) if config.device == "cpu" else None
        return InferenceResult(reference, ours, stages, chip, _measure_cohort(config, place), disagreement)


@contextmanager
def _workplace(config: Inference) -> Iterator[Path]:
    """A folder with `scans/case_0000.nii.gz`, the models `one.mapping` and `many.mapping`, and nnU-Net's `nnunet/`."""
    with TemporaryDirectory(prefix="mapping-bench-") as folder:
        place = Path(folder)
        (place / "scans").mkdir()
        scan = config.scan or _simulate(place)
        _copy_scan(scan, place / "scans" / "case_0000.nii.gz")
        one = _write_model(place / "one.mapping", 1)
        _write_model(place / "many.mapping", config.members)
        if config.nnunet:
            write_nnunet_v2(one.card, one.read_weights, place / "nnunet")
        yield place


def _copy_scan(scan: Path, copy: Path) -> None:
    """Copy a scan of any format to a `.nii.gz` file."""
    if image_suffix(scan) == ".nii.gz":  # all that nnU-Net reads here
        shutil.copyfile(scan, copy)
    else:
        image = read_image(scan)
        write_image(copy, image.voxels, image)


def _simulate(place: Path) -> Path:
    run_command([*OURS, "simulate", str(place / "cohort"), "--subjects", "1", "--seed", "0"])
    return next((place / "cohort").rglob("*_T1w.nii.gz"))


def _write_model(path: Path, members: int) -> Bundle:
    cards = [MemberCard("default", fold, NETWORK, PreprocessSpec(), PATCH, {}) for fold in range(members)]
    card = BundleCard("bench", tuple(BundleMember(each) for each in cards), fast_cover="window")
    return open_bundle(write_bundle(path, card, _untrained_weights))


def _untrained_weights(member: BundleMember) -> Weights:
    weights = unet_weights(build_unet(member.card.network, seed=member.card.fold))
    weights[f"decoder.seg_layers.{member.card.network.stages - 2}.bias"][1] += QUIET
    return weights


def _commands(config: Inference, place: Path) -> dict[str, Sequence[str]]:
    """All commands by name, with nnU-Net first if it is given."""
    scan, results = str(place / "scans" / "case_0000.nii.gz"), place / "results"

    def segment(way: str, model: str, preset: str) -> Sequence[str]:
        options = ["-o", str(results / way), "--model", str(place / model), "--preset", preset]
        return [*OURS, "segment", scan, *options, "--device", config.device, "--no-picture"]

    ways = {
        "tiles": segment("tiles", "one.mapping", "balanced"),
        "fast": segment("fast", "many.mapping", "fast"),
        "ensemble": segment("ensemble", "many.mapping", "balanced"),
    }
    if config.nnunet is None:
        return ways
    program = config.nnunet / NNUNET_COMMAND
    if not program.is_file():
        raise BenchError(f"{program}: no such file; name the folder of nnU-Net v2's commands with --nnunet")
    model = next((place / "nnunet").glob("*/*__*"))
    places = ["-i", str(place / "scans"), "-o", str(results / "nnunet"), "-m", str(model), "-f", "0"]
    reference = [str(program), *places, "-device", config.device, "--disable_tta", "-npp", "1", "-nps", "1"]
    return {"nnunet": reference, **ways}


def _stages(results: Path, whole_s: float) -> dict[str, float]:
    """Seconds of each step as recorded by the command, and the rest: starting and loading."""
    (scan,) = json.loads((results / "run.json").read_text(encoding="utf-8"))["record"]["scans"].values()
    stages: dict[str, float] = scan["seconds"]
    return {**stages, "start and load": max(whole_s - sum(stages.values()), 0.0)}


def _disagreement(place: Path) -> float:
    theirs = read_image(next((place / "results" / "nnunet").glob("*.nii.gz"))).voxels > 0
    ours = read_image(place / "results" / "tiles" / "case_0000_probability.nii.gz").voxels > 0.5
    return float(np.mean(theirs != ours))


def _measure_cohort(config: Inference, place: Path) -> tuple[tuple[float, ...], float]:
    if config.cohort == 0:
        return (), 0.0
    scans = place / "cohort-scans"
    scans.mkdir()
    for number in range(config.cohort):
        shutil.copyfile(place / "scans" / "case_0000.nii.gz", scans / f"scan{number:03}.nii.gz")
    model = ["--model", str(place / "one.mapping"), "--preset", "fast", "--device", config.device, "--no-picture"]
    results = place / "results" / "cohort"
    cost = run_command([*OURS, "segment", *map(str, sorted(scans.iterdir())), "-o", str(results), *model])
    record = json.loads((results / "run.json").read_text(encoding="utf-8"))["record"]
    return tuple(sum(scan["seconds"].values()) for scan in record["scans"].values()), cost.peak_bytes


def median_after_first(seconds: Sequence[float]) -> float:
    """Median of all but the first, or NaN if there is only one."""
    return median(seconds[1:]) if len(seconds) > 1 else float("nan")


MEGABYTE = 1e6
TITLE = "Segmentation of one scan, compared with nnU-Net"
WAYS = {
    "nnunet": "nnU-Net v2, one member, no mirroring",
    "tiles": "ours, same member and tiles",
    "fast": "ours, `fast`: one member, one window",
    "ensemble": "ours, `balanced`: all members, tiles",
}


def describe_inference(result: InferenceResult, config: Inference, command: str) -> str:
    """The complete report."""
    lines = [
        *describe_head(TITLE, command, ("openvino", "torch"), device=config.device),
        f"The same scan ({config.scan.name if config.scan else 'a simulated stroke, 197x233x189 at 1 mm'}), the same "
        f"weights (untrained networks: speed does not depend on training), {len(result.ours[0].repeats)} repeats in "
        "turns. Times are those of whole commands, from start to last file; memory is the peak of the largest process.",
        "",
        *_table(result, config),
        "",
        *_where_time_goes(result),
        "",
        *_cohort(result),
    ]
    return "\n".join([*lines, ""])


def _table(result: InferenceResult, config: Inference) -> list[str]:
    ways = [*([result.reference] if result.reference else []), *result.ours]
    head = [
        "| program | median | fastest | slowest | peak memory | speed-up | memory ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    rows = [_row(costs, result.reference) for costs in ways]
    one, many = result.ours[0], result.ours[-1]
    ratio = many.seconds / one.seconds
    notes = ["", f"{config.members} members take **{ratio:.2f}** times as long as one."]
    if result.disagreement is not None:
        notes.append(f"Our mask (P > 0.5) and nnU-Net's differ in {100 * result.disagreement:.4f} % of the voxels.")
    return [*head, *rows, *notes]


def _row(costs: Costs, reference: Costs | None) -> str:
    seconds = [cost.seconds for cost in costs.repeats]
    times = f"{reference.seconds / costs.seconds:.1f}" if reference else ""
    share = f"{costs.peak_bytes / reference.peak_bytes:.2f}" if reference else ""
    return (
        f"| {WAYS[costs.way]} | {costs.seconds:.1f} s | {min(seconds):.1f} s | {max(seconds):.1f} s "
        f"| {costs.peak_bytes / MEGABYTE:.0f} MB | {times} | {share} |"
    )


def _where_time_goes(result: InferenceResult) -> list[str]:
    total = sum(result.stages.values())
    head = [
        "## Where the time goes",
        "",
        "One member, tiles; the median command.",
        "",
        "| step | seconds | share |",
        "|---|---|---|",
    ]
    rows = [f"| {step} | {seconds:.2f} | {100 * seconds / total:.0f} % |" for step, seconds in result.stages.items()]
    return [*head, *rows, *(_chip(result.chip) if result.chip else [])]


def _chip(chip: ChipRates) -> list[str]:
    share = chip.network / chip.convolution
    return [
        "",
        f"One patch takes {chip.patch_s:.2f} s: {chip.network / 1e9:.0f} GFLOP/s in {chip.precision}, "
        f"{100 * share:.0f} % of the {chip.convolution / 1e9:.0f} GFLOP/s that 3x3x3 convolutions reach by themselves "
        "at the finest stage. The rest is spent on InstanceNorm, transposed convolutions, and stages with few voxels.",
    ]


def _cohort(result: InferenceResult) -> list[str]:
    seconds, peak_bytes = result.cohort
    if len(seconds) < 2:
        return []
    single = next(costs for costs in result.ours if costs.way == "fast")
    return [
        "## A cohort",
        "",
        f"{len(seconds)} scans in one call, `fast`: {seconds[0]:.1f} s for the first, "
        f"{median_after_first(seconds):.1f} s (median) for each of the others; peak memory "
        f"{peak_bytes / MEGABYTE:.0f} MB, compared with {single.peak_bytes / MEGABYTE:.0f} MB for one scan. "
        f"{_growth(seconds)}",
    ]


def _growth(seconds: Sequence[float]) -> str:
    if len(seconds) < 3:
        return ""
    half = len(seconds) // 2
    ratio = sum(seconds[-half:]) / max(sum(seconds[1 : 1 + half]), 1e-9)
    return f"The second half took {ratio:.2f} times as long as the first."
