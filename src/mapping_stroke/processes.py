"""Locks, stop requests, and jobs that run side by side."""

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


SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""Ctrl-C, what schedulers send before they kill, and what they can be told to send earlier."""

GO_ON = "run the same command again to go on"


class StopRequest:
    """Whether this process was asked to stop.

    Args:
        remedy: What a stopped user should do.

    Attributes:
        by: Name of the signal; empty while nobody asked.
    """

    def __init__(self, remedy: str = GO_ON) -> None:
        self._remedy = remedy
        self.by = ""
        self._held = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let a request wait until `check`; elsewhere it ends the work at once. A second Ctrl-C never waits."""
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
        """Raise `Stopped`, because this process was asked to stop, or one that it trains with."""
        by = self.by or "a signal to another process"
        raise Stopped(f"stopped by {by}, and all that was done is saved; {self._remedy}")

    def hear(self, number: int, _: FrameType | None) -> None:
        """Take a signal."""
        first, self.by = not self.by, self.by or signal.Signals(number).name
        if (first and not self._held) or (not first and number == signal.SIGINT):
            raise Stopped(f"stopped by {self.by}, and what was finished is kept; {self._remedy}")


@contextmanager
def listening(remedy: str = GO_ON) -> Iterator[StopRequest]:
    """Take the signals that ask to stop; outside the main thread, which alone gets them, nobody ever asks."""
    request = StopRequest(remedy)
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request.hear) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


@contextmanager
def stopping_in(seconds: float) -> Iterator[None]:
    """Ask this process to stop, as SIGTERM does, unless the block is over after so many seconds."""
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
    """Call every task in a process of its own, several at once.

    Args:
        tasks: Functions of modules, with their arguments (`functools.partial`); each listens to signals itself.
        jobs: Processes at once, 1 or more.
        stop: Asked twice a second whether to stop; the jobs are then asked too, and waited for.

    Returns:
        What the tasks returned, as they were done.

    Raises:
        TrainingError: A job was killed. Otherwise what a task raises.
        Stopped: When asked to.
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
                "a job was killed, as systems do when memory runs out; rerun with fewer --jobs, it goes on where "
                "the last checkpoints stand"
            ) from error
        finally:
            if running:
                _report_jobs()
    return answers


def threads_of(jobs: int) -> int:
    """The CPU threads that each of some jobs has."""
    return max((os.cpu_count() or 1) // jobs, 1)


def _report_jobs() -> None:
    """Ask every job to save and end."""
    for job in multiprocessing.active_children():
        job.terminate()


def begin_job(threads: int) -> None:
    """Make a new process a job: so many threads, deaf to Ctrl-C, and it ends with its parent."""
    import torch

    torch.set_num_threads(threads)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # between two members; Ctrl-C reaches the parent too, which tells
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """When the parent was killed, ask this job to save, then end it: nobody waits for it any more."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    parent.join()
    while True:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(SECONDS_BETWEEN_LOOKS)
