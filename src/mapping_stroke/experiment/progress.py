"""How far the training of a member is, in a file that it writes while it runs, and whether it still runs."""

import os
import platform
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import psutil

from mapping_stroke.files import read_object, write_json

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
