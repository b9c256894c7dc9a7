"""What `mapping segment` writes about all scans of a folder: table, overlap maps, page."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from bids_data import PLACED
from mapping_stroke.cli import main
from mapping_stroke.cohort import group as module
from mapping_stroke.cohort.results import FlatLayout
from mapping_stroke.cohort.review import rate_scan, save_edit
from mapping_stroke.cohort.shared_folder import SharedFolder
from mapping_stroke.images.image import read_image, write_image
from phantoms import phantom
from small_models import write_seeing_model

pytestmark = pytest.mark.usefixtures("coarse_pictures")
ALL = FlatLayout.group.all
WITHOUT_PICTURES = tuple(name for name in ALL if not name.endswith((".html", ".png")))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_seeing_model(tmp_path_factory.mktemp("model") / "seeing.mapping").path


def segment(model: Path, scans: Path, out: Path, *arguments: str) -> int:
    call = ["segment", str(scans), "-o", str(out), "--model", str(model), "--device", "cpu", "--space", "mni"]
    return main([*call, *arguments])


def write_scans(folder: Path, count: int = 3) -> Path:
    for number in range(count):
        write_image(folder / f"p{number}.nii.gz", phantom(number)[0], PLACED)
    return folder


def rows(out: Path) -> dict[str, dict[str, str]]:
    with (out / "cohort_lesions.tsv").open(newline="") as file:
        return {row["scan"]: row for row in csv.DictReader(file, delimiter="\t")}


def written(out: Path) -> set[str]:
    return {path.name for path in out.glob("cohort*")}


def total(out: Path) -> float:
    return float(read_image(out / "cohort_overlap.nii.gz").voxels.sum())


def lesion_mm3(*numbers: int) -> float:
    return sum(phantom(number)[1].sum() * 27 for number in numbers)


def test_several_scans_leave_a_table_maps_and_a_page_that_follow_what_people_say(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scans, out = write_scans(tmp_path / "scans"), tmp_path / "out"
    (scans / "p3.nii.gz").write_bytes(b"")
    assert segment(model, scans, out) == 3
    assert written(out) == set(ALL)
    screen = capsys.readouterr().out
    assert f"Table: {out / 'cohort_lesions.tsv'}" in screen
    assert f"Page for review: {out / 'cohort.html'}" in screen
    found = rows(out)
    assert {name: row["status"] for name, row in found.items()} == dict.fromkeys(["p0", "p1", "p2"], "done") | {
        "p3": "failed"
    }
    assert float(found["p1"]["load_ml"]) == pytest.approx(phantom(1)[1].sum() * 0.027)
    assert float(found["p1"]["left_ml"]) + float(found["p1"]["right_ml"]) == pytest.approx(
        float(found["p1"]["load_ml"])
    )
    assert set(json.loads((out / "cohort_lesions.json").read_text())) == set(found["p0"])
    assert total(out) == pytest.approx(lesion_mm3(0, 1, 2), rel=0.03)
    mirrored = read_image(out / "cohort_overlap_mirrored.nii.gz")
    assert not mirrored.voxels[99:].any()
    page = (out / "cohort.html").read_text()
    assert "4 scans: 3 segmented, 1 failed." in page
    assert 'href="p1.html"' in page

    layout, half = FlatLayout(out), phantom(1)[1] & (np.arange(18) < np.argwhere(phantom(1)[1])[:, 2].mean())
    rate_scan(layout, "p0", "reject", "", 0)
    review, _ = save_edit(layout, "p1", half, 0)
    before = {path: path.stat().st_mtime_ns for path in out.glob("p*")}
    assert segment(model, scans, out) == 3
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert (rows(out)["p0"]["rating"], rows(out)["p1"]["edited_ml"]) == ("reject", str(review.edited_ml))
    assert total(out) == pytest.approx(lesion_mm3(2) + half.sum() * 27, rel=0.03)
    assert "1 rated: 1 rejected. 1 mask corrected." in (out / "cohort.html").read_text()


def test_the_stamps_of_a_plain_folder_hold_the_measures(model: Path, tmp_path: Path) -> None:
    assert segment(model, write_scans(tmp_path / "scans", 1), tmp_path / "out", "--no-picture") == 0
    measures = json.loads((tmp_path / "out" / "p0.json").read_text())["measures"]
    assert list(measures) == ["largest_ml", "agreement", "uncertain_ml", "left_ml", "right_ml", "to_mni"]
    assert measures["largest_ml"] == pytest.approx(phantom(0)[1].sum() * 0.027)
    assert measures["to_mni"] == np.eye(4).tolist()
    assert written(tmp_path / "out") == set()  # one scan is no cohort


def test_scans_added_later_make_a_cohort_without_pictures_where_none_are_wanted(model: Path, tmp_path: Path) -> None:
    scans, out = write_scans(tmp_path / "scans", 2), tmp_path / "out"
    assert segment(model, scans / "p0.nii.gz", out, "--no-picture") == 0
    assert segment(model, scans / "p1.nii.gz", out, "--no-picture") == 0
    assert written(out) == set(WITHOUT_PICTURES)
    assert list(rows(out)) == ["p0", "p1"]
    assert segment(model, out, tmp_path / "again", "--no-picture") == 2  # none of the outputs is taken for a scan
    assert segment(model, scans / "p0.nii.gz", out, "--rule", "none", "--overwrite", "--no-picture") == 0
    assert written(out) == set()


def test_a_cohort_of_unknown_place_has_no_overlap_map(model: Path, tmp_path: Path) -> None:
    scans, out = write_scans(tmp_path / "scans", 2), tmp_path / "out"
    assert segment(model, scans, out, "--space", "auto") == 0
    assert written(out) == {"cohort.html", "cohort_lesions.tsv", "cohort_lesions.json"}
    assert "Left out: 2 scans (place in MNI152 space not known)." in (out / "cohort.html").read_text()


@pytest.mark.parametrize("name", ["cohort", "Cohort_Lesions", "cohort_overlap"])
def test_names_of_these_files_are_taken(
    name: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_image(tmp_path / f"{name}.nii.gz", phantom(0)[0], PLACED)
    assert segment(model, tmp_path / f"{name}.nii.gz", tmp_path / "out") == 2
    assert f"the name {name} is taken by a file of the output folder; rename the scan" in capsys.readouterr().err


def test_a_failure_at_the_end_costs_no_result(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    scans, out = write_scans(tmp_path / "scans", 2), tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_csv", fail)
        assert segment(model, scans, out, "--no-picture") == 0
    assert "the table and page of the cohort were not written (PermissionError: " in capsys.readouterr().err
    assert json.loads((out / "run.json").read_text())["record"]["done"] == 2
    assert segment(model, scans, out, "--no-picture") == 0
    assert written(out) == set(WITHOUT_PICTURES)


def test_whoever_finishes_the_last_scan_writes_them(model: Path, tmp_path: Path) -> None:
    scans, out = write_scans(tmp_path / "scans", 2), tmp_path / "out"
    other = SharedFolder(out)
    with other.exclusive():
        other.join()
    assert other.claim("p1")
    assert segment(model, scans, out, "--no-picture") == 0
    assert written(out) == set()
    other.leave()
    assert segment(model, scans, out, "--no-picture") == 0
    assert written(out) == set(WITHOUT_PICTURES)
