"""Training beside the stock nnU-Net: steps per second from whole epoch to whole epoch, and peak memory."""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.commands import OURS, BenchError, Cost, Line, follow_command, run_command
from benchmarks.nnunet_training import (
    EPOCH_LINE,
    nnunet_versions,
    tell_prepare,
    tell_train,
    write_nnunet_data,
)
from benchmarks.training_settings import SETTINGS, Setting, Way
from benchmarks.training_steps import StepFacts
from benchmarks.training_task import LabelledScan, TrainingJob
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
