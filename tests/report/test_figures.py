"""Lesions over scans."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from averages import average
from mapping_stroke.images.image import Image
from mapping_stroke.inference.segmentation import describe_lesions
from mapping_stroke.report.pictures import agreement, compare, draw_comparisons, draw_segmentation, segmentation_figure
from mapping_stroke.report.slices import OPACITY
from small_runs import AFFINE, SHAPE, box, head, stored_as

REFERENCE = box((6, 8, 8), (5, 4, 3))
PREDICTION = box((8, 8, 8), (5, 4, 3))


def test_found_missed_and_wrong_pixels_get_their_colours_and_the_rest_none() -> None:
    prediction, reference = np.array([[True, False, True, False]]), np.array([[True, True, False, False]])
    alpha = round(255 * OPACITY)
    assert agreement(prediction, reference).tolist() == [
        [[255, 225, 77, alpha], [46, 139, 255, alpha], [224, 58, 0, alpha], [0, 0, 0, 0]]
    ]


def test_the_slice_of_largest_lesion_area_is_compared() -> None:
    reference = REFERENCE.copy()
    reference[4:12, 6:14, 9] = True
    row = compare("case", Image(head(), AFFINE), reference, {"default": PREDICTION}, {"default": 0.5})
    assert row.reference.sum() == 64
    assert row.predictions["default"].sum() == 20
    assert row.title == "case\nz = 1 mm"


def test_without_a_reference_lesion_the_slice_of_the_first_mask_is_compared() -> None:
    row = compare("case", Image(head(), AFFINE), np.zeros(SHAPE, bool), {"default": PREDICTION}, {})
    assert row.predictions["default"].any()


@pytest.mark.parametrize("orientation", ["LAS", "PSR"])
def test_copies_of_a_case_in_any_orientation_give_the_same_picture(orientation: str, tmp_path: Path) -> None:
    pictures = []
    for code in ("RAS", orientation):
        scan = Image(*stored_as(code, head()))
        masks = {"default": stored_as(code, PREDICTION)[0]}
        row = compare("case", scan, stored_as(code, REFERENCE)[0], masks, {"default": 0.6})
        draw_comparisons([row], ["default", "ensemble"], tmp_path / f"{code}.png")
        pictures.append(imread(tmp_path / f"{code}.png"))
    np.testing.assert_array_equal(*pictures)


def test_cases_of_different_grids_share_a_picture(tmp_path: Path) -> None:
    flat = Image(head(), np.diag([1.0, 1.0, 4.0, 1.0]))
    rows = [
        compare(title, scan, REFERENCE, {"default": PREDICTION}, {"default": dice})
        for title, scan, dice in (("a", Image(head(), AFFINE), 0.5), ("b", flat, float("nan")))
    ]
    draw_comparisons(rows, ["default"], tmp_path / "rows.png")
    assert imread(tmp_path / "rows.png").shape[0] > imread(tmp_path / "rows.png").shape[1] / 2


def draw(mask: np.ndarray, probability: np.ndarray, path: Path) -> None:
    scan = Image(head(), AFFINE)
    draw_segmentation(scan, mask, probability, describe_lesions(mask, average([probability]), scan), path)


@pytest.mark.parametrize("lesions", [0, 1, 2])
def test_a_segmentation_is_drawn_with_or_without_lesions(lesions: int, tmp_path: Path) -> None:
    masks = [np.zeros(SHAPE, bool), REFERENCE, REFERENCE | box((14, 16, 15), (2, 2, 2))]
    probability = np.float32(0.9) * masks[lesions]
    draw(masks[lesions], probability, tmp_path / "one.png")
    draw(masks[lesions], probability, tmp_path / "two.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


@pytest.mark.parametrize(("height_vox", "heights"), [(3, 1), (14, 3)])
def test_a_high_lesion_is_shown_in_its_lower_and_upper_part_too(height_vox: int, heights: int) -> None:
    scan, mask = Image(head(), AFFINE), box((8, 10, 5), (4, 4, height_vox))
    probability = mask * np.float32(0.9)
    lesions = describe_lesions(mask, average([probability]), scan)
    figure = segmentation_figure(scan, mask, probability, lesions)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title().startswith("z = ")]
    assert len(set(titles)) == len(titles) == heights


def test_many_lesions_are_counted_not_listed(tmp_path: Path) -> None:
    mask = np.zeros(SHAPE, bool)
    mask[6:18:2, 8:20:2, 10:12] = True
    draw(mask, mask.astype(np.float32), tmp_path / "many.png")
    assert (tmp_path / "many.png").is_file()
