"""Members trained side by side, each job a process with its share of the processor's cores."""

import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import torch

from mapping_stroke.console import say
from mapping_stroke.errors import ConfigError
from mapping_stroke.experiment.arrays import arrays_run
from mapping_stroke.experiment.train import TrainConfig, folds_to_train, train_run
from mapping_stroke.run_folder import RunFolder
from mapping_stroke.training.schemes import find_scheme


def train_side_by_side(run: RunFolder, config: TrainConfig, jobs: int, *, overwrite: bool = False) -> list[Path]:
    """Like `train_run`, with several folds trained at once; the weights are the same.

    Schemes with pseudo-labels wait for all others, whose validation Dice on all folds chooses who makes the labels.

    Args:
        run: A run with cases and folds.
        config: As for `train_run`.
        jobs: Processes at once, 1 or more.
        overwrite: Train anew where a member of other settings stands.

    Raises:
        ConfigError: Less than one job. Otherwise as `train_run`.
    """
    if jobs < 1:
        raise ConfigError(f"got {jobs} jobs, expected 1 or more")
    wanted = folds_to_train(run, config)
    if jobs == 1 or len(wanted) == 1:
        return train_run(run, config, overwrite=overwrite)
    arrays_run(run, config.size)
    threads = max((os.cpu_count() or 1) // jobs, 1)
    say(f"Training {min(jobs, len(wanted))} folds at once, {threads} CPU threads each")
    members = []
    with ProcessPoolExecutor(jobs, get_context("spawn"), torch.set_num_threads, (threads,)) as pool:
        for pseudo in (False, True):
            schemes = tuple(s for s in config.schemes if find_scheme(s, config.variant).pseudo_labels == pseudo)
            rounds = [replace(config, schemes=schemes, folds=(fold,)) for fold in wanted if schemes]
            for finished in [pool.submit(train_run, run, one, overwrite=overwrite) for one in rounds]:
                members += finished.result()
    return members
