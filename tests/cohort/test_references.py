"""True lesions given to `mapping segment`: scores in the stamp, outlines on the page, refusals."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mapping_stroke.cli import main
from mapping_stroke.cohort.record import Notes
from mapping_stroke.cohort.results import FlatLayout
from mapping_stroke.cohort.review import save_edit
from mapping_stroke.cohort.settings import ScanOptions
from mapping_stroke.images.image import Image, reorient, write_image
from phantoms import AFFINE, phantom
from small_models import write_seeing_model

pytestmark = pytest.mark.usefixtures("coarse_pictures")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_seeing_model(tmp_path_factory.mktemp("model") / "seeing.mapping").path


def segment(model: Path, out: Path, *arguments: Path | str) -> int:
    return main(["segment", *map(str, arguments), "-o", str(out), "--model", str(model), "--device", "cpu"])


def scan_file(path: Path, number: int = 0) -> Path:
    write_image(path, phantom(number)[0], AFFINE)
    return path


def stamp(out: Path, name: str) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads((out / f"{name}.json").read_text())
    return stored


def half(number: int = 0) -> np.ndarray:
    """The first two of five slices of the lesion."""
    lesion = phantom(number)[1].copy()
    lesion[np.flatnonzero(lesion.any(axis=(1, 2)))[2:]] = False
    return lesion


def test_scores_by_hand_and_outlines_on_the_page(model: Path, tmp_path: Path) -> None:
    scan, reference = scan_file(tmp_path / "p0.nii.gz"), tmp_path / "true.nii.gz"
    turned = reorient(Image(half().astype(np.float32) * 255, AFFINE), "PSR")  # any axes, any one value
    write_image(reference, turned.voxels, turned.affine)
    assert segment(model, tmp_path / "out", scan, "--reference", reference) == 0
    scores = stamp(tmp_path / "out", "p0")["scores"]
    assert scores["dice"] == pytest.approx(2 * 50 / (125 + 50), abs=1e-4)
    assert scores["volume_difference_vox"] == 75
    page = (tmp_path / "out" / "p0.html").read_text("utf-8")
    assert 'data-layer="reference"' in page
    assert "Dice 0.57" in page


def test_a_folder_of_references_by_their_usual_names(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scans = [scan_file(tmp_path / "scans" / f"p{number}_T1w.nii.gz", number) for number in range(3)]
    write_image(tmp_path / "true" / "p0_lesion.nii.gz", phantom(0)[1], AFFINE)
    write_image(tmp_path / "true" / "p1_T1w_mask.nii.gz", phantom(1)[1], AFFINE)
    assert segment(model, tmp_path / "out", *scans, "--reference", tmp_path / "true") == 0
    assert "holds no mask for 1 of 3 scans (p2_T1w); they are not scored" in capsys.readouterr().out
    assert [stamp(tmp_path / "out", f"p{number}_T1w").get("scores", {}).get("dice") for number in range(3)] == [
        1,
        1,
        None,
    ]


def test_another_reference_makes_the_page_anew_and_the_same_does_not(model: Path, tmp_path: Path) -> None:
    scan, reference = scan_file(tmp_path / "p0.nii.gz"), tmp_path / "true.nii.gz"
    write_image(reference, phantom(0)[1], AFFINE)
    call = (model, tmp_path / "out", scan, "--reference", reference)
    assert segment(*call) == 0
    before = (tmp_path / "out" / "p0.html").stat().st_mtime_ns
    assert segment(*call) == 0
    assert (tmp_path / "out" / "p0.html").stat().st_mtime_ns == before
    write_image(reference, half(), AFFINE)
    assert segment(*call) == 0
    assert stamp(tmp_path / "out", "p0")["scores"]["dice"] < 1
    assert segment(model, tmp_path / "out", scan) == 0
    assert "scores" not in stamp(tmp_path / "out", "p0")


def test_the_score_follows_a_correction(model: Path, tmp_path: Path) -> None:
    scans = [scan_file(tmp_path / "scans" / f"p{number}.nii.gz", number) for number in range(2)]
    write_image(tmp_path / "true" / "p0_lesion.nii.gz", half(), AFFINE)
    assert segment(model, tmp_path / "out", *scans, "--reference", tmp_path / "true") == 0
    layout = FlatLayout(tmp_path / "out")
    review, warnings = save_edit(layout, "p0", half(), 0)
    assert (review.edited_dice, warnings) == (1, [])
    assert save_edit(layout, "p1", half(1), 0)[0].edited_dice is None
    layout.end(Notes(layout).entries(), ScanOptions())
    with (tmp_path / "out" / "cohort_lesions.tsv").open() as file:
        assert [row["dice"] for row in csv.DictReader(file, delimiter="\t")] == ["1.0", "n/a"]
    (tmp_path / "true" / "p0_lesion.nii.gz").unlink()
    review, warnings = save_edit(layout, "p0", half(), 1)
    assert review.edited_dice is None
    assert "is not scored" in warnings[0]


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.zeros((3, 3, 3), np.float32), "the mask has shape (3, 3, 3), its scan has"),
        (np.float32(phantom(0)[1]) + phantom(1)[1], "has more than two values; save the lesion as 1"),
    ],
)
def test_what_is_no_mask_of_the_scan_is_refused(
    model: Path, tmp_path: Path, mask: np.ndarray, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    scan, reference = scan_file(tmp_path / "p0.nii.gz"), tmp_path / "true.nii.gz"
    write_image(reference, mask, AFFINE)
    assert segment(model, tmp_path / "out", scan, "--reference", reference) == 2
    assert words in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("p0*"))
