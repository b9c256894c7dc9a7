"""The claim on a run folder: another run in it is removed only while no command works on it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from mapping_stroke.errors import RunFolderError
from mapping_stroke.files import remove
from mapping_stroke.processes import is_locked, try_lock
from mapping_stroke.run_folder import (
    RUN_CONTENTS,
    RunFolder,
    claim_folder,
    holds_work,
    is_run_folder,
    require_claimable,
)
from mapping_stroke.workflow.jobs import LOCK_FILE


def claim_run(run: RunFolder, identity: Mapping[str, object], *, overwrite: bool) -> None:
    """Claim the run folder; with `overwrite`, remove another run from it.

    Raises:
        RunFolderError: See `claim_folder`; or a command works on the run that would be removed.
    """
    require_claimable(run.path, identity, overwrite=overwrite)
    if not is_run_folder(run.path) or holds_work(run.path, identity):
        claim_folder(run.path, identity)
        return
    with _held(run):
        start_again(run, identity)


def start_again(run: RunFolder, identity: Mapping[str, object]) -> None:
    """Remove everything that the stages wrote, and claim the folder. The caller holds the lock of the run's jobs."""
    require_no_training(run)
    for name in RUN_CONTENTS:
        if name == run.experiment.name and run.experiment.is_dir():
            for entry in run.experiment.iterdir():
                if entry.name != LOCK_FILE:  # held
                    remove(entry)
        else:
            remove(run.path / name)
    claim_folder(run.path, identity, overwrite=True)


def require_idle(run: RunFolder) -> None:
    """Raise `RunFolderError` if a command works on the run, before it is removed. Nothing is written."""
    if is_locked(run.experiment / LOCK_FILE):
        raise _busy(run)
    require_no_training(run)


def require_no_training(run: RunFolder) -> None:
    """Raise `RunFolderError` if a member is being trained, which may be by `mapping train` or by an orphaned job."""
    for lock in run.members.glob("*/.fold_*.lock"):
        if is_locked(lock):
            raise _busy(run)


@contextmanager
def _held(run: RunFolder) -> Iterator[None]:
    lock = try_lock(run.experiment / LOCK_FILE)
    if lock is None:
        raise _busy(run)
    try:
        yield
    finally:
        lock.release()
        with suppress(OSError):  # not empty
            run.experiment.rmdir()


def _busy(run: RunFolder) -> RunFolderError:
    return RunFolderError(
        f"{run.path}: another command is working on this run, which --overwrite would remove; wait for it, or stop it"
    )
