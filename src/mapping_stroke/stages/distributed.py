"""Distributed training: the first process prints and writes, the others follow it and end with it."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import lightning_fabric
import torch

from mapping_stroke.console import be_quiet
from mapping_stroke.errors import Stopped, TrainingError
from mapping_stroke.processes import StopRequest
from mapping_stroke.training.engine import any_of

SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_TO_END = 3.0
"""Delay before a process reports that it lost the first one, which usually has ended, and all others with it."""


@contextmanager
def distributed(fabric: lightning_fabric.Fabric, stop: StopRequest) -> Iterator[None]:
    """Train together with the other processes, if there are any.

    All processes except the first print nothing and only pass signals on at the next step. They exit with status 0 when
    the first one finishes or stops, and also exit if it disappears.

    Args:
        fabric: The launched engine.
        stop: Stop request of this process.

    Raises:
        TrainingError: The connection to the others was lost, for example because one of them was killed.
    """
    if fabric.world_size == 1:
        yield
        return
    try:
        if fabric.is_global_zero:
            yield
        else:
            be_quiet()
            threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
            with stop.held():
                yield
        fabric.barrier()
    except Stopped:
        if fabric.is_global_zero:
            raise
        raise SystemExit(0) from None
    except RuntimeError as error:
        if not _is_lost_connection(error):
            raise
        if not fabric.is_global_zero:
            time.sleep(SECONDS_TO_END)
        raise TrainingError(
            f"process {fabric.global_rank} lost another one, which was killed, ran out of memory, or printed its "
            "error above; rerun the command to resume from the last checkpoint"
        ) from error
    if not fabric.is_global_zero:
        raise SystemExit(0)


def check_all(stop: StopRequest, fabric: lightning_fabric.Fabric) -> None:
    """Raise `Stopped` in all processes if one of them was asked to stop."""
    if any_of((bool(stop.by),), fabric)[0]:
        stop.end()


def _is_lost_connection(error: RuntimeError) -> bool:
    return isinstance(error, torch.distributed.DistError) or "gloo" in str(error)


def _end_with(parent: int) -> None:
    """End this process when its parent is gone."""
    while os.getppid() == parent:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    os._exit(1)
