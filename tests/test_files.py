"""Files are whole or absent, and tables are plain."""

import hashlib
import json
from pathlib import Path

import pytest

from mapping_stroke.files import (
    fingerprint,
    read_csv,
    read_json,
    sha256,
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
    with pytest.raises(ValueError, match="Expecting value"):
        read_json(tmp_path / "a.json")
