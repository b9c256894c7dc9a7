"""Several segmented scans in one picture."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from averages import average
from mapping_stroke.errors import GeometryError
from mapping_stroke.images.image import Image
from mapping_stroke.inference.segmentation import describe_lesions
from mapping_stroke.report.overview import TRUTH, Findings, FoundScan, draw_overview, look_at
from mapping_stroke.report.style import OUTLINE
from small_runs import AFFINE, SHAPE, box, head, stored_as

RIGHT, LEFT, CENTRAL = box((17, 8, 8), (4, 4, 3)), box((3, 8, 15), (2, 2, 2)), box((11, 12, 4), (2, 2, 2))


def find(mask: np.ndarray, truth: np.ndarray | None = None) -> FoundScan:
    scan, probability = Image(head(), AFFINE), np.float32(0.9) * mask
    return look_at("p0", scan, Findings(mask, probability, describe_lesions(mask, average([probability]), scan), truth))


def test_a_lesion_is_told_with_its_side() -> None:
    row = find(RIGHT | LEFT | CENTRAL)
    assert [row.side(lesion) for lesion in row.lesions] == ["right", "left", "middle"]
    assert row.load_ml == pytest.approx(0.064)
    assert (row.true_ml, row.dice, row.truth) == (None, None, None)


def test_the_side_is_that_of_the_patient_however_voxels_are_stored() -> None:
    scan, mask = Image(*stored_as("LPS", head())), stored_as("LPS", RIGHT)[0]
    probability = np.float32(0.9) * mask
    row = look_at("p0", scan, Findings(mask, probability, describe_lesions(mask, average([probability]), scan)))
    assert [row.side(lesion) for lesion in row.lesions] == ["right"]


def test_the_slice_shows_most_of_the_truth_or_else_of_what_was_found() -> None:
    assert find(LEFT, truth=RIGHT).truth.sum() == 16  # type: ignore[union-attr]
    assert find(LEFT, truth=RIGHT).found.sum() == 0
    assert find(LEFT).found.sum() == 4
    assert find(LEFT, truth=np.zeros(SHAPE, bool)).found.sum() == 4


def test_what_was_found_is_scored_against_the_truth() -> None:
    row = find(RIGHT, truth=RIGHT | LEFT)
    assert row.true_ml == pytest.approx(0.056)
    assert row.dice == pytest.approx(2 * 48 / (48 + 56))


def test_a_mask_of_another_grid_is_refused() -> None:
    with pytest.raises(GeometryError, match="cannot show an array"):
        look_at("p0", Image(head(), AFFINE), Findings(RIGHT[1:], np.zeros(SHAPE, np.float32)[1:], ()))


def test_every_row_makes_the_picture_higher_and_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    many = np.zeros(SHAPE, bool)
    many[6:18:2, 8:20:2, 10:12] = True
    rows = [find(RIGHT | LEFT, truth=RIGHT), find(np.zeros(SHAPE, bool)), find(many)]
    draw_overview(rows, tmp_path / "three.png")
    draw_overview(rows, tmp_path / "again.png")
    draw_overview(rows[:1], tmp_path / "one.png")
    assert (tmp_path / "three.png").read_bytes() == (tmp_path / "again.png").read_bytes()
    assert imread(tmp_path / "three.png").shape[0] > 2 * imread(tmp_path / "one.png").shape[0]


@pytest.mark.parametrize("colour", [OUTLINE, TRUTH])
def test_a_lesion_and_its_truth_are_both_seen_where_they_are_the_same(colour: str, tmp_path: Path) -> None:
    counts = []
    for name, mask in (("with", RIGHT), ("without", np.zeros(SHAPE, bool))):
        draw_overview([find(mask, truth=mask)], tmp_path / f"{name}.png")
        near = np.abs(imread(tmp_path / f"{name}.png")[..., :3] - to_rgb(colour)).max(axis=2) < 0.05
        counts.append(int(near.sum()))
    assert counts[0] > counts[1] > 0  # the legend has both
