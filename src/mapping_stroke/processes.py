"""Locks, stop requests, and parallel jobs."""

import _thread
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, NoReturn, TypeVar

from mapping_stroke.console import say
from mapping_stroke.errors import Stopped, TrainingError

LONGEST_WAIT_S = 60.0
"""Time for an orphaned process to finish saving."""
BETWEEN_TRIES_S = 0.25


@dataclass(frozen=True)
class Lock:
    """A lock that this process holds.

    Attributes:
        path: Its file, which is removed with the lock.
        file: The open file; closing it frees the lock.
        known: Whether the system and the disk support locks. If not, other processes may hold the same one.
    """

    path: Path
    file: IO[bytes]
    known: bool

    def release(self) -> None:
        """Release the lock."""
        if self.known:
            self.path.unlink(missing_ok=True)  # before closing: a newcomer then locks a new file
        self.file.close()
        if not self.known:
            with suppress(OSError):  # opened by another process, which will remove it
                self.path.unlink(missing_ok=True)


def try_lock(path: Path) -> Lock | None:
    """Try to take the lock of this name, creating its folder if needed, or None if another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        file = path.open("ab")
    except FileNotFoundError:  # another process has just removed the empty folder
        return None
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except (ImportError, OSError):  # Windows, or a disk without locks
        return Lock(path, file, known=False)
    # the holder may have removed this file after it was opened here: then the lock is on a file without a name
    try:
        ours = path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        file.close()
        raise
    if ours:
        return Lock(path, file, known=True)
    file.close()  # the previous holder has removed this file
    return None


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of this name; False if it is unknown. Nothing is written or removed."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return False
    with file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except (ImportError, OSError):  # Windows, or a disk without locks
            return False
    return False


def wait_for_lock(path: Path, wait_s: float, report: Callable[[], None] = lambda: None) -> Lock | None:
    """Try for `wait_s` seconds to take the lock. `report` is called once, before the first wait."""
    deadline = time.monotonic() + wait_s
    reported = False
    while (lock := try_lock(path)) is None:
        if time.monotonic() >= deadline:
            return None
        if not reported:
            report()
            reported = True
        time.sleep(min(BETWEEN_TRIES_S, wait_s))
    return lock


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold the lock of this name while a member is trained. Does nothing if locks are not supported.

    Raises:
        TrainingError: Another process did not release it.
    """
    lock = wait_for_lock(
        path, LONGEST_WAIT_S, lambda: say(f"{what}: waiting for another process to finish training it")
    )
    if lock is None:
        raise TrainingError(
            f"{what}: another process is training it; wait for it to finish, or stop it, then rerun the command"
        )
    try:
        yield
    finally:
        lock.release()


SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""Ctrl-C, the signal that schedulers send before they kill a job, and one they can be configured to send earlier."""

RESUME = "rerun the command to resume"


class StopRequest:
    """Whether this process was asked to stop.

    Args:
        remedy: How the user can resume.

    Attributes:
        by: Name of the signal; empty if no signal was received.
    """

    def __init__(self, remedy: str = RESUME) -> None:
        self._remedy = remedy
        self.by = ""
        self._held = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Defer requests until `check`. Otherwise they end the work at once. A second Ctrl-C is never deferred."""
        before, self._held = self._held, True
        try:
            yield
        finally:
            self._held = before

    def check(self) -> None:
        """Raise `Stopped` if this process was asked to stop."""
        if self.by:
            self.end()

    def end(self) -> NoReturn:
        """Raise `Stopped`, because this process or one that it trains with was asked to stop."""
        by = self.by or "a signal to another process"
        raise Stopped(f"stopped by {by}; all work is saved; {self._remedy}")

    def receive(self, number: int, _: FrameType | None) -> None:
        """Handle a signal."""
        first, self.by = not self.by, self.by or signal.Signals(number).name
        if (first and not self._held) or (not first and number == signal.SIGINT):
            raise Stopped(f"stopped by {self.by}; finished work is kept; {self._remedy}")


@contextmanager
def listening(remedy: str = RESUME) -> Iterator[StopRequest]:
    """Handle the signals that ask to stop. This does nothing outside the main thread, which receives them."""
    request = StopRequest(remedy)
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request.receive) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


@contextmanager
def stopping_in(seconds: float) -> Iterator[None]:
    """Ask this process to stop, as SIGTERM does, if the block takes longer than `seconds`."""
    timer = threading.Timer(max(seconds, 0.0), _thread.interrupt_main, [signal.SIGTERM])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


SECONDS_BETWEEN_LOOKS = 0.5

T = TypeVar("T")


def run_in_jobs(tasks: Sequence[Callable[[], T]], jobs: int, stop: StopRequest) -> list[T]:
    """Call every task in its own process, several at once.

    Args:
        tasks: Module-level functions with their arguments (`functools.partial`); each handles signals itself.
        jobs: Number of parallel processes, 1 or more.
        stop: Checked twice a second. If it is set, the jobs are asked to stop and awaited.

    Returns:
        The results of the tasks, in the order in which they finished.

    Raises:
        TrainingError: A job was killed. Errors of tasks are passed on.
        Stopped: A signal asked to stop.
    """
    waiting, answers = list(tasks), list[T]()
    running: set[Future[T]] = set()
    spawning, threads = multiprocessing.get_context("spawn"), threads_of(jobs)
    with stop.held(), ProcessPoolExecutor(jobs, spawning, begin_job, (threads,)) as pool:
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    running.add(pool.submit(waiting.pop(0)))
                done, running = wait(running, SECONDS_BETWEEN_LOOKS, FIRST_COMPLETED)
                answers += [finished.result() for finished in done]
                stop.check()
        except BrokenProcessPool as error:
            stop.check()
            raise TrainingError(
                "a job was killed, probably because memory ran out; rerun with fewer --jobs to resume from the last "
                "checkpoints"
            ) from error
        finally:
            if running:
                _stop_jobs()
    return answers


def threads_of(jobs: int) -> int:
    """The number of CPU threads of each job."""
    return max((os.cpu_count() or 1) // jobs, 1)


def _stop_jobs() -> None:
    """Ask every job to save and exit."""
    for job in multiprocessing.active_children():
        job.terminate()


def begin_job(threads: int) -> None:
    """Set up a job's process: limit its threads, ignore Ctrl-C, and exit with the parent."""
    import torch

    torch.set_num_threads(threads)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent also receives Ctrl-C and stops the jobs
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """If the parent was killed, ask this job to save and exit, since nothing waits for it any more."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    parent.join()
    while True:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(SECONDS_BETWEEN_LOOKS)
