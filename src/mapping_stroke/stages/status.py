"""The training progress of each member of a run: signs of life in its files, written and read without torch."""

import math
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Literal

import psutil

from mapping_stroke.files import read_csv, read_object, write_json
from mapping_stroke.networks.member_folder import CARD_FILE, RECIPE_FILE, has_member
from mapping_stroke.run_folder import RunFolder, read_sections
from mapping_stroke.training.schemes import find_scheme, find_size, find_variant
from mapping_stroke.workflow.jobs import read_jobs, stage_of

PROGRESS_FILE = "progress.json"
SILENT_S = 600.0
"""A process on another machine cannot be queried; it is considered stopped after this time without a sign of life."""
ReportedState = Literal["running", "stopped", "failed"]
MemberState = Literal["trained", "running", "stopped", "failed", "not begun"]


@dataclass(frozen=True)
class Progress:
    """A sign of life of a training.

    Attributes:
        state: As reported by the process; a killed process could not report that it stopped.
        epochs_done: Whole epochs trained.
        epochs: Epochs of the whole training.
        step: Steps done of the current epoch.
        steps: Steps of an epoch.
        seconds_left: Time until the end; None if not known yet.
        why: Reason for a failure.
        written: Time of the sign, in seconds since 1970.
        host: The machine.
        process: Process ID on that machine.
        started: Start of the process, in seconds since 1970, because IDs are reused.
    """

    state: ReportedState
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
    """Write a sign of life into a member's folder."""
    write_json(folder / PROGRESS_FILE, asdict(progress))


def read_progress(folder: Path) -> Progress | None:
    """The last sign of life; None if there is none or it is damaged."""
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


@dataclass(frozen=True)
class MemberStatus:
    """The training progress of one member.

    Attributes:
        scheme: Its training scheme.
        fold: Its fold.
        state: `stopped` includes killed.
        epochs_done: Whole epochs trained.
        epochs: Epochs of the whole training; None if no training of the run has begun.
        best_dice: Highest foreground Dice of an epoch so far; None if there is none.
        silent_s: Seconds since the last sign of life; None if there was none.
        seconds_left: Seconds until the end; None unless it runs.
        why: Reason for a failure.
    """

    scheme: str
    fold: int
    state: MemberState
    epochs_done: int = 0
    epochs: int | None = None
    best_dice: float | None = None
    silent_s: float | None = None
    seconds_left: float | None = None
    why: str = ""


def run_status(run: RunFolder) -> list[MemberStatus]:
    """The progress of every planned member, and of all others that were started.

    `mapping experiment` plans members. Without it, they are the paper's schemes, and others that were started, on all
    folds.

    Raises:
        RunFolderError: The run has no folds yet.
        ConfigError: Its `config.toml` is damaged, or names an unknown size or variant.
    """
    folds = sorted({int(row["fold"]) for row in read_csv(run.require(run.folds_csv, "folds"))})
    settings = read_sections(run.config_toml).get("train", {})
    now = time.time()
    return [
        _member_status(run.member(scheme, fold), scheme, fold, _epochs_of(scheme, settings), now)
        for scheme, fold in _list_members(run, folds, settings.get("variant", "paper"))
    ]


def _list_members(run: RunFolder, folds: Sequence[int], variant: str) -> list[tuple[str, int]]:
    """Scheme and fold of the members that are planned, and of others that were started."""
    begun = sorted(path.parent.relative_to(run.members).parts for path in run.members.glob(f"*/fold_*/{RECIPE_FILE}"))
    jobs = read_jobs(run.experiment)
    if jobs is None:
        schemes = [scheme.name for scheme in find_variant(variant)]
        schemes += [scheme for scheme, _ in begun if scheme not in schemes]
        return list(dict.fromkeys(product(schemes, folds)))
    planned = [tuple(job.split("/")[1:]) for job in jobs.names if stage_of(job) == "train"]
    return [(scheme, int(fold.removeprefix("fold_"))) for scheme, fold in dict.fromkeys([*planned, *begun])]


def _epochs_of(scheme: str, settings: dict[str, Any]) -> int | None:
    if "size" not in settings:
        return None
    if "epochs" in settings:
        return int(settings["epochs"])
    return find_size(settings["size"]).epochs_of(find_scheme(scheme, settings.get("variant", "paper")))


def _member_status(folder: Path, scheme: str, fold: int, epochs: int | None, now: float) -> MemberStatus:
    best = _best_dice(folder / "epochs.csv")
    if has_member(folder):
        done = int(read_object(folder / CARD_FILE).get("training", {}).get("epochs", 0))
        return MemberStatus(scheme, fold, "trained", done, done, best, _age(folder / CARD_FILE, now))
    progress = read_progress(folder)
    if progress is None:
        begun = folder / RECIPE_FILE
        silent_s = _age(begun, now)
        return MemberStatus(scheme, fold, "not begun" if silent_s is None else "stopped", 0, epochs, best, silent_s)
    state = _state_of(progress, now)
    return MemberStatus(
        scheme,
        fold,
        state,
        progress.epochs_done,
        progress.epochs,
        best,
        _age(folder / PROGRESS_FILE, now),
        progress.seconds_left if state == "running" else None,
        progress.why,
    )


def _state_of(progress: Progress, now: float) -> MemberState:
    if progress.state == "running" and not is_running(progress, now):
        return "stopped"
    return progress.state


def _best_dice(path: Path) -> float | None:
    """The highest foreground Dice of a table of epochs; None if there is none."""
    if not path.is_file():
        return None
    values = [float(row.get("foreground_dice") or "nan") for row in read_csv(path)]
    return max((value for value in values if not math.isnan(value)), default=None)


def _age(path: Path, now: float) -> float | None:
    """Seconds since a file was written; None if there is none."""
    try:
        return max(now - path.stat().st_mtime, 0.0)
    except FileNotFoundError:
        return None
