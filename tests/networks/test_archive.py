import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapping_stroke.errors import BundleError
from mapping_stroke.networks.archive import add_entry, read_entry
from mapping_stroke.networks.cards import require_inside

ENOUGH = 1000


def write_zip(path: Path, *names: str, change: Callable[[zipfile.ZipInfo], object] = lambda _: None) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            entry = zipfile.ZipInfo(name)
            change(entry)
            archive.writestr(entry, b"content")
        archive.writestr("good", b"good")
    return path


def test_an_entry_of_a_zip_is_read(tmp_path: Path) -> None:
    assert read_entry(write_zip(tmp_path / "a", "folder/", "folder/file"), "folder/file", ENOUGH) == b"content"


def test_an_entry_has_no_date_and_no_owner(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a", "w") as archive:
        add_entry(archive, "x", b"1")
    entry = zipfile.ZipFile(tmp_path / "a").infolist()[0]
    assert (entry.date_time, entry.external_attr >> 16) == ((1980, 1, 1, 0, 0, 0), stat.S_IFREG | 0o644)


OUTSIDE = [
    "/etc/passwd",
    "../up",
    "a/../../up",
    "..",
    "C:/windows",
    "C:evil",
    "..\\up",
    "a\\b",
    "\\\\host\\share",
    "./a",
    "a//b",
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_zip_with_an_entry_outside_it_is_refused_whole(name: str, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a", name)
    with pytest.raises(BundleError, match="would lie outside the model; do not use this model"):
        read_entry(path, "good", ENOUGH)


@pytest.mark.parametrize("name", [*OUTSIDE, "", "a\0b", "a\nb", "a" * 600])
def test_a_name_that_leads_outside_is_refused(name: str) -> None:
    with pytest.raises(BundleError, match="do not use this model"):
        require_inside(name)


@given(st.text())
def test_every_name_that_is_let_through_stays_inside(name: str) -> None:
    root = Path("/somewhere/model")
    try:
        require_inside(name)
    except BundleError:
        return
    assert Path.resolve(root / name).is_relative_to(root)
    assert root / name != root


def link(entry: zipfile.ZipInfo) -> None:
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16


def device(entry: zipfile.ZipInfo) -> None:
    entry.external_attr = (stat.S_IFCHR | 0o777) << 16


def compressed(entry: zipfile.ZipInfo) -> None:
    entry.compress_type = zipfile.ZIP_DEFLATED


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (link, "the entry 'bad' is a link or a device, expected a file"),
        (device, "the entry 'bad' is a link or a device, expected a file"),
        (compressed, "the entry 'bad' is compressed, expected stored; unzip it and run `mapping models pack`"),
    ],
)
def test_a_zip_with_anything_but_stored_files_is_refused(
    change: Callable[[zipfile.ZipInfo], object], message: str, tmp_path: Path
) -> None:
    path = write_zip(tmp_path / "a", "bad", change=change)
    with pytest.raises(BundleError, match=message):
        read_entry(path, "good", ENOUGH)


def change_directory(path: Path, offset: int, value: bytes) -> None:
    """Change bytes of the first entry in the zip's directory."""
    content = bytearray(path.read_bytes())
    start = content.index(b"PK\1\2") + offset
    content[start : start + len(value)] = value
    path.write_bytes(content)


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a", "bad")
    change_directory(path, 8, struct.pack("<H", 1))
    with pytest.raises(BundleError, match="the entry 'bad' is encrypted"):
        read_entry(path, "good", ENOUGH)


def test_a_zip_that_declares_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a", "bad")
    change_directory(path, 20, struct.pack("<II", 10**9, 10**9))
    with pytest.raises(BundleError, match="its entries are larger than the file"):
        read_entry(path, "good", ENOUGH)


def test_a_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = write_zip(tmp_path / "a", "good")
    with pytest.raises(BundleError, match="has the entry 'good' twice"):
        read_entry(path, "good", ENOUGH)


def test_names_that_one_file_system_takes_for_the_same_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="has the entry 'good' twice"):
        read_entry(write_zip(tmp_path / "a", "Good"), "good", ENOUGH)


@pytest.mark.parametrize("size", range(0, 300, 20))
def test_a_cut_zip_is_refused(size: int, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a", "one", "two", "three")
    assert len(path.read_bytes()) > 300
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(BundleError, match="is not a model archive, or is damaged"):
        read_entry(path, "good", ENOUGH)


@given(st.binary(max_size=200))
def test_whatever_bytes_a_zip_has_only_a_bundle_error_leaves(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "a")
        path.write_bytes(content)
        with pytest.raises(BundleError):
            read_entry(path, "good", ENOUGH)


def test_an_entry_larger_than_expected_is_not_read(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "good").write_bytes(b"good")
    for model in (path, tmp_path / "folder"):
        with pytest.raises(BundleError, match="good: has 4 bytes, expected at most 3"):
            read_entry(model, "good", 3)


def test_a_missing_entry_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="a: has no entry missing; copy or download it again"):
        read_entry(write_zip(tmp_path / "a"), "missing", ENOUGH)
    with pytest.raises(BundleError, match="missing: missing; copy or download it again"):
        read_entry(tmp_path, "missing", ENOUGH)
