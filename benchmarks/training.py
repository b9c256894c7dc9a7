"""Training compared with the stock nnU-Net: steps per second over whole epochs, and peak memory."""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.commands import OURS, BenchError, Cost, Line, follow_command, run_command
from benchmarks.heading import describe_head
from benchmarks.nnunet_training import (
    EPOCH_LINE,
    nnunet_versions,
    tell_prepare,
    tell_train,
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
"""What `mapping train` says when an epoch is over and saved."""
MODULES = "benchmarks"
SHORTEST = 4
"""Epochs: the first warms up, and the last is left out, for the programs end differently."""


@dataclass(frozen=True)
class TrainingBench:
    """What is measured.

    Attributes:
        nnunet: Where nnU-Net v2's commands lie; None leaves it out.
        device: `cpu` or `cuda`.
        repeats: How often each way trains, in turns.
        setting: What is trained; None for that of the device.
    """

    nnunet: Path | None = None
    device: str = "cpu"
    repeats: int = 1
    setting: Setting | None = None

    @property
    def chosen(self) -> Setting:
        """The setting that is trained."""
        return self.setting or SETTINGS[self.device]


@dataclass(frozen=True)
class TrainingLength:
    """What one way came to, over all repeats.

    Attributes:
        way: Its name; `nnunet` for the stock trainer.
        epochs_s: Seconds of each whole epoch between the first and the last.
        peak_bytes: Largest resident memory of any one of its processes.
        gpu_bytes: Peak memory on the GPU, `allocated` and `reserved`; empty on a processor.
    """

    way: str
    epochs_s: tuple[float, ...]
    peak_bytes: float
    gpu_bytes: Mapping[str, float]

    def steps_per_s(self, steps: int) -> float:
        """Training steps over the whole time of their epochs, validation and saving included."""
        return steps * len(self.epochs_s) / sum(self.epochs_s)


@dataclass(frozen=True)
class TrainingResult:
    """What came out.

    Attributes:
        courses: Of each network, by its name: nnU-Net first where it is at hand, then ours.
        steps: Where the time of a step of ours goes, by the network's name.
        versions: Of nnU-Net and its torch; empty without it.
    """

    courses: Mapping[str, tuple[TrainingLength, ...]]
    steps: Mapping[str, StepFacts]
    versions: str


def bench_training(config: TrainingBench) -> TrainingResult:
    """Train every network in every way, in turns; raises `BenchError` where a command fails."""
    versions = nnunet_versions(config.nnunet) if config.nnunet else ""
    with _workplace(config) as jobs:
        courses: dict[str, list[TrainingLength]] = {}
        for repeat in range(config.repeats):
            for network, job in jobs.items():
                its = [_train(network, way, job, config, repeat) for way in _ways(config)]
                known = courses.get(network, [])
                courses[network] = [join(old, new) for old, new in zip(known, its, strict=True)] if known else its
        steps = {network: _measure_steps(job) for network, job in jobs.items()}
        return TrainingResult({network: tuple(its) for network, its in courses.items()}, steps, versions)


def join(first: TrainingLength, second: TrainingLength) -> TrainingLength:
    """Two trainings of one way as one."""
    largest = {kind: max(first.gpu_bytes[kind], second.gpu_bytes[kind]) for kind in first.gpu_bytes}
    return TrainingLength(
        first.way, first.epochs_s + second.epochs_s, max(first.peak_bytes, second.peak_bytes), largest
    )


def epoch_seconds(lines: Sequence[Line], pattern: str) -> list[float]:
    """Seconds between one line that tells of an epoch and the next."""
    told = [line.seconds for line in lines if re.search(pattern, line.text)]
    return [after - before for before, after in pairwise(told)]


@contextmanager
def _workplace(config: TrainingBench) -> Iterator[dict[str, TrainingJob]]:
    """A job for each network, on simulated cases that nnU-Net has prepared if it takes part."""
    if any(task.epochs < SHORTEST for task in config.chosen.tasks.values()):
        raise BenchError(
            f"trainings are shorter than {SHORTEST} epochs, expected {SHORTEST} or more to measure the rest"
        )
    with TemporaryDirectory(prefix="mapping-bench-") as folder:
        place = Path(folder)
        say("Simulating cases")
        run_command(
            [*OURS, "simulate", str(place / "cohort"), "--subjects", str(config.chosen.subjects), "--seed", "0"]
        )
        found = find_cases(place / "cohort").cases
        cases = tuple(LabelledScan(case.case_id, str(case.scan), str(case.mask)) for case in found if case.mask)
        split = max(1, len(cases) * 2 // 3)
        jobs = {}
        for number, (network, task) in enumerate(config.chosen.tasks.items()):
            home = place / f"network{number}"
            job = TrainingJob(task, cases[:split], cases[split:], str(home / "run"), str(home), device=config.device)
            if config.nnunet:
                write_nnunet_data(job)
                told = tell_prepare(job, config.nnunet)
                run_command(told.command, told.environment)
            jobs[network] = job
        yield jobs


def _ways(config: TrainingBench) -> list[Way | None]:
    """None is nnU-Net."""
    return [*([None] if config.nnunet else []), *config.chosen.ways]


def _train(network: str, way: Way | None, job: TrainingJob, config: TrainingBench, repeat: int) -> TrainingLength:
    name = way.name if way else NNUNET
    say(f"{network}, {name}")
    home = Path(job.prepared)
    folder = home / f"{repeat}-{re.sub('[^a-z0-9]+', '-', name)}" / "fold_0"
    if way is None:
        assert config.nnunet is not None
        job = replace(job, folder=str(folder))
        told = tell_train(job, config.nnunet)
        cost, lines = follow_command(told.command, told.environment)
        return _course(name, job, cost, epoch_seconds(lines, EPOCH_LINE)[1:])
    job = replace(
        job, folder=str(folder), prepared=str(home / "arrays"), precision=way.precision, compiled=way.compiled
    )
    cost, lines = follow_command([sys.executable, "-m", f"{MODULES}.our_training", str(job.write())])
    return _course(name, job, cost, epoch_seconds(lines, OUR_EPOCH_LINE)[:-1])


def _course(name: str, job: TrainingJob, cost: Cost, epochs_s: Sequence[float]) -> TrainingLength:
    """The first epoch has been left out already: nnU-Net tells when an epoch begins, ours when it is over."""
    if len(epochs_s) != job.task.epochs - 2:
        raise BenchError(
            f"{name}: told of {len(epochs_s) + 2} epochs, expected {job.task.epochs}; is it another version?"
        )
    return TrainingLength(name, tuple(epochs_s), cost.peak_bytes, read_object(job.memory_file))


def _measure_steps(job: TrainingJob) -> StepFacts:
    job = replace(job, folder=str(Path(job.prepared) / "steps"), prepared=str(Path(job.prepared) / "arrays"))
    result = Path(job.folder).with_suffix(".result.json")
    run_command([sys.executable, "-m", f"{MODULES}.training_steps", str(job.write()), str(result)])
    return StepFacts(**read_json(result))


MEGABYTE, GIGA = 1e6, 1e9
TITLE = "Training beside nnU-Net"
HEAD = "| way | steps/s | fastest epoch | slowest epoch | times nnU-Net | peak memory | share of nnU-Net's |"


def describe_training(result: TrainingResult, config: TrainingBench, command: str) -> str:
    """The whole report."""
    head = describe_head(TITLE, command, ("torch",), device=config.device, others=result.versions)
    lines = [*head, *_method(config)]
    for network, courses in result.courses.items():
        task = config.chosen.tasks[network]
        lines += ["", f"## {network[0].upper()}{network[1:]}", "", *_task(task), "", *_table(courses, task)]
        lines += ["", *_where_time_goes(result.steps[network], courses, task)]
    return "\n".join([*lines, ""])


def _method(config: TrainingBench) -> list[str]:
    task = next(iter(config.chosen.tasks.values()))
    return [
        f"{config.chosen.subjects} simulated strokes; patches of {'x'.join(map(str, task.patch))} voxels of "
        f"{task.spacing_mm:g} mm, {task.batch} a step. Each way is a process of its own with all cores"
        f"{' and the GPU' if config.device == 'cuda' else ''}, {config.repeats} time{'s' * (config.repeats > 1)}, in "
        f"turns: {task.epochs} epochs of {task.steps} training and {task.validation_steps} validation steps, the first "
        "and the last left out. An epoch is measured from its beginning to that of the next: loading, augmentation, "
        "validation, checkpoints and pictures included. nnU-Net is the stock `nnUNetTrainer` with its own loader "
        "processes; only the numbers of epochs and steps and the seed are set. Both use its default augmentation, "
        "loss and optimiser. nnU-Net's usual epoch has 250 steps: in shorter ones, what it does once an epoch (a "
        "second or so for a picture and a checkpoint) weighs more. Memory is the peak of the largest process; the "
        "loader processes of nnU-Net come on top.",
    ]


def _task(task: TrainingTask) -> list[str]:
    features = " ".join(map(str, task.network.features))
    depths = " ".join(map(str, task.network.depths))
    return [f"Features {features}; {'blocks' if task.network.encoder == 'residual' else 'convolutions'} {depths}."]


def _table(courses: Sequence[TrainingLength], task: TrainingTask) -> list[str]:
    reference = next((course for course in courses if course.way == NNUNET), None)
    on_gpu = any(course.gpu_bytes for course in courses)
    head = f"{HEAD} peak GPU memory | reserved | share of nnU-Net's |" if on_gpu else HEAD
    columns = head.count("|") - 1
    return [head, "|---" * columns + "|", *(_row(course, reference, task) for course in courses)]


def _row(course: TrainingLength, reference: TrainingLength | None, task: TrainingTask) -> str:
    speed = course.steps_per_s(task.steps)
    times = f"**{speed / reference.steps_per_s(task.steps):.2f}**" if reference else ""
    name = "stock nnU-Net" if course.way == NNUNET else course.way
    cells = [name, f"{speed:.3g}", f"{min(course.epochs_s):.2f} s", f"{max(course.epochs_s):.2f} s", times]
    cells += [
        f"{course.peak_bytes / MEGABYTE:.0f} MB",
        _share(course.peak_bytes, reference.peak_bytes if reference else 0),
    ]
    if course.gpu_bytes:
        cells += [f"{course.gpu_bytes[kind] / GIGA:.2f} GB" for kind in ("allocated", "reserved")]
        cells.append(_share(course.gpu_bytes["allocated"], reference.gpu_bytes["allocated"] if reference else 0))
    return f"| {' | '.join(cells)} |"


def _share(value: float, reference: float) -> str:
    return f"{value / reference:.2f}" if reference else ""


def _where_time_goes(facts: StepFacts, courses: Sequence[TrainingLength], task: TrainingTask) -> list[str]:
    default = next(course for course in courses if course.way != NNUNET)
    whole_s = 1 / default.steps_per_s(task.steps)
    rest_s = whole_s - facts.step_s
    rows = [*facts.seconds.items(), *([("validation, checkpoint, pictures", rest_s)] if rest_s > 0 else [])]
    total = max(whole_s, facts.step_s)
    slower = f" This pass was slow: its parts take {facts.step_s / whole_s:.2f} times a step of the whole epochs above."
    return [
        f"Where the time of a step goes, as it comes ({facts.precision}; medians of a pass with a clock between the "
        "parts, and what is left of a whole epoch):",
        "",
        "| part | seconds a step | share |",
        "|---|---|---|",
        *(f"| {part} | {seconds:.4f} | {100 * seconds / total:.0f} % |" for part, seconds in rows),
        "",
        f"Floor: the convolutions of a step are {facts.flop / GIGA:.3g} GFLOP (forward, and twice that backwards). The "
        f"best of this network's own 3x3x3 convolutions reaches {facts.flop_per_s / GIGA:.0f} GFLOP/s alone: "
        f"{facts.flop / facts.flop_per_s:.4f} s. They read and write {facts.moved_bytes / GIGA:.3g} GB, and copying "
        f"reaches {facts.bytes_per_s / GIGA:.3g} GB/s: {facts.moved_bytes / facts.bytes_per_s:.4f} s. A step of "
        f"{facts.step_s:.4f} s takes **{facts.step_s / facts.floor_s:.1f}** times the larger."
        f"{slower if rest_s <= 0 else ''}",
    ]
