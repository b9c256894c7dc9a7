"""Checkpoints in pieces: small, whole or not at all, and a lost or damaged piece is named."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mapping_stroke.errors import FileError
from mapping_stroke.training import checkpoint as pieces
from mapping_stroke.training.checkpoint import PieceList, join_pieces, list_name, read_list, write_pieces

PIECE_BYTES = pieces.PIECE_BYTES


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE_BYTES", 100)


def write(folder: Path, size: int = 250, seed: int = 0) -> bytes:
    """Cut a checkpoint of random bytes."""
    content = np.random.default_rng(seed).bytes(size)
    (folder / "checkpoint.pt").write_bytes(content)
    write_pieces(folder / "checkpoint.pt", folder / "pieces", "one", "recipe", 7)
    return content


def listed(folder: Path) -> PieceList:
    found = read_list(folder / "pieces", "one")
    assert found
    return found


def test_joined_pieces_are_the_checkpoint(tmp_path: Path) -> None:
    assert PIECE_BYTES < 15_000_000
    content = write(tmp_path)
    found = listed(tmp_path)
    assert (found.recipe, found.patches, len(found.pieces)) == ("recipe", 7, 3)
    assert [(tmp_path / "pieces" / name).stat().st_size for name in found.pieces] == [100, 100, 50]
    join_pieces(tmp_path / "pieces", found, tmp_path / "joined")
    assert (tmp_path / "joined").read_bytes() == content


def test_new_pieces_replace_the_former_ones(tmp_path: Path) -> None:
    write(tmp_path)
    content = write(tmp_path, 130, seed=1)
    names = {path.name for path in (tmp_path / "pieces").iterdir()}
    assert names == {*listed(tmp_path).pieces, list_name("one")}
    assert len(names) == 3
    join_pieces(tmp_path / "pieces", listed(tmp_path), tmp_path / "joined")
    assert (tmp_path / "joined").read_bytes() == content


def test_a_killed_writer_leaves_the_former_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = write(tmp_path)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pieces, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path, seed=1)
    join_pieces(tmp_path / "pieces", listed(tmp_path), tmp_path / "joined")
    assert (tmp_path / "joined").read_bytes() == content


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (Path.unlink, r"\.001\.piece: a piece of a checkpoint cannot be read \(No such file"),
        (lambda path: path.write_bytes(bytes(100)), r"\.001\.piece: a piece of a checkpoint is damaged"),
    ],
    ids=["missing", "damaged"],
)
def test_a_lost_or_damaged_piece_is_named(damage: Callable[[Path], object], says: str, tmp_path: Path) -> None:
    write(tmp_path)
    found = listed(tmp_path)
    damage(tmp_path / "pieces" / list(found.pieces)[1])
    with pytest.raises(FileError, match=says + ".*; copy it again"):
        join_pieces(tmp_path / "pieces", found, tmp_path / "joined")
    assert not (tmp_path / "joined").exists()


def test_without_a_list_there_are_none_and_a_damaged_list_is_refused(tmp_path: Path) -> None:
    assert read_list(tmp_path, "one") is None
    (tmp_path / list_name("one")).write_text("{}")
    with pytest.raises(
        FileError, match=r"one\.pieces\.json: is not a list of the pieces of a checkpoint; copy it again"
    ):
        read_list(tmp_path, "one")
