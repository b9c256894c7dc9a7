"""Exact checkpoints, also in small pieces for moving to another machine."""

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
    """First line of a file with this content: its magic text and SHA-256."""
    return magic + hashlib.sha256(content).hexdigest().encode() + b"\n"


def write_sealed(path: Path, magic: bytes, content: bytes | memoryview) -> None:
    """Write the seal and the content, and sync: a power cut must not leave an empty file."""
    with path.open("wb") as file:
        file.write(seal_of(magic, content))
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


NEWEST = "checkpoint.pt"
PREVIOUS = "checkpoint_previous.pt"
_MAGIC = b"mapping checkpoint 2, sha256 "


def write_checkpoint(folder: Path, state: TrainingState, recipe: str, position: Position | None = None) -> None:
    """Write weights, optimiser, random states and records atomically; the newest checkpoint becomes the previous one.

    Args:
        folder: Folder of the two checkpoints of a member.
        state: The state of the training.
        recipe: Fingerprint of the training's settings; only the same recipe can be resumed from here.
        position: Position of a training on a schedule; None for others.

    Raises:
        OSError: Writing failed, for example on a full disk; existing checkpoints are unchanged.
    """
    content = io.BytesIO()
    torch.save(_values_of(state, recipe, position), content)
    with written_whole(folder / NEWEST) as partial:
        write_sealed(partial, _MAGIC, content.getbuffer())
        # only now, so that at every moment there is an intact checkpoint
        if (folder / NEWEST).is_file():
            (folder / NEWEST).replace(folder / PREVIOUS)


def resume_from(folder: Path, state: TrainingState, recipe: str, position: Position | None = None) -> list[str]:
    """Restore a fresh state from the newest intact checkpoint of the same recipe; without one it stays fresh.

    A `position` is restored as well; whether there is one depends on the recipe. On another kind of device than that of
    the checkpoint, the noise generator, which every patch reseeds, keeps the state of the seed.

    Returns:
        Descriptions of damaged checkpoints that were skipped; usually empty.

    Raises:
        TrainingError: There are checkpoints, but none is intact.
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
        raise TrainingError(f"{'; '.join(problems)}; delete {folder} to train this member from scratch")
    return problems


def bring_in_step(state: TrainingState, fabric: lightning_fabric.Fabric) -> None:
    """Copy the state of the first process to all others."""
    if fabric.world_size == 1:
        return
    content = io.BytesIO()
    if fabric.is_global_zero:
        torch.save(_values_of(state, ""), content)
    received = fabric.broadcast(content.getvalue())  # as bytes, since tensors would keep their device
    if not fabric.is_global_zero:
        _restore(state, torch.load(io.BytesIO(received), map_location="cpu", weights_only=True))


def remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a finished member."""
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
    if values["noise"].shape == state.random.noise.get_state().shape:  # generators of GPU and CPU are incompatible
        state.random.noise.set_state(values["noise"])
    state.epochs[:] = [Epoch(**epoch) for epoch in values["epochs"]]
    device = next(state.network.parameters()).device
    losses = list(values["so_far"].pop("losses").to(device))
    state.so_far = EpochSoFar(losses, **values["so_far"])


def _restore_position(position: Position, values: dict[str, Any]) -> None:
    for name, value in values["average"].items():
        position.average[name].copy_(value)
    position.patches, position.restarted_at = values["patches"], values["restarted_at"]
    position.seconds = values.get("seconds", 0.0)  # absent from older checkpoints
    position.memory = Memory(**values["memory"])


def _read_values(path: Path) -> dict[str, Any]:
    """The values of a checkpoint; raises `FileError` if its hash is wrong."""
    try:
        with path.open("rb") as file:
            head, content = file.read(len(_MAGIC) + 65), file.read()
        if head != seal_of(_MAGIC, content):
            old = "of an earlier version" if head.startswith(b"PK") else "damaged (its SHA-256 does not match)"
            raise FileError(f"{path}: is {old}")
        values: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
        raise FileError(f"{path}: cannot be read ({type(error).__name__})") from error
    return values


PIECE_BYTES = 14 * 2**20
"""Largest size of a piece: less than 15 MB."""
_REMEDY = "copy it again"


@dataclass(frozen=True)
class PieceList:
    """Pieces of a checkpoint.

    Attributes:
        recipe: Recipe of the checkpoint.
        patches: Patches done.
        pieces: SHA-256 of each piece by name, in order.
    """

    recipe: str
    patches: int
    pieces: dict[str, str]


def list_name(name: str) -> str:
    """File name of the list of pieces of this name."""
    return f"{name}.pieces.json"


def write_pieces(checkpoint: Path, folder: Path, name: str, recipe: str, patches: int) -> None:
    """Cut a checkpoint into pieces; the former pieces are kept until the new list is written.

    Args:
        checkpoint: File of the checkpoint.
        folder: Folder for the pieces.
        name: Prefix of their names.
        recipe: Recipe of the checkpoint.
        patches: Patches done.
    """
    before = {path for path in folder.glob(f"{name}.*.piece") if path.is_file()}
    content = memoryview(checkpoint.read_bytes())
    prefix = hashlib.sha256(content).hexdigest()[:8]  # new pieces must not overwrite the former ones
    pieces: dict[str, str] = {}
    for index, start in enumerate(range(0, len(content), PIECE_BYTES)):
        piece = content[start : start + PIECE_BYTES]
        path = folder / f"{name}.{prefix}.{index:03d}.piece"
        with written_whole(path) as partial:
            partial.write_bytes(piece)
        pieces[path.name] = hashlib.sha256(piece).hexdigest()
        before.discard(path)
    # the list last: it makes the new pieces valid, and the former ones are removed after it
    write_json(folder / list_name(name), asdict(PieceList(recipe, patches, pieces)))
    remove_files(sorted(before))


def read_list(folder: Path, name: str) -> PieceList | None:
    """Read the list of pieces of this name; None if there is none."""
    path = folder / list_name(name)
    if not path.is_file():
        return None
    try:
        return PieceList(**read_object(path))
    except TypeError as error:
        raise FileError(f"{path}: is not a list of the pieces of a checkpoint; {_REMEDY}") from error


def join_pieces(folder: Path, listed: PieceList, checkpoint: Path) -> None:
    """Join pieces to the checkpoint that they were cut from, atomically.

    Args:
        folder: Folder of the pieces.
        listed: List of the pieces.
        checkpoint: File to write.

    Raises:
        FileError: A piece is missing or damaged; nothing was written.
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
                raise FileError(f"{path}: a piece of a checkpoint is damaged (its SHA-256 does not match); {_REMEDY}")
            file.write(content)
