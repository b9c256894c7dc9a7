"""Members trained side by side, each job a process with its share of the processor's cores."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace

import torch

from mapping_stroke.console import name_files, say, warn
from mapping_stroke.errors import ConfigError, TrainingError
from mapping_stroke.experiment.arrays import arrays_run
from mapping_stroke.experiment.stopping import StopRequest, listening
from mapping_stroke.experiment.train import TrainConfig, Trained, folds_to_train, train_run
from mapping_stroke.run_folder import RunFolder
from mapping_stroke.training.schemes import find_scheme

SECONDS_BETWEEN_LOOKS = 0.5


def train_side_by_side(run: RunFolder, config: TrainConfig, jobs: int, *, overwrite: bool = False) -> Trained:
    """Train every scheme on every fold, several folds at once if asked to; the weights are the same.

    Schemes with pseudo-labels wait for all others, whose validation Dice on all folds chooses who makes the labels.

    Args:
        run: A run with cases and folds.
        config: As for `train_run`.
        jobs: Processes at once, 1 or more.
        overwrite: Train anew where a member of other settings stands.

    Returns:
        What came of each member, also told to the user.

    Raises:
        ConfigError: Less than one job, or several on several devices. Otherwise as `train_run`.
        TrainingError: No member could be trained.
        Stopped: When asked to by a signal, with all saved.
    """
    if jobs < 1:
        raise ConfigError(f"got {jobs} jobs, expected 1 or more")
    if config.devices * config.nodes > 1:
        _require_one_command(jobs)
    wanted = folds_to_train(run, config)
    with listening() as stop:
        if jobs == 1 or len(wanted) == 1:
            trained = train_run(run, config, stop, overwrite=overwrite)
        else:
            trained = _train_in_jobs(run, config, wanted, stop, jobs, overwrite=overwrite)
    if trained.failed and not trained.members:
        raise TrainingError("; ".join(dict.fromkeys(trained.failed.values())))
    for name, why in trained.failed.items():
        warn(f"not trained: {name}: {why}")
    name_files("Members", run.members)
    return trained


def _require_one_command(jobs: int) -> None:
    """Refuse several devices where their processes, which repeat the command line, would do something else."""
    if jobs > 1:
        raise ConfigError("--jobs trains each fold on one device; leave out --jobs, or --devices and --nodes")
    if not any(argument.startswith(("--devices", "--nodes")) for argument in sys.argv):
        raise ConfigError("several devices need a command line of their own: call `mapping train ... --devices N`")


def _train_in_jobs(
    run: RunFolder, config: TrainConfig, folds: Sequence[int], stop: StopRequest, jobs: int, *, overwrite: bool
) -> Trained:
    arrays_run(run, config.size)
    threads = max((os.cpu_count() or 1) // jobs, 1)
    say(f"Training {min(jobs, len(folds))} folds at once, {threads} CPU threads each")
    trained = Trained()
    with stop.held(), ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _begin_job, (threads,)) as pool:
        for pseudo in (False, True):
            schemes = tuple(s for s in config.schemes if find_scheme(s, config.variant).pseudo_labels == pseudo)
            waiting = [replace(config, schemes=schemes, folds=(fold,)) for fold in folds if schemes]
            running: set[Future[Trained]] = set()
            try:
                while waiting or running:
                    while waiting and len(running) < jobs:
                        running.add(pool.submit(_train_as_job, run, waiting.pop(0), overwrite=overwrite))
                    done, running = wait(running, SECONDS_BETWEEN_LOOKS, FIRST_COMPLETED)
                    for finished in done:
                        trained.add(finished.result())
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
    return trained


def _tell_jobs() -> None:
    """Ask every job to save and end."""
    for job in multiprocessing.active_children():
        job.terminate()


def _train_as_job(run: RunFolder, config: TrainConfig, *, overwrite: bool) -> Trained:
    with listening() as stop:
        return train_run(run, config, stop, overwrite=overwrite)


def _begin_job(threads: int) -> None:
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
