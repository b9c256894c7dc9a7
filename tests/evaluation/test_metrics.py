"""One metric at a time, on masks small enough to check by eye, and the laws they obey."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from mapping_stroke.evaluation.metrics import (
    dice,
    hd95_mm,
    lesion_count_difference,
    lesion_f1,
    matched_lesion_f1,
    pr_auc,
    volume_difference_ml,
    volume_difference_vox,
)
from mapping_stroke.images.image import Mask
from mapping_stroke.lesions import FACE_CONNECTED, FULLY_CONNECTED, Lesions, find_lesions

MM = (1.0, 1.0, 1.0)

shapes = array_shapes(min_dims=3, max_dims=3, max_side=5)
mask_pairs = shapes.flatmap(lambda shape: st.tuples(arrays(np.bool_, shape), arrays(np.bool_, shape)))


def row(text: str) -> Mask:
    """`X` is lesion, anything else is not."""
    return np.array([letter == "X" for letter in text]).reshape(1, 1, -1)


def lesions(text: str) -> Lesions:
    return find_lesions(row(text))


def test_dice_is_the_shared_part() -> None:
    assert dice(row("XX.."), row(".XX.")) == 0.5
    assert dice(row("X..."), row("...X")) == 0.0
    assert dice(row("XXX."), row("X...")) == 0.5


def test_volume_difference_counts_voxels_or_millilitres() -> None:
    assert volume_difference_vox(row("XXX."), row("...X")) == 2
    assert volume_difference_vox(row("...X"), row("XXX.")) == 2
    assert volume_difference_ml(row("XXX."), row("...X"), (1.0, 2.0, 5.0)) == pytest.approx(0.02)


def test_lesion_count_difference_has_no_sign() -> None:
    assert lesion_count_difference(lesions("X.X.X"), lesions("XXXXX")) == 2
    assert lesion_count_difference(lesions("....."), lesions("X.X..")) == 2


def test_lesion_f1_counts_lesions_that_touch() -> None:
    assert lesion_f1(lesions("X..X.."), lesions("XX.X..")) == 1.0
    assert lesion_f1(lesions("X....X"), lesions("X..X..")) == 0.5
    assert lesion_f1(lesions("X....."), lesions("...X..")) == 0.0


def test_a_prediction_that_joins_two_lesions_finds_both() -> None:
    assert lesion_f1(lesions("XXXX"), lesions("X..X")) == 1.0
    assert matched_lesion_f1(lesions("XXXX"), lesions("X..X")) == pytest.approx(2 / 3)


def test_lesions_that_fill_one_box_but_share_no_voxel_do_not_touch() -> None:
    assert lesion_f1(lesions("X.X.X"), lesions(".X.X.")) == 0.0


def test_matching_needs_a_quarter_of_the_union() -> None:
    assert matched_lesion_f1(lesions("XXXX"), lesions("X...")) == 1.0
    assert matched_lesion_f1(lesions("XXXXX"), lesions("X....")) == 0.0


def test_a_lesion_is_matched_once_with_the_other_that_it_overlaps_most() -> None:
    # IoU 4/12 of the long ones, but 4/9 and 2/7 of each with its own
    assert matched_lesion_f1(lesions("XXXXXXX.XXXX"), lesions("XX.XXXXXXXXX")) == 1.0
    # IoU 5/11 of the long ones comes first, then neither short one (2/8) has a partner left
    assert matched_lesion_f1(lesions("XXXXXXXX.XX"), lesions("XX.XXXXXXXX")) == 0.5


def test_equal_pairs_are_matched_in_the_order_of_the_reference() -> None:
    # IoU 1/3 of both predicted lesions with the reference's only one
    assert matched_lesion_f1(lesions("X.X"), lesions("XXX")) == matched_lesion_f1(lesions("XXX"), lesions("X.X"))
    assert matched_lesion_f1(lesions("X.X"), lesions("XXX")) == pytest.approx(2 / 3)


def test_corners_join_a_lesion_only_where_all_neighbours_count() -> None:
    diagonal = np.zeros((2, 2, 2), np.bool_)
    diagonal[0, 0, 0] = diagonal[1, 1, 1] = True
    assert find_lesions(diagonal, FACE_CONNECTED).count == 2
    assert find_lesions(diagonal, FULLY_CONNECTED).count == 1


def test_surface_distances_of_both_directions_are_pooled() -> None:
    assert hd95_mm(row("X....."), row(".....X"), MM) == 5.0
    assert hd95_mm(row("X....X"), row("X....."), MM) == pytest.approx(np.percentile([0, 0, 5], 95))


def test_surface_distances_follow_the_spacing() -> None:
    assert hd95_mm(row("X....."), row("...X.."), (1.0, 1.0, 2.5)) == 7.5
    assert hd95_mm(row("X....."), row("...X.."), (9.0, 9.0, 1.0)) == 3.0


def test_the_inside_of_a_lesion_is_no_surface() -> None:
    cube = np.zeros((7, 7, 7), np.bool_)
    cube[1:6, 1:6, 1:6] = True
    hollow = cube.copy()
    hollow[3, 3, 3] = False
    voxels = [0.0] * 2 * (5**3 - 3**3) + [1.0] * 6
    assert hd95_mm(hollow, cube, MM) == pytest.approx(np.percentile(voxels, 95))


def test_beyond_the_volume_is_background() -> None:
    full = np.ones((3, 3, 3), np.bool_)
    centre = np.zeros((3, 3, 3), np.bool_)
    centre[1, 1, 1] = True
    assert hd95_mm(full, centre, MM) == pytest.approx(math.sqrt(3))


def test_pr_auc_is_the_area_under_precision_and_recall() -> None:
    probability = np.float32([0.9, 0.8, 0.4, 0.1]).reshape(1, 1, 4)
    assert pr_auc(probability, row("XX..")) == 1.0
    # precision 1 up to recall 1/2, then 1/2 (two voxels marked), 2/3 at recall 1
    assert pr_auc(probability, row("X.X.")) == pytest.approx(1 / 2 + (1 / 2 + 2 / 3) / 2 / 2)
    # all voxels at once: a straight line from precision 1 at recall 0 to 1/4 at recall 1
    assert pr_auc(np.full((1, 1, 4), 0.5, np.float32), row("X...")) == pytest.approx((1 + 1 / 4) / 2)


# Empty cases


def test_two_empty_masks_agree() -> None:
    nothing, no_lesions = row("...."), lesions("....")
    assert dice(nothing, nothing) == 1.0
    assert volume_difference_vox(nothing, nothing) == 0
    assert lesion_count_difference(no_lesions, no_lesions) == 0
    assert lesion_f1(no_lesions, no_lesions) == 1.0
    assert matched_lesion_f1(no_lesions, no_lesions) == 1.0
    assert math.isnan(hd95_mm(nothing, nothing, MM))


@pytest.mark.parametrize(("prediction", "reference"), [("....", "XX.."), ("XX..", "....")])
def test_one_empty_mask_shares_nothing(prediction: str, reference: str) -> None:
    assert dice(row(prediction), row(reference)) == 0.0
    assert volume_difference_vox(row(prediction), row(reference)) == 2
    assert lesion_f1(lesions(prediction), lesions(reference)) == 0.0
    assert matched_lesion_f1(lesions(prediction), lesions(reference)) == 0.0
    assert math.isnan(hd95_mm(row(prediction), row(reference), MM))


def test_pr_auc_needs_a_map() -> None:
    assert math.isnan(pr_auc(None, row("XX..")))
    assert math.isnan(pr_auc(None, row("....")))


def test_pr_auc_of_an_empty_reference_asks_for_a_flat_map() -> None:
    assert pr_auc(np.zeros((1, 1, 4), np.float32), row("....")) == 1.0
    assert pr_auc(np.float32([0, 0, 0, 0.01]).reshape(1, 1, 4), row("....")) == 0.0
    assert pr_auc(np.zeros((0, 1, 4), np.float32), np.zeros((0, 1, 4), np.bool_)) == 1.0


# Laws


@given(mask_pairs)
def test_metrics_are_symmetric_and_in_range(pair: tuple[Mask, Mask]) -> None:
    first, second = pair
    assert dice(first, second) == dice(second, first)
    assert 0 <= dice(first, second) <= 1
    assert volume_difference_vox(first, second) == volume_difference_vox(second, first) >= 0
    forward, back = hd95_mm(first, second, MM), hd95_mm(second, first, MM)
    assert forward == pytest.approx(back, nan_ok=True)
    assert math.isnan(forward) or forward >= 0


@given(mask_pairs)
def test_lesion_wise_metrics_are_in_range(pair: tuple[Mask, Mask]) -> None:
    first, second = (find_lesions(mask) for mask in pair)
    assert 0 <= lesion_f1(first, second) <= 1
    assert 0 <= matched_lesion_f1(first, second) <= 1
    assert lesion_count_difference(first, second) == lesion_count_difference(second, first)


@given(arrays(np.bool_, shapes))
def test_a_mask_agrees_with_itself(mask: Mask) -> None:
    found = find_lesions(mask)
    assert dice(mask, mask) == 1.0
    assert lesion_f1(found, found) == matched_lesion_f1(found, found) == 1.0
    assert not mask.any() or hd95_mm(mask, mask, MM) == 0.0
