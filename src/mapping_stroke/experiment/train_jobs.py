"""Members trained side by side, each job a process with its share of the processor's cores."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from mapping_stroke.console import name_files, say, warn
from mapping_stroke.errors import ConfigError, TrainingError
from mapping_stroke.experiment.jobs import run_in_jobs, threads_of
from mapping_stroke.experiment.stopping import StopRequest, listening
from mapping_stroke.experiment.train import Trained, folds_to_train, prepare_arrays, train_run
from mapping_stroke.experiment.train_config import TrainConfig
from mapping_stroke.run_folder import RunFolder
from mapping_stroke.training.schemes import find_scheme


def train_side_by_side(run: RunFolder, config: TrainConfig, jobs: int, *, overwrite: bool = False) -> Trained:
    """Train every scheme on every fold, several folds at once if asked to; the weights are the same.

    Schemes with pseudo-labels wait for all others, whose validation Dice on all folds chooses who makes the labels.

    Args:
        run: A run with cases and folds.
        config: As for `train_run`.
        jobs: Processes at once, 1 or more.
        overwrite: Train anew where a member of other settings or data stands.

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
    prepare_arrays(run, config)
    say(f"Training {min(jobs, len(folds))} folds at once, {threads_of(jobs)} CPU threads each")
    trained = Trained()
    for pseudo in (False, True):
        schemes = tuple(s for s in config.schemes if find_scheme(s, config.variant).pseudo_labels == pseudo)
        parts = [replace(config, schemes=schemes, folds=(fold,)) for fold in folds if schemes]
        for part in run_in_jobs([partial(_train_as_job, run, one, overwrite=overwrite) for one in parts], jobs, stop):
            trained.add(part)
    return trained


def _train_as_job(run: RunFolder, config: TrainConfig, *, overwrite: bool) -> Trained:
    with listening() as stop:
        return train_run(run, config, stop, overwrite=overwrite)
