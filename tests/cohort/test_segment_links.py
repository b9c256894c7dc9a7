"""`mapping segment` on DICOM folders behind links: pseudonyms stay, and dropped content stops no other scan."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from dicom_files import write_series
from mapping_stroke.cli import main
from mapping_stroke.cohort.inputs import find_scans
from mapping_stroke.files import given_name, given_path
from phantoms import phantom

PLACED = np.array([[-2.9, 0.3, 0, 20], [-0.3, -2.9, 0, 30], [0, 0, 3, -25], [0, 0, 0, 1]])
TINY = np.arange(2 * 2 * 2, dtype=np.int16).reshape(2, 2, 2)


@pytest.fixture
def pacs(tmp_path: Path) -> Path:
    """Folders as a PACS exports them, with a person's name above."""
    for person in ("Person_Name_1950", "Other_Name_1960"):
        write_series(tmp_path / "pacs" / person / "DICOM", TINY, PLACED)
    return tmp_path / "pacs"


def link(place: Path, target: Path | str) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)
    return place


def write_scan(folder: Path, seed: int = 0) -> None:
    write_series(folder, np.rint(phantom(seed)[0] * 100).astype(np.int16), PLACED)


def segment(one_member: Path, output: Path, *arguments: Path | str) -> int:
    called = map(str, (*arguments, "-o", output, "--model", one_member, "--device", "cpu", "--no-picture"))
    return main(["segment", *called])


def test_outputs_are_named_after_the_link_not_after_its_target(pacs: Path, tmp_path: Path) -> None:
    first = link(tmp_path / "cohort" / "p01", pacs / "Person_Name_1950" / "DICOM")
    second = link(tmp_path / "cohort" / "p02", pacs / "Other_Name_1960" / "DICOM")
    assert find_scans([first, second]) == {"p01": first, "p02": second}
    assert find_scans([first], series="4") == {"p01_series-4": first}
    assert find_scans([tmp_path / "cohort" / "p01" / "."]) == {"p01": first}


def test_the_current_folder_is_named_as_the_shell_names_it(
    pacs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = link(tmp_path / "study" / "sub-001", pacs / "Person_Name_1950")
    monkeypatch.chdir(shell)
    monkeypatch.setenv("PWD", str(shell))
    assert given_path(Path()) == shell
    assert list(find_scans([Path()])) == ["sub-001"]
    assert given_name(Path("..")) == "study"
    monkeypatch.setenv("PWD", str(tmp_path))  # of a shell that has moved on
    assert given_name(Path()) == "Person_Name_1950"


def test_no_output_tells_where_a_link_leads(
    one_member: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scan(tmp_path / "pacs" / "Person_Name_1950" / "DICOM")
    scan = link(tmp_path / "study" / "sub-001", tmp_path / "pacs" / "Person_Name_1950")
    out = tmp_path / "out"
    for _ in range(2):
        assert segment(one_member, out, scan) == 0
    stamp = json.loads((out / "sub-001.json").read_text())
    assert stamp["source"]["scan"] == str(scan)
    told = capsys.readouterr()
    written = [file for file in out.rglob("*") if file.is_file()]
    assert not any("Person" in file.name or b"Person" in file.read_bytes() for file in written)
    assert "Person" not in told.out + told.err


def test_what_was_left_out_is_told_on_the_screen_and_in_the_result(
    one_member: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scan(tmp_path / "p0")
    shutil.copytree(tmp_path / "p0", tmp_path / "p0" / "again")
    assert segment(one_member, tmp_path / "out", tmp_path / "p0") == 0
    warnings = json.loads((tmp_path / "out" / "p0.json").read_text())["warnings"]
    copied = [line for line in warnings if "are copies of slices in others" in line]
    assert len(copied) == 1
    assert copied[0] in " ".join(capsys.readouterr().err.split())


def drop_content(folder: Path) -> None:
    """Leave of files what DataLad leaves of them."""
    for number, file in enumerate(sorted(folder.iterdir())):
        file.unlink()
        link(file, f"../.git/annex/objects/k{number}")


def test_dropped_content_stops_no_other_scan_and_leaves_what_was_found(
    one_member: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("p0", "p1", "p2"):
        write_scan(tmp_path / name)
    out = tmp_path / "out"
    assert segment(one_member, out, tmp_path / "p0") == 0
    before = (out / "p0_mask.nii.gz").read_bytes()
    drop_content(tmp_path / "p0")
    drop_content(tmp_path / "p1")
    link(tmp_path / "p3", tmp_path / "nowhere")
    assert segment(one_member, out, *(tmp_path / f"p{number}" for number in range(4))) == 3
    scans = json.loads((out / "run.json").read_text())["record"]["scans"]
    assert [scans[f"p{number}"]["status"] for number in range(4)] == ["done", "failed", "done", "failed"]
    assert all("`datalad get`" in scans[name]["error"] for name in ("p1", "p3"))
    assert (out / "p0_mask.nii.gz").read_bytes() == before
    capsys.readouterr()
    assert segment(one_member, tmp_path / "alone", tmp_path / "p1") == 2
    assert "run `datalad get` on it" in " ".join(capsys.readouterr().err.split())


def test_a_bids_data_set_of_dropped_content_is_no_dicom_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    link(tmp_path / "data" / "sourcedata" / "sub-01" / "IM0.dcm", "../.git/annex/objects/k0")
    (tmp_path / "data" / "dataset_description.json").write_text("{}")
    assert main(["segment", str(tmp_path / "data"), "-o", str(tmp_path / "out")]) == 2
    assert "use `mapping bids`" in capsys.readouterr().err
