"""A checkpoint in pieces that are small enough to be taken elsewhere one by one, and a list that tells of all."""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path

from mapping_stroke.errors import FileError
from mapping_stroke.files import read_object, remove_files, write_json, written_whole

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
