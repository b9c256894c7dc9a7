"""Accuracy compared with the stock nnU-Net: trained and scored in the same way on one simulated cohort."""

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, median, stdev
from typing import Literal

from benchmarks.commands import OURS, BenchError, run_command
from benchmarks.heading import describe_head
from benchmarks.nnunet_training import (
    nnunet_versions,
    tell_predict,
    tell_prepare,
    tell_train,
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
"""What two cores train six times in less than an hour, and what finds the larger lesions."""


@dataclass(frozen=True)
class QualityBench:
    """What is measured.

    Attributes:
        cohort: Labelled scans in any layout that `prepare` reads; masks of 0 and 1.
        nnunet: Where nnU-Net v2's commands lie.
        work: Where trainings and their results are kept; a repeat goes on there.
        seeds: Trainings of each program.
        task: What is trained.
    """

    cohort: Path
    nnunet: Path
    work: Path
    seeds: int = 3
    task: TrainingTask = TASK


@dataclass(frozen=True)
class QualityRun:
    """What one training came to.

    Attributes:
        program: Who trained.
        seed: From which seed.
        scores: Of each validation case, by metric.
    """

    program: Program
    seed: int
    scores: dict[str, tuple[float, ...]]

    def mean(self, metric: str = "dice") -> float:
        """Over the validation cases."""
        return mean(self.scores[metric])


@dataclass(frozen=True)
class QualityResult:
    """What came out.

    Attributes:
        runs: By program, then seed.
        training: Cases to learn from.
        validation: Cases scored.
        precision: Ours trained in.
        versions: Of nnU-Net and its torch.
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
        """Standard deviation (n - 1) of the mean Dice over the seeds of a program; 0 for one seed."""
        means = [run.mean() for run in self.of(program)]
        return stdev(means) if len(means) > 1 else 0.0


def bench_quality(config: QualityBench) -> QualityResult:
    """Train, predict and score with both programs side by side, one torch thread each; what is done is kept.

    Raises:
        BenchError: The cohort has too few labelled scans, or a command fails.
        RunFolderError: The work folder holds something else.
    """
    training, validation = split_cohort(config.cohort)
    split = {"training": [case.case_id for case in training], "validation": [case.case_id for case in validation]}
    claim_folder(config.work, {"kind": "bench", "command": "quality", "task": asdict(config.task), **split})
    training, validation = (as_nifti(cases, config.work / "nifti") for cases in (training, validation))
    base = TrainingJob(config.task, training, validation, "", str(config.work / "nnunet"), threads=1)
    link_scans(validation, config.work / "scans")
    _prepare_nnunet(base, config)
    with ThreadPoolExecutor(len(PROGRAMS)) as pool:
        courses = [pool.submit(_run_seeds, program, base, config) for program in PROGRAMS]
        runs = [run for course in courses for run in course.result()]
    card, _ = read_card(config.work / "runs" / "ours-0")
    precision, versions = card.training["precision"], nnunet_versions(config.nnunet)
    return QualityResult(tuple(runs), len(training), len(validation), precision, versions)


def split_cohort(cohort: Path) -> tuple[tuple[LabelledScan, ...], tuple[LabelledScan, ...]]:
    """Two folds to learn from and one to validate on, balanced by load, each person in one of them."""
    found = {case.case_id: case for case in find_cases(cohort).cases if case.mask is not None}
    if len(found) < 2 * FOLDS:
        raise BenchError(f"{cohort}: has {len(found)} labelled scans, expected {2 * FOLDS} or more; simulate more")
    loads = {case_id: int((read_image(Path(str(case.mask))).voxels > 0).sum()) for case_id, case in found.items()}
    folds = size_balanced_folds(loads, FOLDS, groups={case_id: case.subject for case_id, case in found.items()})
    scans = {case_id: LabelledScan(case_id, str(case.scan), str(case.mask)) for case_id, case in found.items()}
    training = tuple(scans[case_id] for case_id in sorted(scans) if folds[case_id] != 0)
    return training, tuple(scans[case_id] for case_id in sorted(scans) if folds[case_id] == 0)


def as_nifti(cases: Sequence[LabelledScan], folder: Path) -> tuple[LabelledScan, ...]:
    """The same cases as `.nii.gz` files, which is all that nnU-Net is told of; those of other formats are copied."""
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
    """Let `<case>_0000.nii.gz` in a folder stand for each scan: so nnU-Net wants them."""
    folder.mkdir(parents=True, exist_ok=True)
    for case in cases:
        link = folder / f"{case.case_id}_0000.nii.gz"
        if not link.exists():
            link.symlink_to(Path(case.scan).resolve())


def _prepare_nnunet(job: TrainingJob, config: QualityBench) -> None:
    done = Path(job.prepared) / "done.json"
    if not done.is_file():
        say("nnU-Net prepares the scans")
        write_nnunet_data(job)
        told = tell_prepare(job, config.nnunet)
        run_command(told.command, told.environment)
        write_json(done, {})


def _run_seeds(program: Program, base: TrainingJob, config: QualityBench) -> list[QualityRun]:
    train = {"ours": _train_ours, "nnunet": _train_nnunet}[program]
    runs = []
    for seed in range(config.seeds):
        folder = config.work / "runs" / f"{program}-{seed}"
        prepared = base.prepared if program == "nnunet" else str(config.work / "arrays")
        job = replace(base, folder=str(folder), prepared=prepared, seed=seed)
        runs.append(_run_once(program, job, config, train))
        say(f"{program}, seed {seed}: mean Dice {runs[-1].mean():.4f}")
    return runs


def _run_once(
    program: Program, job: TrainingJob, config: QualityBench, train: Callable[[TrainingJob, QualityBench, Path], None]
) -> QualityRun:
    """Train, predict, score; or what that gave before."""
    kept = config.work / "runs" / f"{program}-{job.seed}-scores.json"
    scores = read_object(kept)
    if not scores:
        masks = Path(job.folder).with_name(f"{program}-{job.seed}-masks")
        remove(masks)
        train(job, config, masks)
        scores = score_masks(job.validation, masks)
        write_json(kept, scores)
    return QualityRun(program, job.seed, {metric: tuple(scores[metric]) for metric in METRICS})


def _train_ours(job: TrainingJob, config: QualityBench, masks: Path) -> None:
    run_command([sys.executable, "-m", "benchmarks.our_training", str(job.write())])
    options = ["--model", job.folder, "--rule", "none", "--no-picture", "--device", job.device]
    run_command([*OURS, "segment", str(config.work / "scans"), "-o", str(masks), *options])


def _train_nnunet(job: TrainingJob, config: QualityBench, masks: Path) -> None:
    remove(Path(job.folder))
    for told in (tell_train(job, config.nnunet), tell_predict(job, config.work / "scans", masks, config.nnunet)):
        run_command(told.command, told.environment)


def score_masks(cases: Sequence[LabelledScan], masks: Path) -> dict[str, list[float]]:
    """Each metric of every case, whichever program wrote its mask; raises `BenchError` where one is missing."""
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


TITLE = "Equal quality: ours and nnU-Net, trained alike on simulated strokes"
NAMES: dict[Program, str] = {"nnunet": "stock nnU-Net", "ours": "ours"}


def describe_quality(result: QualityResult, config: QualityBench, command: str) -> str:
    """The whole report."""
    lines = [
        *describe_head(TITLE, command, ("torch",), others=result.versions),
        *_method(result, config),
        "",
        "| program | seed | mean Dice | median Dice | mean lesion-wise F1 |",
        "|---|---|---|---|---|",
        *(_row(run) for run in result.runs),
        "",
        "| program | seeds | mean Dice | spread of the seeds (sd) | mean lesion-wise F1 |",
        "|---|---|---|---|---|",
        *(_sum_up(program, result.of(program)) for program in PROGRAMS),
        "",
        *_verdict(result),
    ]
    return "\n".join([*lines, ""])


def _method(result: QualityResult, config: QualityBench) -> list[str]:
    task, network = config.task, config.task.network
    return [
        "Simulated data: these scores compare two programs, and say nothing of how well either segments patients.",
        "",
        f"{result.training} cases to learn from and {result.validation} to be scored on, balanced by lesion load, each "
        f"person in one of the two; {task.epochs} epochs of {task.steps} steps, {task.batch} patches of "
        f"{'x'.join(map(str, task.patch))} voxels of {task.spacing_mm:g} mm; {network.encoder} U-Net, features "
        f"{' '.join(map(str, network.features))}; SGD, 0.01 falling to 0. nnU-Net is the stock `nnUNetTrainer` with "
        "its own preparation, loaders, augmentation and loss (only the numbers of epochs and steps and the seed are "
        f"set), in float32; ours trains as it comes, here in {result.precision}. Each program predicts with its own "
        "command (tiles at half a patch, no mirroring); the masks are P > 0.5 without post-processing, scored alike.",
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
        return [f"Ours minus nnU-Net: **{difference:+.4f}**; one seed tells nothing of the noise."]
    holds = "not lower" if difference >= -noise else "LOWER"
    return [
        f"Ours minus nnU-Net: **{difference:+.4f}**; the seeds of nnU-Net spread by {noise:.4f}. Ours is {holds} than "
        "nnU-Net by more than its seed noise."
    ]
