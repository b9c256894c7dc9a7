"""One process at a time: a lock that the system frees when its holder ends, however it ends."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mapping_stroke.console import say
from mapping_stroke.errors import TrainingError

LONGEST_WAIT_S = 60.0
"""For a process that was left behind by a killed one, and is just saving what it did."""
BETWEEN_TRIES_S = 0.25


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold the lock of that name; where neither system nor disk knows locks, nothing is held.

    Raises:
        TrainingError: Another process held it all the while.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + LONGEST_WAIT_S
    told = False
    while (file := _try_to_lock(path)) is None:
        if time.monotonic() >= deadline:
            raise TrainingError(f"{what}: another process trains it; wait for that one, or stop it, then rerun")
        if not told:
            say(f"{what}: waiting for another process, which trains it")
            told = True
        time.sleep(BETWEEN_TRIES_S)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # before the lock is freed: who waits then finds another file, and locks that
        file.close()


def _try_to_lock(path: Path) -> IO[bytes] | None:
    file = path.open("ab")
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except (ImportError, OSError):  # Windows, or a disk without locks
        return file
    if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
        return file
    file.close()  # its last holder has removed this file
    return None
