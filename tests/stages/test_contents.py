"""Marks of files tell other bytes, and only those, without reading unchanged files."""

import os
from pathlib import Path

import pytest

from mapping_stroke.errors import FileError
from mapping_stroke.files import sha256
from mapping_stroke.stages import prepare as contents
from mapping_stroke.stages.prepare import content_hashes


@pytest.fixture
def files(tmp_path: Path) -> dict[str, list[Path]]:
    made = {name: [tmp_path / f"{name}.nii", tmp_path / f"{name}_mask.nii"] for name in "ab"}
    for paths in made.values():
        for path in paths:
            path.write_text(path.name)
    return made


def test_other_bytes_of_the_same_size_are_another_mark(tmp_path: Path, files: dict[str, list[Path]]) -> None:
    before = content_hashes(tmp_path / "ledger.json", files)
    files["b"][1].write_text("B_mask.nii")
    os.utime(files["b"][1], (0, 0))
    os.utime(files["a"][0], (0, 0))
    after = content_hashes(tmp_path / "ledger.json", files)
    assert after["a"] == before["a"]
    assert after["b"] != before["b"]
    assert content_hashes(tmp_path / "another.json", files) == after


def test_an_unchanged_file_is_not_read_again(
    tmp_path: Path, files: dict[str, list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content_hashes(tmp_path / "ledger.json", files)
    monkeypatch.setattr(contents, "sha256", None)
    assert content_hashes(tmp_path / "ledger.json", files) == before


def test_a_damaged_ledger_is_made_anew(tmp_path: Path, files: dict[str, list[Path]]) -> None:
    before = content_hashes(tmp_path / "ledger.json", files)
    whole = (tmp_path / "ledger.json").read_bytes()
    for damaged in (b"\xff[", b"[]", whole.replace(b'"sha256"', b'"sha1"')):
        (tmp_path / "ledger.json").write_bytes(damaged)
        assert content_hashes(tmp_path / "ledger.json", files) == before


@pytest.fixture
def header(tmp_path: Path) -> Path:
    (tmp_path / "a.raw").write_bytes(b"0")
    (tmp_path / "a.mhd").write_text("ElementDataFile = a.raw\n")
    return tmp_path / "a.mhd"


def test_the_voxels_of_a_header_count_too(tmp_path: Path, header: Path) -> None:
    voxels = header.with_suffix(".raw")
    before = content_hashes(tmp_path / "ledger.json", {"a": [header]})
    voxels.write_bytes(b"12")
    assert content_hashes(tmp_path / "ledger.json", {"a": [header]}) != before


def test_a_missing_file_is_refused_unless_it_is_known(tmp_path: Path, files: dict[str, list[Path]]) -> None:
    with pytest.raises(FileError, match=r"none\.nii: cannot be read"):
        content_hashes(tmp_path / "ledger.json", {"a": [tmp_path / "none.nii"]})
    before = content_hashes(tmp_path / "ledger.json", files)
    files["a"][0].unlink()
    assert content_hashes(tmp_path / "ledger.json", files) == before


@pytest.mark.parametrize("gone", [[".mhd"], [".raw"], [".mhd", ".raw"]])
def test_a_known_header_keeps_its_mark_whichever_of_its_files_is_gone(
    tmp_path: Path, header: Path, gone: list[str]
) -> None:
    before = content_hashes(tmp_path / "ledger.json", {"a": [header]})
    for suffix in gone:
        header.with_suffix(suffix).unlink()
    assert content_hashes(tmp_path / "ledger.json", {"a": [header]}) == before


def test_a_header_that_names_other_voxels_is_another_mark_though_the_old_ones_are_gone(
    tmp_path: Path, header: Path
) -> None:
    before = content_hashes(tmp_path / "ledger.json", {"a": [header]})
    header.with_suffix(".raw").rename(tmp_path / "other.raw")
    header.write_text("ElementDataFile = other.raw\n")
    assert content_hashes(tmp_path / "ledger.json", {"a": [header]}) != before


def test_a_missing_header_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"none\.mhd: cannot be read \(No such file or directory\); check the path"):
        content_hashes(tmp_path / "ledger.json", {"a": [tmp_path / "none.mhd"]})


def test_what_another_process_wrote_meanwhile_stays(
    tmp_path: Path, files: dict[str, list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = tmp_path / "ledger.json"

    def sha256_late(path: Path) -> str:
        monkeypatch.setattr(contents, "sha256", sha256)
        content_hashes(ledger, {"b": files["b"]})
        return sha256(path)

    monkeypatch.setattr(contents, "sha256", sha256_late)
    content_hashes(ledger, {"a": files["a"][:1]})
    monkeypatch.setattr(contents, "sha256", None)
    assert content_hashes(ledger, {"a": files["a"][:1], "b": files["b"]}).keys() == {"a", "b"}


def test_no_cases_have_no_marks(tmp_path: Path) -> None:
    assert content_hashes(tmp_path / "ledger.json", {}) == {}
    assert not (tmp_path / "ledger.json").exists()
