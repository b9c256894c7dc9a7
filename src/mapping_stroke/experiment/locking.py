"""One process at a time: locks that the system frees when their holder ends, however it ends."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mapping_stroke.console import say
from mapping_stroke.errors import TrainingError

LONGEST_WAIT_S = 60.0
"""For a process that was left behind by a killed one, and is just saving what it did."""
BETWEEN_TRIES_S = 0.25


@dataclass(frozen=True)
class Lock:
    """A lock that this process has.

    Attributes:
        path: Its file, which goes with it.
        file: Open while it is held.
        known: Whether system and disk know locks; where they do not, other processes may have the same one.
    """

    path: Path
    file: IO[bytes]
    known: bool

    def release(self) -> None:
        """Let others have it."""
        if self.known:
            self.path.unlink(missing_ok=True)  # before it is freed: who comes then finds another file, and locks that
        self.file.close()
        if not self.known:
            with suppress(OSError):  # a system that removes no open file, and another process has it: it goes with that
                self.path.unlink(missing_ok=True)


def try_lock(path: Path) -> Lock | None:
    """The lock of that name, whose folder is made where it is missing; None where another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        file = path.open("ab")
    except FileNotFoundError:  # the folder was just removed by who found it empty
        return None
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except (ImportError, OSError):  # Windows, or a disk without locks
        return Lock(path, file, known=False)
    try:
        ours = path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        file.close()
        raise
    if ours:
        return Lock(path, file, known=True)
    file.close()  # its last holder has removed this file
    return None


def wait_for_lock(path: Path, wait_s: float, tell: Callable[[], None] = lambda: None) -> Lock | None:
    """The same, but try again until so many seconds have passed; `tell` is called once, before the first wait."""
    deadline = time.monotonic() + wait_s
    told = False
    while (lock := try_lock(path)) is None:
        if time.monotonic() >= deadline:
            return None
        if not told:
            tell()
            told = True
        time.sleep(min(BETWEEN_TRIES_S, wait_s))
    return lock


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold the lock of that name while a member is trained; where system or disk know no locks, nothing is held.

    Raises:
        TrainingError: Another process held it all the while.
    """
    lock = wait_for_lock(path, LONGEST_WAIT_S, lambda: say(f"{what}: waiting for another process, which trains it"))
    if lock is None:
        raise TrainingError(f"{what}: another process trains it; wait for that one, or stop it, then rerun")
    try:
        yield
    finally:
        lock.release()
