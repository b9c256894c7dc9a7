"""Training compared with the stock nnU-Net: steps per second over whole epochs, and peak memory."""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from benchmarks.benchmark import Benchmark, require_at_least
from benchmarks.commands import OURS, BenchError, Cost, Line, follow_command, run_command
from benchmarks.heading import describe_head
from benchmarks.nnunet_training import (
    EPOCH_LINE,
    nnunet_versions,
    prepare_command,
    train_command,
    write_nnunet_data,
)
from benchmarks.training_settings import SETTINGS, Setting, Way
from benchmarks.training_steps import StepFacts
from benchmarks.training_task import LabelledScan, TrainingJob, TrainingTask
from mapping_stroke.console import say
from mapping_stroke.dataset.layouts import find_cases
from mapping_stroke.files import read_json, read_object

NNUNET = "nnunet"
OUR_EPOCH_LINE = r": epoch \d+/\d+,"
"""Printed by `mapping train` when an epoch is finished and saved."""
FEWEST_EPOCHS = 4
"""The first is a warm-up, and the last is left out because the programs end differently."""


@dataclass(frozen=True)
class Training(Benchmark):
    """Compare the training speed of a plain and a residual U-Net with the stock nnU-Net v2, in whole epochs."""

    nnunet: Path | None = None
    """Folder of the commands of an installed nnU-Net v2 (its environment's `bin`); without it only ours is measured."""
    repeats: int = 1
    """Trainings of each program, in turns."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Device of both programs: `cpu` at a reduced size, `cuda` at the paper's."""

    def __post_init__(self) -> None:
        require_at_least("--repeats", self.repeats)

    def report(self) -> str:
        """Train with each program, and list speeds, their ratios, and the parts of a step's time."""
        nnunet = " --nnunet ENVIRONMENT/bin" if self.nnunet else ""
        command = f"python -m benchmarks training{nnunet} --repeats {self.repeats} --device {self.device}"
        return describe_training(bench_training(self), self, command)

    @property
    def setting(self) -> Setting:
        """The trainings on this device."""
        return SETTINGS[self.device]


@dataclass(frozen=True)
class MeasuredTraining:
    """Time and memory of one program or of one of our options, over all repeats.

    Attributes:
        way: Name; `nnunet` for the stock trainer.
        epochs_s: Seconds of each whole epoch between the first and the last.
        peak_bytes: Largest resident memory of any of its processes.
        gpu_bytes: Peak GPU memory, `allocated` and `reserved`; empty on a CPU.
    """

    way: str
    epochs_s: tuple[float, ...]
    peak_bytes: float
    gpu_bytes: Mapping[str, float]

    def steps_per_s(self, steps: int) -> float:
        """Training steps divided by the time of their epochs, including validation and saving."""
        return steps * len(self.epochs_s) / sum(self.epochs_s)


@dataclass(frozen=True)
class TrainingResult:
    """Results of the benchmark.

    Attributes:
        trainings: Trainings by the name of the network: nnU-Net first if it is given, then ours.
        steps: Time of the parts of our step, by the name of the network.
        versions: Versions of nnU-Net and its torch; empty without it.
    """

    trainings: Mapping[str, tuple[MeasuredTraining, ...]]
    steps: Mapping[str, StepFacts]
    versions: str


def bench_training(config: Training) -> TrainingResult:
    """Train every network with each program and option, in turns. Raises `BenchError` if a command fails."""
    versions = nnunet_versions(config.nnunet) if config.nnunet else ""
    with _workplace(config) as jobs:
        measured: dict[str, list[MeasuredTraining]] = {}
        for repeat in range(config.repeats):
            for network, job in jobs.items():
                latest = [_train(network, way, job, config, repeat) for way in _ways(config)]
                known = measured.get(network, [])
                measured[network] = [join(*pair) for pair in zip(known, latest, strict=True)] if known else latest
        steps = {network: _measure_steps(job) for network, job in jobs.items()}
        return TrainingResult({network: tuple(each) for network, each in measured.items()}, steps, versions)


def join(first: MeasuredTraining, second: MeasuredTraining) -> MeasuredTraining:
    """Join two repeats of the same training."""
    largest = {kind: max(first.gpu_bytes[kind], second.gpu_bytes[kind]) for kind in first.gpu_bytes}
    return MeasuredTraining(
        first.way, first.epochs_s + second.epochs_s, max(first.peak_bytes, second.peak_bytes), largest
    )


def epoch_seconds(lines: Sequence[Line], pattern: str) -> list[float]:
    """Seconds between each line about an epoch and the next."""
    times_s = [line.seconds for line in lines if re.search(pattern, line.text)]
    return [after - before for before, after in pairwise(times_s)]


@contextmanager
def _workplace(config: Training) -> Iterator[dict[str, TrainingJob]]:
    """A job for each network, on simulated cases, which nnU-Net has preprocessed if it is given."""
    if any(task.epochs < FEWEST_EPOCHS for task in config.setting.tasks.values()):
        raise BenchError(
            f"trainings are shorter than {FEWEST_EPOCHS} epochs, expected {FEWEST_EPOCHS} or more, since the first and "
            "the last are not measured"
        )
    with TemporaryDirectory(prefix="mapping-bench-") as folder:
        place = Path(folder)
        say("Simulating cases")
        run_command(
            [*OURS, "simulate", str(place / "cohort"), "--subjects", str(config.setting.subjects), "--seed", "0"]
        )
        found = find_cases(place / "cohort").cases
        cases = tuple(LabelledScan(case.case_id, str(case.scan), str(case.mask)) for case in found if case.mask)
        split = max(1, len(cases) * 2 // 3)  # scores do not matter here, so any split will do
        jobs = {}
        for number, (network, task) in enumerate(config.setting.tasks.items()):
            home = place / f"network{number}"
            job = TrainingJob(task, cases[:split], cases[split:], str(home / "run"), str(home), device=config.device)
            if config.nnunet:
                write_nnunet_data(job)
                prepare = prepare_command(job, config.nnunet)
                run_command(prepare.command, prepare.environment)
            jobs[network] = job
        yield jobs


def _ways(config: Training) -> list[Way | None]:
    """All trainings of a network, with None for nnU-Net."""
    return [*([None] if config.nnunet else []), *config.setting.ways]


def _train(network: str, way: Way | None, job: TrainingJob, config: Training, repeat: int) -> MeasuredTraining:
    name = way.name if way else NNUNET
    say(f"{network}, {name}")
    home = Path(job.prepared)
    folder = home / f"{repeat}-{re.sub('[^a-z0-9]+', '-', name)}" / "fold_0"
    if way is None:
        assert config.nnunet is not None
        job = replace(job, folder=str(folder))
        train = train_command(job, config.nnunet)
        cost, lines = follow_command(train.command, train.environment)
        # nnU-Net prints a line when an epoch begins, ours when one is finished: both intervals skip the first epoch
        return _measured(name, job, cost, epoch_seconds(lines, EPOCH_LINE)[1:])
    job = replace(
        job, folder=str(folder), prepared=str(home / "arrays"), precision=way.precision, compiled=way.compiled
    )
    cost, lines = follow_command([sys.executable, "-m", "benchmarks.our_training", str(job.write())])
    return _measured(name, job, cost, epoch_seconds(lines, OUR_EPOCH_LINE)[:-1])


def _measured(name: str, job: TrainingJob, cost: Cost, epochs_s: Sequence[float]) -> MeasuredTraining:
    """The measurements of a training, given its epochs without the first and the last."""
    if len(epochs_s) != job.task.epochs - 2:
        raise BenchError(
            f"{name}: reported {len(epochs_s) + 2} epochs, expected {job.task.epochs}; is it another version?"
        )
    return MeasuredTraining(name, tuple(epochs_s), cost.peak_bytes, read_object(job.memory_file))


def _measure_steps(job: TrainingJob) -> StepFacts:
    job = replace(job, folder=str(Path(job.prepared) / "steps"), prepared=str(Path(job.prepared) / "arrays"))
    result = Path(job.folder).with_suffix(".result.json")
    run_command([sys.executable, "-m", "benchmarks.training_steps", str(job.write()), str(result)])
    return StepFacts(**read_json(result))


MEGABYTE, GIGA = 1e6, 1e9
TITLE = "Training, compared with nnU-Net"
HEAD = "| program | steps/s | fastest epoch | slowest epoch | speed-up | peak memory | memory ratio |"


def describe_training(result: TrainingResult, config: Training, command: str) -> str:
    """The complete report."""
    head = describe_head(TITLE, command, ("torch",), device=config.device, others=result.versions)
    lines = [*head, *_method(config)]
    for network, trainings in result.trainings.items():
        task = config.setting.tasks[network]
        lines += ["", f"## {network[0].upper()}{network[1:]}", "", *_task(task), "", *_table(trainings, task)]
        lines += ["", *_where_time_goes(result.steps[network], trainings, task)]
    return "\n".join([*lines, ""])


def _method(config: Training) -> list[str]:
    task = next(iter(config.setting.tasks.values()))
    return [
        f"{config.setting.subjects} simulated strokes; patches of {'x'.join(map(str, task.patch))} voxels of "
        f"{task.spacing_mm:g} mm, {task.batch} per step. Each training is a process of its own with all cores"
        f"{' and the GPU' if config.device == 'cuda' else ''}, {config.repeats} time{'s' * (config.repeats > 1)}, in "
        f"turns: {task.epochs} epochs of {task.steps} training and {task.validation_steps} validation steps, without "
        "the first and the last. An epoch is measured from its beginning to that of the next, including loading, "
        "augmentation, validation, checkpoints and pictures. nnU-Net is the stock `nnUNetTrainer` with its own loader "
        "processes; only the numbers of epochs and steps and the seed are set. Both use its default augmentation, loss "
        "and optimiser. nnU-Net's usual epoch has 250 steps; in shorter ones, its work once per epoch (about a second "
        "for a picture and a checkpoint) weighs more. Memory is the peak of the largest process, without the loader "
        "processes of nnU-Net.",
    ]


def _task(task: TrainingTask) -> list[str]:
    features = " ".join(map(str, task.network.features))
    depths = " ".join(map(str, task.network.depths))
    return [f"Features {features}; {'blocks' if task.network.encoder == 'residual' else 'convolutions'} {depths}."]


def _table(trainings: Sequence[MeasuredTraining], task: TrainingTask) -> list[str]:
    reference = next((training for training in trainings if training.way == NNUNET), None)
    on_gpu = any(training.gpu_bytes for training in trainings)
    head = f"{HEAD} peak GPU memory | reserved | GPU memory ratio |" if on_gpu else HEAD
    columns = head.count("|") - 1
    return [head, "|---" * columns + "|", *(_row(training, reference, task) for training in trainings)]


def _row(training: MeasuredTraining, reference: MeasuredTraining | None, task: TrainingTask) -> str:
    speed = training.steps_per_s(task.steps)
    times = f"**{speed / reference.steps_per_s(task.steps):.2f}**" if reference else ""
    name = "stock nnU-Net" if training.way == NNUNET else training.way
    cells = [name, f"{speed:.3g}", f"{min(training.epochs_s):.2f} s", f"{max(training.epochs_s):.2f} s", times]
    cells += [
        f"{training.peak_bytes / MEGABYTE:.0f} MB",
        _share(training.peak_bytes, reference.peak_bytes if reference else 0),
    ]
    if training.gpu_bytes:
        cells += [f"{training.gpu_bytes[kind] / GIGA:.2f} GB" for kind in ("allocated", "reserved")]
        cells.append(_share(training.gpu_bytes["allocated"], reference.gpu_bytes["allocated"] if reference else 0))
    return f"| {' | '.join(cells)} |"


def _share(value: float, reference: float) -> str:
    return f"{value / reference:.2f}" if reference else ""


def _where_time_goes(facts: StepFacts, trainings: Sequence[MeasuredTraining], task: TrainingTask) -> list[str]:
    default = next(training for training in trainings if training.way != NNUNET)
    whole_s = 1 / default.steps_per_s(task.steps)
    rest_s = whole_s - facts.step_s
    rows = [*facts.seconds.items(), *([("validation, checkpoint, pictures", rest_s)] if rest_s > 0 else [])]
    total = max(whole_s, facts.step_s)
    slower = f" This pass was slow: its parts take {facts.step_s / whole_s:.2f} times a step of the epochs above."
    return [
        f"Time of the parts of a step with default options ({facts.precision}; medians of a timed pass, and the rest "
        "of an epoch):",
        "",
        "| part | seconds per step | share |",
        "|---|---|---|",
        *(f"| {part} | {seconds:.4f} | {100 * seconds / total:.0f} % |" for part, seconds in rows),
        "",
        f"Lower bound: the convolutions of a step are {facts.flop / GIGA:.3g} GFLOP (forward, and twice that "
        f"backward). The best of this network's own 3x3x3 convolutions reaches {facts.flop_per_s / GIGA:.0f} GFLOP/s "
        f"by itself: {facts.flop / facts.flop_per_s:.4f} s. They read and write {facts.moved_bytes / GIGA:.3g} GB, and "
        f"copying reaches {facts.bytes_per_s / GIGA:.3g} GB/s: {facts.moved_bytes / facts.bytes_per_s:.4f} s. A step "
        f"of {facts.step_s:.4f} s takes **{facts.step_s / facts.floor_s:.1f}** times the larger of the two."
        f"{slower if rest_s <= 0 else ''}",
    ]
