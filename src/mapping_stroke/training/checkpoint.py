"""A training run on disk: stop at any step, go on with the same numbers; the last two states are kept.

A checkpoint is a line of text with a SHA-256, then the file that `torch.save` makes: torch itself checks no sums, and
would train on from flipped bytes.
"""

import io
from dataclasses import asdict
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import lightning_fabric
import torch

from mapping_stroke.errors import FileError, TrainingError
from mapping_stroke.files import written_whole
from mapping_stroke.training.loop import TrainingState
from mapping_stroke.training.records import Epoch, EpochSoFar
from mapping_stroke.training.sealed import seal_of, write_sealed
from mapping_stroke.training.supply import Memory, Position

NEWEST = "checkpoint.pt"
PREVIOUS = "checkpoint_previous.pt"
_MAGIC = b"mapping checkpoint 2, sha256 "


def write_checkpoint(folder: Path, state: TrainingState, recipe: str, position: Position | None = None) -> None:
    """Write weights, optimiser, random states and records, whole or not at all; what was newest becomes previous.

    Args:
        folder: Where the two checkpoints of a member lie.
        state: What to keep.
        recipe: Fingerprint of all that decides the training; only the same recipe can go on from here.
        position: Of a training on a schedule; None for others.

    Raises:
        OSError: The disk is full, or the like; the checkpoints that were there stand as they were.
    """
    content = io.BytesIO()
    torch.save(_values_of(state, recipe, position), content)
    with written_whole(folder / NEWEST) as partial:
        write_sealed(partial, _MAGIC, content.getbuffer())
        if (folder / NEWEST).is_file():
            (folder / NEWEST).replace(folder / PREVIOUS)


def resume_from(folder: Path, state: TrainingState, recipe: str, position: Position | None = None) -> list[str]:
    """Bring a fresh state to where the newest whole checkpoint stands; without one of the recipe it stays fresh.

    The recipe says whether there is a `position`, which is brought there, too.

    Returns:
        What was found damaged and passed over, in words; empty as a rule. On another kind of device than that of the
        checkpoint the noise, which every patch begins anew, is that of the seed.

    Raises:
        TrainingError: There are checkpoints, and none is whole.
    """
    problems = []
    for path in (folder / NEWEST, folder / PREVIOUS):
        if not path.is_file():
            continue
        try:
            values = _read_values(path)
        except FileError as error:
            problems.append(str(error))
            continue
        if values["recipe"] == recipe:
            _restore(state, values)
            if position is not None:
                _restore_position(position, values["position"])
        return problems
    if problems:
        raise TrainingError(f"{'; '.join(problems)}; delete {folder} to train this member anew")
    return problems


def bring_in_step(state: TrainingState, fabric: lightning_fabric.Fabric) -> None:
    """Bring the states of all processes to where that of the first one stands."""
    if fabric.world_size == 1:
        return
    content = io.BytesIO()
    if fabric.is_global_zero:
        torch.save(_values_of(state, ""), content)
    received = fabric.broadcast(content.getvalue())
    if not fabric.is_global_zero:
        _restore(state, torch.load(io.BytesIO(received), map_location="cpu", weights_only=True))


def remove_checkpoints(folder: Path) -> None:
    """Remove what a finished member needs no more."""
    for name in (NEWEST, PREVIOUS):
        (folder / name).unlink(missing_ok=True)


def _values_of(state: TrainingState, recipe: str, position: Position | None = None) -> dict[str, Any]:
    so_far = state.so_far
    of_schedule = {} if position is None else {"position": {**vars(position), "memory": asdict(position.memory)}}
    return {
        **of_schedule,
        "recipe": recipe,
        "network": state.network.state_dict(),
        "optimiser": state.optimiser.state_dict(),
        "numbers": state.random.numbers.bit_generator.state,
        "noise": state.random.noise.get_state(),
        "epochs": [asdict(epoch) for epoch in state.epochs],
        "so_far": {
            "losses": torch.stack(so_far.losses) if so_far.losses else torch.empty(0),
            "validation_losses": so_far.validation_losses,
            "overlap": so_far.overlap,
            "training_seconds": so_far.training_seconds,
            "validation_seconds": so_far.validation_seconds,
        },
    }


def _restore(state: TrainingState, values: dict[str, Any]) -> None:
    state.network.load_state_dict(values["network"])
    state.optimiser.load_state_dict(values["optimiser"])
    state.random.numbers.bit_generator.state = values["numbers"]
    if values["noise"].shape == state.random.noise.get_state().shape:  # that of a GPU is no processor's
        state.random.noise.set_state(values["noise"])
    state.epochs[:] = [Epoch(**epoch) for epoch in values["epochs"]]
    device = next(state.network.parameters()).device
    losses = list(values["so_far"].pop("losses").to(device))
    state.so_far = EpochSoFar(losses, **values["so_far"])


def _restore_position(position: Position, values: dict[str, Any]) -> None:
    for name, value in values["average"].items():
        position.average[name].copy_(value)
    position.patches, position.restarted_at = values["patches"], values["restarted_at"]
    position.seconds = values.get("seconds", 0.0)  # absent from checkpoints that were written before there were any
    position.memory = Memory(**values["memory"])


def _read_values(path: Path) -> dict[str, Any]:
    """The values of a checkpoint whose hash is right; raises `FileError` that names it otherwise."""
    try:
        with path.open("rb") as file:
            head, content = file.read(len(_MAGIC) + 65), file.read()
        if head != seal_of(_MAGIC, content):
            old = "of an earlier version" if head.startswith(b"PK") else "damaged (its SHA-256 does not fit)"
            raise FileError(f"{path}: is {old}")
        values: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
        raise FileError(f"{path}: cannot be read ({type(error).__name__})") from error
    return values
