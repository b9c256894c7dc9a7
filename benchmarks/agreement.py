"""Effect of reduced precision, and of one window instead of tiles, on maps and scores of trained members."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tyro.conf import Positional

from benchmarks.benchmark import Benchmark
from benchmarks.heading import describe_head
from mapping_stroke.console import track
from mapping_stroke.dataset.cases import Case, read_cases
from mapping_stroke.dataset.folds import read_folds
from mapping_stroke.dataset.scan_checks import tame_outliers
from mapping_stroke.errors import RunFolderError
from mapping_stroke.evaluation.metrics import dice
from mapping_stroke.images.image import Image, Mask, Probability, read_image
from mapping_stroke.inference.engines import Engine, choose_device, choose_engine
from mapping_stroke.inference.ensemble import Ensemble
from mapping_stroke.inference.sliding_window import WindowConfig
from mapping_stroke.networks.bundle import Bundle, open_bundle
from mapping_stroke.rules import postprocess
from mapping_stroke.run_folder import RunFolder

REFERENCE = "torch, float32, tiles"


@dataclass(frozen=True)
class Agreement(Benchmark):
    """Compare reduced precision, and one window instead of tiles, with float32 on a run's held-out cases."""

    run_folder: Positional[Path]
    """Run folder with trained members and labelled cases."""
    device: str = "auto"
    """Device of the usual precision; float32 is computed on the CPU."""

    def report(self) -> str:
        """Predict every held-out case with each setting, and list the differences."""
        found = bench_agreement(RunFolder(self.run_folder), self.device)
        return describe_agreement(found, "python -m benchmarks agreement RUN", self.device)


@dataclass(frozen=True)
class Comparison:
    """One setting on one case, compared with torch in float32 with tiles.

    Attributes:
        way: Name of the setting.
        dice: Dice of the post-processed mask with the reference mask.
        mask_dice: Dice of the post-processed mask with the float32 mask.
        difference: Mean absolute difference of P(lesion) inside the brain.
    """

    way: str
    dice: float
    mask_dice: float
    difference: float


def bench_agreement(run: RunFolder, device: str = "auto") -> list[Comparison]:
    """Predict every labelled case of a run with the members of its own fold, with each setting.

    Raises:
        RunFolderError: No fold of the run has both members and labelled cases.
    """
    cases = [case for case in read_cases(run.require(run.cases_csv, "prepare DATA -o")) if case.mask is not None]
    folds = read_folds(run.require(run.folds_csv, "folds"), cases)
    bundle = open_bundle(run.members)
    trained = {member.card.fold for member in bundle.card.members}
    wanted = [case for case in cases if folds[case.case_id] in trained]
    if not wanted:
        raise RunFolderError(f"{run.path}: no labelled case of a trained fold; train a fold first")
    ways = _ways(device)
    found = []
    for case in track(wanted, "Comparing", len(wanted)):
        found += _compare(case, bundle, folds[case.case_id], ways)
    return found


def _ways(device: str) -> dict[str, tuple[Engine, WindowConfig]]:
    exact, usual = choose_engine("cpu", "torch", "float32"), choose_engine(device)
    return {
        REFERENCE: (exact, WindowConfig()),
        f"{usual.description}, tiles": (usual, WindowConfig()),
        f"{usual.description}, one window": (usual, WindowConfig(cover="window")),
        "torch, float32, one window": (exact, WindowConfig(cover="window")),
    }


def _compare(case: Case, bundle: Bundle, fold: int, ways: dict[str, tuple[Engine, WindowConfig]]) -> list[Comparison]:
    scan = tame_outliers(read_image(case.scan))
    truth = read_image(_mask_of(case)).voxels > 0
    members = [member for member in bundle.card.members if member.card.fold == fold]
    exact: tuple[Probability, Mask] | None = None
    rows = []
    for way, (engine, window) in ways.items():
        ensemble = Ensemble(bundle, engine, window, members)
        probability = ensemble.predict(ensemble.prepare(scan)).probability
        mask = postprocess(probability, "mapping", scan.voxel_volume_mm3)
        exact = exact or (probability, mask)  # the reference comes first
        rows.append(Comparison(way, dice(mask, truth), dice(mask, exact[1]), _difference(probability, exact[0], scan)))
    return rows


def _mask_of(case: Case) -> Path:
    if case.mask is None:
        raise RunFolderError(f"{case.case_id}: has no reference mask")
    return case.mask


def _difference(probability: Probability, exact: Probability, scan: Image) -> float:
    return float(np.abs(probability - exact)[scan.voxels != 0].mean())


def describe_agreement(found: Sequence[Comparison], command: str, device: str = "auto") -> str:
    """Means over the cases, as Markdown, for the device of `bench_agreement`."""
    ways = list(dict.fromkeys(row.way for row in found))
    rows = {way: [row for row in found if row.way == way] for way in ways}
    exact_dice = float(np.mean([row.dice for row in rows[ways[0]]]))
    lines = [
        *describe_head(
            "Agreement with float32 on trained weights",
            command,
            ("openvino", "torch"),
            device=choose_device(device).type,
        ),
        f"{len(rows[ways[0]])} held-out cases, each predicted by its own fold's members; masks by the rule `mapping`.",
        "",
        "| way | Dice | against float32 | mask Dice with float32, mean | lowest | mean difference of P in the brain |",
        "|---|---|---|---|---|---|",
    ]
    for way in ways:
        scores, same = [row.dice for row in rows[way]], [row.mask_dice for row in rows[way]]
        difference = float(np.mean([row.difference for row in rows[way]]))
        lines.append(
            f"| {way} | {np.mean(scores):.4f} | {np.mean(scores) - exact_dice:+.4f} | {np.mean(same):.4f} "
            f"| {min(same):.4f} | {difference:.5f} |"
        )
    return "\n".join([*lines, ""])
