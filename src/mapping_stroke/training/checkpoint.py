"""Checkpoints: exact to the last number, and the same in small pieces to take elsewhere."""

import hashlib
import io
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import lightning_fabric
import torch

from mapping_stroke.errors import FileError, TrainingError
from mapping_stroke.files import read_object, remove_files, write_json, written_whole
from mapping_stroke.training.loop import Epoch, EpochSoFar, TrainingState
from mapping_stroke.training.supply import Memory, Position


def seal_of(magic: bytes, content: bytes | memoryview) -> bytes:
    """The line that a file with this content begins with."""
    return magic + hashlib.sha256(content).hexdigest().encode() + b"\n"


def write_sealed(path: Path, magic: bytes, content: bytes | memoryview) -> None:
    """Write the line and the content, and wait until the disk has them: a power cut must not leave a name alone."""
    with path.open("wb") as file:
        file.write(seal_of(magic, content))
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


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


PIECE_BYTES = 14 * 2**20
"""Of a piece at most: less than 15 MB."""
_REMEDY = "copy it again"


@dataclass(frozen=True)
class PieceList:
    """What there is.

    Attributes:
        recipe: Whose checkpoint it is.
        patches: Done.
        pieces: Name and SHA-256 of each, in order.
    """

    recipe: str
    patches: int
    pieces: dict[str, str]


def list_name(name: str) -> str:
    """What the list of the pieces of that name is called."""
    return f"{name}.pieces.json"


def write_pieces(checkpoint: Path, folder: Path, name: str, recipe: str, patches: int) -> None:
    """Cut a checkpoint; whole or not at all: until the new list is there, the pieces of the former one stay.

    Args:
        checkpoint: Its file.
        folder: For the pieces.
        name: How theirs begin.
        recipe: Whose it is.
        patches: Done.
    """
    before = {path for path in folder.glob(f"{name}.*.piece") if path.is_file()}
    content = memoryview(checkpoint.read_bytes())
    mark = hashlib.sha256(content).hexdigest()[:8]
    pieces: dict[str, str] = {}
    for index, start in enumerate(range(0, len(content), PIECE_BYTES)):
        piece = content[start : start + PIECE_BYTES]
        path = folder / f"{name}.{mark}.{index:03d}.piece"
        with written_whole(path) as partial:
            partial.write_bytes(piece)
        pieces[path.name] = hashlib.sha256(piece).hexdigest()
        before.discard(path)
    write_json(folder / list_name(name), asdict(PieceList(recipe, patches, pieces)))
    remove_files(sorted(before))


def read_list(folder: Path, name: str) -> PieceList | None:
    """What pieces of that name there should be in a folder; None where there is no list."""
    path = folder / list_name(name)
    if not path.is_file():
        return None
    try:
        return PieceList(**read_object(path))
    except TypeError as error:
        raise FileError(f"{path}: is no list of the pieces of a checkpoint; {_REMEDY}") from error


def join_pieces(folder: Path, listed: PieceList, checkpoint: Path) -> None:
    """Join the pieces to the checkpoint that they were cut from, whole or not at all.

    Args:
        folder: Where they lie.
        listed: Which.
        checkpoint: File to write.

    Raises:
        FileError: One is missing or damaged; it is named, and nothing was written.
    """
    with written_whole(checkpoint) as partial, partial.open("wb") as file:
        for name, digest in listed.pieces.items():
            path = folder / name
            try:
                content = path.read_bytes()
            except OSError as error:
                raise FileError(
                    f"{path}: a piece of a checkpoint cannot be read ({error.strerror}); {_REMEDY}"
                ) from error
            if hashlib.sha256(content).hexdigest() != digest:
                raise FileError(f"{path}: a piece of a checkpoint is damaged (its SHA-256 does not fit); {_REMEDY}")
            file.write(content)
