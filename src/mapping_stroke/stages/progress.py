"""Progress of a running training: lines, curves, and a progress file."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil
import torch

from mapping_stroke.console import clock, duration, say
from mapping_stroke.errors import Stopped, TrainingError
from mapping_stroke.files import write_csv
from mapping_stroke.report.curves import Epochs, draw_member_curves
from mapping_stroke.stages.status import Progress, ReportedState, write_progress
from mapping_stroke.training.loop import Epoch, Step, TrainingState

SECONDS_BETWEEN_SIGNS = 5.0
MARGIN_S = 8.0
"""Time to write the remaining files before a command has to end."""


def deadline(seconds: float) -> float:
    """Time (of `time.monotonic`) at which this process has to stop to end `seconds` after its start."""
    begun = float(psutil.Process().create_time())
    return time.monotonic() - (time.time() - begun) + seconds - MARGIN_S


EPOCH_COLUMNS = ("epoch", "loss", "foreground_dice", "validation_loss", "learning_rate", "seconds", "steps_per_second")
CURVES_FILE = "curves.png"
SECONDS_BETWEEN_PICTURES = 30.0
RECENT_EPOCHS = 10
"""Epochs whose mean duration predicts the duration of the next ones."""


@dataclass(frozen=True)
class TrainingLength:
    """The length of a training.

    Attributes:
        name: Name of the member.
        epochs: Epochs of the whole training.
        steps: Steps of an epoch, including validation; 0 if the training is limited by time.
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
    """Pass on the events of a training and report each.

    Args:
        events: From `train`.
        folder: Folder of the member, where `epochs.csv`, `curves.png` and `progress.json` are kept up to date.
        course: Length of the training.
        state: State of the training.
        line: Formats the line of an epoch; None for the default.
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
    """Yield a function that signs that a training runs; a stop or failure inside the context is also signed.

    Args:
        folder: Folder of the member.
        course: Length of the training.
        state: State of the training.
        writes: Whether this process is the one that signs.
    """

    def sign(said: ReportedState, why: str = "") -> None:
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


def progress_of(course: TrainingLength, state: TrainingState, said: ReportedState, why: str = "") -> Progress:
    """The sign of life of a training in this state."""
    left_s = seconds_left(course, state)
    return Progress(said, len(state.epochs), course.epochs, state.so_far.steps_done, course.steps, left_s, why)


def seconds_left(course: TrainingLength, state: TrainingState) -> float | None:
    """Remaining time of a training, estimated from the latest epochs, or else from the steps so far; None before."""
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
