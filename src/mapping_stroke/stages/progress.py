"""What can be seen of a training while it runs: lines, curves, and its progress in a file."""

import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import psutil
import torch

from mapping_stroke.console import clock, duration, say
from mapping_stroke.errors import Stopped, TrainingError
from mapping_stroke.files import read_object, write_csv, write_json
from mapping_stroke.report.curves import Epochs, draw_member_curves
from mapping_stroke.training.loop import Epoch, Step, TrainingState

PROGRESS_FILE = "progress.json"
SECONDS_BETWEEN_SIGNS = 5.0
MARGIN_S = 8.0
"""Before a command has to end: for what is left to be written."""
SILENT_S = 600.0
"""A process of another machine, which cannot be asked, is taken for stopped after so long a silence."""

State = Literal["running", "stopped", "failed"]


@dataclass(frozen=True)
class Progress:
    """A sign of life.

    Attributes:
        state: What the process says of itself; one that was killed never said that it stopped.
        epochs_done: Whole epochs trained.
        epochs: Of the whole training.
        step: Steps done of the present epoch.
        steps: Of an epoch.
        seconds_left: Until the end; None while that cannot be told.
        why: It failed.
        written: When, in seconds since 1970.
        host: The machine.
        process: Its number there.
        started: When the process began, in seconds since 1970: numbers are used again.
    """

    state: State
    epochs_done: int
    epochs: int
    step: int = 0
    steps: int = 0
    seconds_left: float | None = None
    why: str = ""
    written: float = field(default_factory=time.time)
    host: str = field(default_factory=platform.node)
    process: int = field(default_factory=os.getpid)
    started: float = field(default_factory=lambda: psutil.Process().create_time())


def write_progress(folder: Path, progress: Progress) -> None:
    """Leave a sign of life in a member's folder."""
    write_json(folder / PROGRESS_FILE, asdict(progress))


def read_progress(folder: Path) -> Progress | None:
    """The last sign of life; None where there is none that can be read."""
    values = read_object(folder / PROGRESS_FILE)
    try:
        return Progress(**values) if values else None
    except TypeError:
        return None


def is_running(progress: Progress, now: float) -> bool:
    """Whether the process that wrote this still trains."""
    if progress.state != "running":
        return False
    if progress.host != platform.node():
        return now - progress.written < SILENT_S
    try:
        process = psutil.Process(progress.process)
        same = abs(process.create_time() - progress.started) < 10  # the clock may have been set since
        return bool(same and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def deadline(seconds: float) -> float:
    """When, by `time.monotonic`, this process will have run so long, but for what it needs to write its files."""
    begun = float(psutil.Process().create_time())
    return time.monotonic() - (time.time() - begun) + seconds - MARGIN_S


EPOCH_COLUMNS = ("epoch", "loss", "foreground_dice", "validation_loss", "learning_rate", "seconds", "steps_per_second")
CURVES_FILE = "curves.png"
SECONDS_BETWEEN_PICTURES = 30.0
RECENT_EPOCHS = 10
"""Their mean time is what an epoch is expected to take."""


@dataclass(frozen=True)
class TrainingLength:
    """How long a training is.

    Attributes:
        name: What to call the member.
        epochs: Of the whole training.
        steps: Of an epoch, those of the validation too; 0 where the clock decides.
    """

    name: str
    epochs: int
    steps: int


def watched(
    events: Iterable[Step | Epoch],
    folder: Path,
    course: TrainingLength,
    state: TrainingState,
    line: Callable[[Epoch], str] | None = None,
) -> Iterator[Step | Epoch]:
    """Pass the events of a training on, then tell of each.

    Args:
        events: From `train`.
        folder: The member's, where `epochs.csv`, `curves.png` and `progress.json` are kept up to date.
        course: How long the training is.
        state: What the events are about.
        line: What to print of an epoch; None for the usual.
    """
    last_sign = last_picture = time.monotonic()
    for event in events:
        yield event
        now = time.monotonic()
        if isinstance(event, Epoch):
            write_epochs(folder, state.epochs)
            say(line(event) if line else _epoch_line(course, event, state))
            if now - last_picture >= SECONDS_BETWEEN_PICTURES:
                draw_curves(folder, course.name, state.epochs)
                last_picture = now
        if now - last_sign >= SECONDS_BETWEEN_SIGNS:
            write_progress(folder, progress_of(course, state, "running"))
            last_sign = now


@contextmanager
def signed(
    folder: Path, course: TrainingLength, state: TrainingState, *, writes: bool = True
) -> Iterator[Callable[[], None]]:
    """Yield a function that signs that a training runs; if it is stopped or fails within, that is signed.

    Args:
        folder: Of the member.
        course: How long the training is.
        state: Where it stands.
        writes: Whether this process is the one that signs.
    """

    def sign(said: State, why: str = "") -> None:
        if writes:
            write_progress(folder, progress_of(course, state, said, why))

    try:
        yield lambda: sign("running")
    except Stopped:
        sign("stopped")
        raise
    except TrainingError as error:
        sign("failed", str(error))
        raise


def progress_of(course: TrainingLength, state: TrainingState, said: State, why: str = "") -> Progress:
    """A sign of life of a training that stands there."""
    left_s = seconds_left(course, state)
    return Progress(said, len(state.epochs), course.epochs, state.so_far.steps_done, course.steps, left_s, why)


def seconds_left(course: TrainingLength, state: TrainingState) -> float | None:
    """How long the rest of a training will take, by its latest epochs, else by the steps so far; None before those."""
    so_far, recent = state.so_far, state.epochs[-RECENT_EPOCHS:]
    if recent:
        epoch_s = sum(epoch.seconds for epoch in recent) / len(recent)
    elif so_far.steps_done and course.steps:
        epoch_s = (so_far.training_seconds + so_far.validation_seconds) / so_far.steps_done * course.steps
    else:
        return None
    begun = so_far.steps_done / course.steps if course.steps else 0.0
    return epoch_s * (course.epochs - len(state.epochs) - begun)


def write_epochs(folder: Path, epochs: Sequence[Epoch]) -> None:
    """Write a row per epoch."""
    write_csv(folder / "epochs.csv", EPOCH_COLUMNS, map(asdict, epochs))


def draw_curves(folder: Path, name: str, epochs: Sequence[Epoch]) -> None:
    """Draw the learning curves of one member."""
    columns = ("epoch", "loss", "validation_loss", "foreground_dice", "learning_rate")
    courses = {column: np.array([getattr(one, column) for one in epochs], dtype=np.float64) for column in columns}
    draw_member_curves(Epochs(**courses), folder / CURVES_FILE, name)


def _epoch_line(course: TrainingLength, epoch: Epoch, state: TrainingState) -> str:
    speed, device = f"{epoch.steps_per_second:.3g} steps/s", next(state.network.parameters()).device
    if device.type == "cuda":
        speed += f", at most {torch.cuda.max_memory_allocated(device) / 1e9:.1f} GB of GPU memory"
    left_s = seconds_left(course, state)
    left = f", {duration(left_s)} left, until {clock(left_s)}" if left_s else ""
    return (
        f"{course.name}: epoch {epoch.epoch + 1}/{course.epochs}, loss {epoch.loss:+.3f}, foreground Dice "
        f"{epoch.foreground_dice:.3f}, {epoch.seconds:.1f} s ({speed}){left}"
    )
