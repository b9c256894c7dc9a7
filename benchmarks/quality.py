"""Accuracy compared with the stock nnU-Net, trained and scored in the same way on one simulated cohort."""

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, median, stdev
from typing import Literal

from tyro.conf import Positional

from benchmarks.benchmark import Benchmark, require_at_least
from benchmarks.commands import OURS, BenchError, run_command
from benchmarks.heading import describe_head
from benchmarks.nnunet_training import (
    nnunet_versions,
    predict_command,
    prepare_command,
    train_command,
    write_nnunet_data,
)
from benchmarks.training_task import LabelledScan, TrainingJob, TrainingTask
from mapping_stroke.console import say
from mapping_stroke.dataset.folds import size_balanced_folds
from mapping_stroke.dataset.layouts import find_cases
from mapping_stroke.evaluation.score import score
from mapping_stroke.files import read_object, remove, write_json
from mapping_stroke.images.formats import image_suffix
from mapping_stroke.images.image import read_image, write_image
from mapping_stroke.networks.member_folder import read_card
from mapping_stroke.networks.spec import NetworkSpec
from mapping_stroke.run_folder import claim_folder

Program = Literal["ours", "nnunet"]
PROGRAMS: tuple[Program, Program] = ("nnunet", "ours")
METRICS = ("dice", "lesion_f1")
FOLDS = 3
"""One of them is for validation."""
TASK = TrainingTask(
    NetworkSpec("plain", (12, 24, 48, 96), (2, 2, 2, 2)), (40, 40, 40), 3.0, epochs=30, steps=50, validation_steps=5
)
"""Two cores train it six times in less than an hour, and it finds the larger lesions."""


@dataclass(frozen=True)
class Quality(Benchmark):
    """Compare accuracy with the stock nnU-Net v2, trained in the same way on one cohort with several seeds."""

    cohort: Positional[Path]
    """Folder of labelled scans, such as `mapping simulate` writes, with masks of 0 and 1; 60 or more."""
    nnunet: Path
    """Folder of the commands of an installed nnU-Net v2 (its environment's `bin`)."""
    work: Path | None = None
    """Folder that keeps the trainings, for resuming; COHORT-quality if left out."""
    seeds: int = 3
    """Trainings of each program."""

    def __post_init__(self) -> None:
        require_at_least("--seeds", self.seeds)

    @property
    def folder(self) -> Path:
        """The folder that keeps the trainings."""
        return self.work or self.cohort.with_name(f"{self.cohort.name}-quality")

    def report(self) -> str:
        """Run the missing trainings, and list every run, the means, and the variation between seeds."""
        command = f"python -m benchmarks quality COHORT --nnunet ENVIRONMENT/bin --seeds {self.seeds}"
        return describe_quality(bench_quality(self), command)


@dataclass(frozen=True)
class QualityRun:
    """The result of one training.

    Attributes:
        program: Program that trained.
        seed: Seed of the training.
        scores: Scores of each validation case, by metric.
    """

    program: Program
    seed: int
    scores: dict[str, tuple[float, ...]]

    def mean(self, metric: str = "dice") -> float:
        """Mean over the validation cases."""
        return mean(self.scores[metric])


@dataclass(frozen=True)
class QualityResult:
    """Results of the benchmark.

    Attributes:
        runs: All runs, by program, then seed.
        training: Number of training cases.
        validation: Number of scored cases.
        precision: Precision of our training.
        versions: Versions of nnU-Net and its torch.
    """

    runs: tuple[QualityRun, ...]
    training: int
    validation: int
    precision: str
    versions: str

    def of(self, program: Program) -> tuple[QualityRun, ...]:
        """The runs of one program."""
        return tuple(run for run in self.runs if run.program == program)

    def mean(self, program: Program) -> float:
        """Mean Dice over all seeds of a program."""
        return mean(run.mean() for run in self.of(program))

    def noise(self, program: Program) -> float:
        """Standard deviation (n - 1) of the mean Dice over the seeds of a program, or 0 for one seed."""
        means = [run.mean() for run in self.of(program)]
        return stdev(means) if len(means) > 1 else 0.0


def bench_quality(config: Quality) -> QualityResult:
    """Train, predict and score with both programs in parallel, one torch thread each. Finished runs are kept.

    Raises:
        BenchError: The cohort has too few labelled scans, or a command fails.
        RunFolderError: The work folder holds something else.
    """
    training, validation = split_cohort(config.cohort)
    split = {"training": [case.case_id for case in training], "validation": [case.case_id for case in validation]}
    claim_folder(config.folder, {"kind": "bench", "command": "quality", "task": asdict(TASK), **split})
    training, validation = (as_nifti(cases, config.folder / "nifti") for cases in (training, validation))
    # one thread each, since both programs run at the same time
    base = TrainingJob(TASK, training, validation, "", str(config.folder / "nnunet"), threads=1)
    link_scans(validation, config.folder / "scans")
    _prepare_nnunet(base, config)
    with ThreadPoolExecutor(len(PROGRAMS)) as pool:
        running = [pool.submit(_run_seeds, program, base, config) for program in PROGRAMS]
        runs = [run for each in running for run in each.result()]
    card, _ = read_card(config.folder / "runs" / "ours-0")
    precision, versions = card.training["precision"], nnunet_versions(config.nnunet)
    return QualityResult(tuple(runs), len(training), len(validation), precision, versions)


def split_cohort(cohort: Path) -> tuple[tuple[LabelledScan, ...], tuple[LabelledScan, ...]]:
    """Two folds for training and one for validation, balanced by load, each person in one of them."""
    found = {case.case_id: case for case in find_cases(cohort).cases if case.mask is not None}
    if len(found) < 2 * FOLDS:
        raise BenchError(f"{cohort}: has {len(found)} labelled scans, expected {2 * FOLDS} or more; simulate more")
    loads = {case_id: int((read_image(Path(str(case.mask))).voxels > 0).sum()) for case_id, case in found.items()}
    folds = size_balanced_folds(loads, FOLDS, groups={case_id: case.subject for case_id, case in found.items()})
    scans = {case_id: LabelledScan(case_id, str(case.scan), str(case.mask)) for case_id, case in found.items()}
    training = tuple(scans[case_id] for case_id in sorted(scans) if folds[case_id] != 0)
    return training, tuple(scans[case_id] for case_id in sorted(scans) if folds[case_id] == 0)


def as_nifti(cases: Sequence[LabelledScan], folder: Path) -> tuple[LabelledScan, ...]:
    """The same cases as `.nii.gz` files, the only format that nnU-Net is set up for here. Others are converted."""
    return tuple(replace(case, scan=_copy(case, "scan", folder), mask=_copy(case, "mask", folder)) for case in cases)


def _copy(case: LabelledScan, what: Literal["scan", "mask"], folder: Path) -> str:
    given = Path(case.scan if what == "scan" else case.mask)
    if image_suffix(given) == ".nii.gz":
        return str(given)
    copy = folder / f"{case.case_id}_{what}.nii.gz"
    if not copy.is_file():
        image = read_image(given)
        write_image(copy, image.voxels if what == "scan" else image.voxels > 0, image)
    return str(copy)


def link_scans(cases: Sequence[LabelledScan], folder: Path) -> None:
    """Link each scan in a folder as `<case>_0000.nii.gz`, the name that nnU-Net requires."""
    folder.mkdir(parents=True, exist_ok=True)
    for case in cases:
        link = folder / f"{case.case_id}_0000.nii.gz"
        if not link.exists():
            link.symlink_to(Path(case.scan).resolve())


def _prepare_nnunet(job: TrainingJob, config: Quality) -> None:
    done = Path(job.prepared) / "done.json"
    if not done.is_file():
        say("nnU-Net preprocesses the scans")
        write_nnunet_data(job)
        prepare = prepare_command(job, config.nnunet)
        run_command(prepare.command, prepare.environment)
        write_json(done, {})


def _run_seeds(program: Program, base: TrainingJob, config: Quality) -> list[QualityRun]:
    train = {"ours": _train_ours, "nnunet": _train_nnunet}[program]
    runs = []
    for seed in range(config.seeds):
        folder = config.folder / "runs" / f"{program}-{seed}"
        prepared = base.prepared if program == "nnunet" else str(config.folder / "arrays")
        job = replace(base, folder=str(folder), prepared=prepared, seed=seed)
        runs.append(_run_once(program, job, config, train))
        say(f"{program}, seed {seed}: mean Dice {runs[-1].mean():.4f}")
    return runs


def _run_once(
    program: Program, job: TrainingJob, config: Quality, train: Callable[[TrainingJob, Quality, Path], None]
) -> QualityRun:
    """Train, predict and score, or return the scores of an earlier call."""
    kept = config.folder / "runs" / f"{program}-{job.seed}-scores.json"
    scores = read_object(kept)
    if not scores:
        masks = Path(job.folder).with_name(f"{program}-{job.seed}-masks")
        remove(masks)
        train(job, config, masks)
        scores = score_masks(job.validation, masks)
        write_json(kept, scores)
    return QualityRun(program, job.seed, {metric: tuple(scores[metric]) for metric in METRICS})


def _train_ours(job: TrainingJob, config: Quality, masks: Path) -> None:
    run_command([sys.executable, "-m", "benchmarks.our_training", str(job.write())])
    options = ["--model", job.folder, "--rule", "none", "--no-picture", "--device", job.device]
    run_command([*OURS, "segment", str(config.folder / "scans"), "-o", str(masks), *options])


def _train_nnunet(job: TrainingJob, config: Quality, masks: Path) -> None:
    remove(Path(job.folder))
    train = train_command(job, config.nnunet)
    run_command(train.command, train.environment)
    predict = predict_command(job, config.folder / "scans", masks, config.nnunet)
    run_command(predict.command, predict.environment)


def score_masks(cases: Sequence[LabelledScan], masks: Path) -> dict[str, list[float]]:
    """Each metric of every case, for masks of either program. Raises `BenchError` if one is missing."""
    scores: dict[str, list[float]] = {metric: [] for metric in METRICS}
    for case in cases:
        names = (f"{case.case_id}.nii.gz", f"{case.case_id}_0000_mask.nii.gz")
        found = next((masks / name for name in names if (masks / name).is_file()), None)
        if found is None:
            raise BenchError(f"{masks}: has no mask of {case.case_id}, expected {' or '.join(names)}; run it again")
        values = score(read_image(found).voxels > 0, read_image(Path(case.mask)).voxels > 0)
        for metric in METRICS:
            scores[metric].append(values[metric])
    return scores


TITLE = "Accuracy of ours and of nnU-Net, trained in the same way on simulated strokes"
NAMES: dict[Program, str] = {"nnunet": "stock nnU-Net", "ours": "ours"}


def describe_quality(result: QualityResult, command: str) -> str:
    """The complete report."""
    lines = [
        *describe_head(TITLE, command, ("torch",), others=result.versions),
        *_method(result),
        "",
        "| program | seed | mean Dice | median Dice | mean lesion-wise F1 |",
        "|---|---|---|---|---|",
        *(_row(run) for run in result.runs),
        "",
        "| program | seeds | mean Dice | standard deviation over seeds | mean lesion-wise F1 |",
        "|---|---|---|---|---|",
        *(_sum_up(program, result.of(program)) for program in PROGRAMS),
        "",
        *_verdict(result),
    ]
    return "\n".join([*lines, ""])


def _method(result: QualityResult) -> list[str]:
    task, network = TASK, TASK.network
    return [
        "Simulated data: these scores compare two programs; they do not show how well either segments patients.",
        "",
        f"{result.training} training cases and {result.validation} scored cases, balanced by lesion load, each person "
        f"in only one of the two; {task.epochs} epochs of {task.steps} steps, {task.batch} patches of "
        f"{'x'.join(map(str, task.patch))} voxels of {task.spacing_mm:g} mm; {network.encoder} U-Net, features "
        f"{' '.join(map(str, network.features))}; SGD, 0.01 falling to 0. nnU-Net is the stock `nnUNetTrainer` with "
        "its own preprocessing, loaders, augmentation and loss (only the numbers of epochs and steps and the seed are "
        f"set), in float32; ours trains with default options, here in {result.precision}. Each program predicts with "
        "its own command (tiles at half a patch, no mirroring); the masks are P > 0.5 without post-processing, all "
        "scored in the same way.",
    ]


def _row(run: QualityRun) -> str:
    dice = run.scores["dice"]
    return (
        f"| {NAMES[run.program]} | {run.seed} | {mean(dice):.4f} | {median(dice):.4f} | {run.mean('lesion_f1'):.4f} |"
    )


def _sum_up(program: Program, runs: Sequence[QualityRun]) -> str:
    means = [run.mean() for run in runs]
    spread = f"{stdev(means):.4f}" if len(means) > 1 else ""
    f1 = mean(run.mean("lesion_f1") for run in runs)
    return f"| {NAMES[program]} | {len(runs)} | **{mean(means):.4f}** | {spread} | {f1:.4f} |"


def _verdict(result: QualityResult) -> list[str]:
    difference, noise = result.mean("ours") - result.mean("nnunet"), result.noise("nnunet")
    if noise == 0:
        return [f"Ours minus nnU-Net: **{difference:+.4f}**; a single seed does not show the noise."]
    holds = "not lower" if difference >= -noise else "LOWER"
    return [
        f"Ours minus nnU-Net: **{difference:+.4f}**; the standard deviation over nnU-Net's seeds is "
        f"{noise:.4f}. Ours is {holds} than nnU-Net by more than its seed noise."
    ]
