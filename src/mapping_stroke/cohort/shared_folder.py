"""An output folder that several processes fill at once: its locks, and the jobs on this machine or a cluster."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mapping_stroke.console import warn
from mapping_stroke.errors import MappingError, RunFolderError
from mapping_stroke.files import remove, short_name
from mapping_stroke.processes import Lock, try_lock, wait_for_lock
from mapping_stroke.run_folder import SHARING, claim_folder, holds_work, is_run_folder, require_claimable, withdraw
from mapping_stroke.work import StageResult
from mapping_stroke.workflow.execution import Execution, this_program
from mapping_stroke.workflow.jobs import Jobs
from mapping_stroke.workflow.snakemake import run_jobs

DOOR, TURN = "door", "turn"
DOOR_WAIT_S, TURN_WAIT_S = 60.0, 1800.0
"""Far longer than any process holds these locks; after that time they are ignored."""
PROCESS_SUFFIX, CLAIM_SUFFIX = ".process", ".claim"
JOBS_SUFFIX = ".jobs"
"""The logs and markers of the jobs lie next to the output folder, whose name they carry with this suffix."""


class SharedFolder:
    """The locks of one process on an output folder, in its hidden folder `SHARING`.

    A process holds the lock `*.process` while it works there, `NAME.claim` while it processes a case, `door` while it
    joins, leaves, or writes a common file, and `turn` while it makes files about all cases, which takes longer. The
    system frees the locks of a killed process. If the system or the disk
    has no locks, processes cannot detect each other: each computes every case, with equal results.
    """

    def __init__(self, output: Path) -> None:
        self._folder = output / SHARING
        self._process: Lock | None = None
        self._claims: dict[str, Lock] = {}

    @property
    def knows_locks(self) -> bool:
        """Whether other processes can be detected."""
        return self._process is None or self._process.known

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep other processes from joining, leaving and writing common files."""
        with self._held(DOOR, DOOR_WAIT_S):
            yield

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Keep other processes from making files about all cases; the last one to make them sees all results."""
        with self._held(TURN, TURN_WAIT_S):
            yield

    @contextmanager
    def _held(self, name: str, wait_s: float) -> Iterator[None]:
        lock = wait_for_lock(self._folder / name, wait_s)
        try:
            yield
        finally:
            if lock:
                lock.release()

    def join(self) -> None:
        """Register this process. Call it within `exclusive`."""
        while self._process is None:
            self._process = try_lock(self._folder / f"{uuid.uuid4().hex}{PROCESS_SUFFIX}")

    def has_others(self) -> bool:
        """Whether another process works here. Call it within `exclusive`. Locks of killed processes are removed."""
        own = self._process.path.name if self._process else ""
        there = [path for path in self._folder.glob(f"*{PROCESS_SUFFIX}") if path.name != own]
        held = [_is_held(path) for path in there]  # a list, since checking also removes stale locks
        return any(held)

    def claim(self, name: str) -> bool:
        """Claim a case, or return False if another process has it."""
        lock = try_lock(self._folder / f"{short_name(name)}{CLAIM_SUFFIX}")
        if lock:
            self._claims[name] = lock
        return lock is not None

    def release(self, name: str) -> None:
        """Release a case. Does nothing if it is not claimed."""
        lock = self._claims.pop(name, None)
        if lock:
            lock.release()

    def leave(self) -> None:
        """Release all claims and unregister this process."""
        for name in tuple(self._claims):
            self.release(name)
        if self._process:
            self._process.release()
            self._process = None
        for path in self._folder.glob(f"*{CLAIM_SUFFIX}"):
            _is_held(path)  # removes it if a killed process has left it
        with suppress(OSError):  # not empty, or removed by another process
            self._folder.rmdir()


@contextmanager
def shared(
    path: Path, identity: Mapping[str, object], contents: Sequence[str], *, overwrite: bool = False
) -> Iterator[SharedFolder]:
    """Claim a folder, as `claim_folder` does, for work that several processes may share.

    Results of another identity are only replaced if no other process works there. If a `MappingError` ends the work in
    a folder that was not ours before, everything is removed, unless other processes work there.

    Raises:
        RunFolderError: See `claim_folder`; or other processes work in a folder that should be replaced.
    """
    require_claimable(path, identity, overwrite=overwrite)  # before anything is written
    was_there, folder = path.exists(), SharedFolder(path)
    try:
        was_ours = _begin(folder, path, identity, contents, overwrite=overwrite)
        try:
            yield folder
        except MappingError:
            with folder.exclusive():
                if not was_ours and not folder.has_others():
                    withdraw(path, contents)
            raise
    finally:
        folder.leave()
        if not was_there:
            with suppress(OSError):  # it is not empty
                path.rmdir()


def _begin(
    folder: SharedFolder, path: Path, identity: Mapping[str, object], contents: Sequence[str], *, overwrite: bool
) -> bool:
    """Claim a folder and join it. Returns whether it was ours before."""
    with folder.exclusive():
        was_ours = is_run_folder(path)
        if was_ours and not holds_work(path, identity) and folder.has_others():
            raise RunFolderError(
                f"{path}: another process is working there; wait until it has finished, or use another output folder"
            )
        claim_folder(path, identity, contents, overwrite=overwrite)
        folder.join()
    return was_ours


def _is_held(path: Path) -> bool:
    """Whether another process holds a lock, or this is unknown. The file of a killed process is removed."""
    try:
        lock = try_lock(path)
    except OSError:
        return True
    if lock is None:
        return True
    if lock.known:
        lock.release()
        return False
    lock.file.close()
    return True


@dataclass(frozen=True)
class CohortExecution(Execution):
    """Where and how the scans are segmented."""

    profile: str = "none"
    """`none`: one scan after another, in this process. `local`: by `--jobs` processes. `slurm`: by an array of
    `--jobs` Slurm jobs. Or a folder with a Snakemake profile of your own, for another scheduler."""


def run_shares(
    output: Path, command: Sequence[str], execution: Execution, device: str, *, scans: int, by_shard: bool
) -> StageResult:
    """Run the same command in several jobs, each of which segments some of the scans.

    Every start runs all jobs: a job finds out quickly that its scans are finished.

    Args:
        output: The cohort's output folder, see `JOBS_SUFFIX`.
        command: Arguments of `mapping`, with absolute paths.
        execution: Number of jobs, and where they run.
        device: `cpu` for jobs that need no GPU.
        scans: Number of scans; there are no more jobs than that.
        by_shard: Each job gets a `--shard`; otherwise the jobs share the output folder scan by scan.

    Returns:
        The output folder; and the jobs in which scans failed.

    Raises:
        ConfigError: A program is missing, or a job failed.
        RunFolderError: Another command is running these jobs.
        Stopped: A signal asked to stop; finished scans are kept.
    """
    execution.require_programs()
    shares = max(min(execution.jobs_at_once, scans), 1)
    folder = output.with_name(output.name + JOBS_SUFFIX).absolute()
    jobs = Jobs(folder, tuple(f"share/{number}_of_{shares}" for number in range(1, shares + 1)))
    plan = {"mapping": this_program(), "command": list(command), "shares": shares, "by_shard": by_shard}
    graph = {**plan, **execution.resources(device)}
    run_jobs(jobs, "shares", graph, execution, begin=lambda: remove(jobs.done("")))
    failed = {job: f"scans failed, see {jobs.log(job)}" for job in jobs.left_out()}
    for job, why in failed.items():
        warn(f"{job}: {why}")
    return StageResult((output,), failed)
