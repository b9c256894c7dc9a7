"""Work side by side, each job a process with its share of the processor's cores."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import torch

from mapping_stroke.errors import TrainingError
from mapping_stroke.experiment.stopping import StopRequest

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
                _tell_jobs()
    return answers


def threads_of(jobs: int) -> int:
    """The CPU threads that each of some jobs has."""
    return max((os.cpu_count() or 1) // jobs, 1)


def _tell_jobs() -> None:
    """Ask every job to save and end."""
    for job in multiprocessing.active_children():
        job.terminate()


def begin_job(threads: int) -> None:
    """Make a new process a job: so many threads, deaf to Ctrl-C, and it ends with its parent."""
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
