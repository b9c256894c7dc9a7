"""Files are whole or absent, and tables are plain."""

import errno
import hashlib
import json
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from broken_disk import fail_to_look_at
from mapping_stroke.errors import FileError, ResourceError
from mapping_stroke.files import (
    fingerprint,
    list_files,
    longest_name_bytes,
    read_csv,
    read_json,
    read_object,
    require_space,
    sha256,
    short_name,
    write_csv,
    write_json,
    write_text,
    written_whole,
)


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "scores.csv"
    with written_whole(target) as partial:
        partial.write_text("half")
        assert not target.exists()
        assert partial.name.startswith(".partial-")
        assert partial.suffix == ".csv"
    assert target.read_text() == "half"
    assert list(target.parent.iterdir()) == [target]


def test_a_failure_leaves_what_was_there_before(tmp_path: Path) -> None:
    target = tmp_path / "scores.csv"
    target.write_text("old")

    def write_half() -> None:
        with written_whole(target) as partial:
            partial.write_text("new, but only ha")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        write_half()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_is_written_whole_as_well(tmp_path: Path) -> None:
    def write_half() -> None:
        with written_whole(tmp_path / "weights") as partial:
            partial.mkdir()
            (partial / "one").write_text("1")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        write_half()
    assert list(tmp_path.iterdir()) == []


def test_a_table_is_read_back_as_text_with_missing_values_empty(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", ["case_id", "load_vox"], [{"case_id": "ä, b", "load_vox": 3}, {"case_id": "c"}])
    assert (tmp_path / "t.csv").read_bytes() == 'case_id,load_vox\n"ä, b",3\nc,\n'.encode()
    assert read_csv(tmp_path / "t.csv") == [{"case_id": "ä, b", "load_vox": "3"}, {"case_id": "c", "load_vox": ""}]


def test_a_table_saved_by_a_spreadsheet_program_is_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbfcase_id,fold\r\na,1\r\n")
    assert read_csv(tmp_path / "t.csv") == [{"case_id": "a", "fold": "1"}]


def test_a_row_with_an_unknown_column_is_our_mistake_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fields not in fieldnames"):
        write_csv(tmp_path / "t.csv", ["case_id"], [{"case_id": "a", "other": 1}])
    assert list(tmp_path.iterdir()) == []


def test_json_is_indented_and_ends_with_a_newline(tmp_path: Path) -> None:
    write_json(tmp_path / "run.json", {"seed": 0})
    assert (tmp_path / "run.json").read_text() == '{\n  "seed": 0\n}\n'
    assert json.loads((tmp_path / "run.json").read_text()) == {"seed": 0}


def test_a_file_is_named_by_its_bytes(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "abc")
    assert sha256(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()


def test_a_fingerprint_forgets_the_order_of_keys_and_nothing_else() -> None:
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
    assert len(fingerprint(None)) == 16


def test_a_table_may_be_separated_by_tabs(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.tsv", ["lesion", "volume_ml"], [{"lesion": 1, "volume_ml": 2.5}], delimiter="\t")
    assert (tmp_path / "t.tsv").read_text() == "lesion\tvolume_ml\n1\t2.5\n"


def test_json_is_read_back_and_damage_is_told(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", [1, "ä", None])
    assert read_json(tmp_path / "a.json") == [1, "ä", None]
    write_text(tmp_path / "a.json", "[1,")
    with pytest.raises(FileError, match=r"a.json: is damaged \(Expecting value.*\), expected JSON; copy it again"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize("text", ["[1,", "[1]", None])
def test_an_object_that_can_be_made_anew_is_empty_where_it_is_none(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        write_text(tmp_path / "a.json", text)
    assert read_object(tmp_path / "a.json") == {}
    write_json(tmp_path / "a.json", {"seed": 1})
    assert read_object(tmp_path / "a.json") == {"seed": 1}


def test_a_table_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FileError, match=r"t.csv: is damaged .*expected CSV in UTF-8"):
        read_csv(tmp_path / "t.csv")


def test_bytes_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be read"):
        sha256(tmp_path)


def test_what_a_killed_process_left_of_a_file_is_removed_with_the_next_writing(tmp_path: Path) -> None:
    kill_while_writing = (
        "import os, signal; from pathlib import Path; from mapping_stroke.files import written_whole\n"
        "with written_whole(Path('a[1].csv')) as partial:\n"
        "    partial.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", kill_while_writing], cwd=tmp_path, check=False)
    with written_whole(tmp_path / "b.csv") as ours:
        ours.write_text("being written by a process that runs")
        assert len(list(tmp_path.iterdir())) == 2
        assert list_files(tmp_path, "*.csv") == []
        write_text(tmp_path / "a[1].csv", "whole")
        assert sorted(path.name for path in tmp_path.iterdir()) == [ours.name, "a[1].csv"]
    assert list_files(tmp_path, "*.csv") == [tmp_path / "a[1].csv", tmp_path / "b.csv"]


def test_room_is_asked_of_the_disk_that_a_folder_will_lie_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    def disk_usage(path: Path) -> object:
        asked.append(path)
        return namedtuple("usage", "total used free")(10**9, 10**9 - 2 * 10**6, 2 * 10**6)

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    require_space(tmp_path / "new" / "folder", 1.9e6)
    with pytest.raises(
        ResourceError, match=r"folder: has room for 2 MB, about 3 MB are needed; free some space, or give"
    ):
        require_space(tmp_path / "new" / "folder", 3e6)
    assert asked == [tmp_path, tmp_path]


def test_a_disk_that_fills_up_while_a_file_is_written_leaves_nothing_of_it(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: the system refuses the bytes beyond it."""
    fill_up = (
        "import resource, numpy as np; from pathlib import Path; from mapping_stroke.images.image import write_image\n"
        "write_image(Path('old.nii'), np.zeros((4, 4, 4), np.float32), np.eye(4))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "for name in ('new.nii', 'new.nii.gz', 'old.nii'):\n"
        "    try:\n"
        "        write_image(Path(name), np.random.default_rng(0).random((20, 20, 20), np.float32), np.eye(4))\n"
        "    except OSError as error:\n"
        "        print(error.strerror)\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", fill_up], cwd=tmp_path, check=True, capture_output=True, text=True
    ).stdout
    assert told.splitlines() == ["File too large"] * 3
    assert [(path.name, path.stat().st_size) for path in tmp_path.iterdir()] == [("old.nii", 352 + 4 * 64)]


@pytest.mark.parametrize("name", ["n" * 248 + ".nii.gz", "ä" * 124 + ".nii.gz"])
def test_a_name_as_long_as_the_disk_takes_is_written_whole(name: str, tmp_path: Path) -> None:
    assert len(name.encode()) == longest_name_bytes(tmp_path) == 255
    with written_whole(tmp_path / name) as partial:
        partial.write_text("whole")
        assert partial.name.endswith(".nii.gz")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_long_names_are_cut_where_only_we_read_them_and_stay_apart() -> None:
    long = "ä" * 100
    assert short_name("sub-1_T1w") == "sub-1_T1w"
    assert short_name(long).startswith("ä" * 50)
    assert len(short_name(long).encode()) <= 120
    assert len({short_name(long), short_name(f"{long}b"), short_name(f"{long}c")}) == 3


def test_a_file_that_the_system_cannot_look_at_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).touch()
    (tmp_path / "c.csv").mkdir()
    fail_to_look_at("a.csv", monkeypatch, errno.EIO)
    assert [path.name for path in list_files(tmp_path, "*.csv")] == ["a.csv", "b.csv"]
