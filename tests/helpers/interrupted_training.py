"""`mapping train` on tiny networks in a process of its own, which gets a signal at a chosen moment.

    python tests/helpers/interrupted_training.py STEPS SIGNAL MOMENT COUNT ARGUMENTS...

Epochs have STEPS training steps. When the process comes to MOMENT for the COUNT-th time, it sends itself SIGNAL, such
as `SIGKILL`; with the signal `none` it runs on. A test may import `MOMENTS` and `signal_at`.
"""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import torch

from mapping_stroke import cli
from mapping_stroke.networks import member_folder
from mapping_stroke.stages import member as train_member
from mapping_stroke.stages import progress as train_watch
from mapping_stroke.training import loop
from mapping_stroke.training.checkpoint import NEWEST, PREVIOUS
from mapping_stroke.training.schemes import SIZES, Size
from phantoms import NANO


def always(*_: object) -> bool:
    return True


def newest_is_moved_away(_: Path, target: Path) -> bool:
    return target.name == NEWEST and target.with_name(PREVIOUS).exists()


MOMENTS: dict[str, tuple[Any, str, Callable[..., bool]]] = {
    "in a step": (loop, "take_step", always),
    "in the validation": (loop, "validate", always),
    "after an epoch, before its checkpoint": (train_member, "write_checkpoint", always),
    "in a checkpoint": (os, "fsync", always),
    "between the renames of a checkpoint": (Path, "replace", newest_is_moved_away),
    "after a checkpoint, before the table of epochs": (train_watch, "write_epochs", always),
    "between the weights of a member and its card": (member_folder, "write_json", always),
    "after the member, before its checkpoints are removed": (train_member, "remove_checkpoints", always),
}
"""When a function is called: where it is looked up, its name, and which calls count."""


def tiny_size(steps: int) -> Size:
    return replace(NANO, steps_per_epoch=steps, validation_steps=2)


def signal_at(moment: str, count: int, number: int, put: Callable[[Any, str, Any], None] = setattr) -> None:
    """Have this process get a signal when it comes to a moment for that time."""
    where, name, counts = MOMENTS[moment]
    real, calls = getattr(where, name), 0

    @wraps(real)
    def wrapped(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += counts(*args)
        if calls == count and counts(*args):
            os.kill(os.getpid(), number)
        return real(*args, **options)

    put(where, name, wrapped)


if __name__ in ("__main__", "__mp_main__"):
    torch.set_num_threads(1)
    SIZES["tiny"] = tiny_size(int(sys.argv[1]))
if __name__ == "__main__":
    if sys.argv[2] != "none":
        signal_at(sys.argv[3], int(sys.argv[4]), getattr(signal, sys.argv[2]))
    sys.exit(cli.main(sys.argv[5:]))
