"""Bias field, brain and refinement where the place of a scan is known."""

from dataclasses import replace

import numpy as np
import pytest

from mapping_stroke.images.image import Image
from mapping_stroke.space.affine import COARSE, refine_place
from mapping_stroke.space.brain import Brain, complete_brain, find_brain, find_brain_by_template, overlap_with_template
from mapping_stroke.space.intensities import divide_bias, find_bias
from mapping_stroke.space.rough_fit import distinct
from moved_heads import brain_of, error_mm, move, moved_scan

TRUTH = move((8, -5, 12), (20, -30, 10))


@pytest.fixture(scope="module", params=["brain", "head"])
def scan(request: pytest.FixtureRequest) -> Image:
    return moved_scan(TRUTH, stripped=request.param == "brain")


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def test_a_place_nearby_is_refined(scan: Image) -> None:
    near = TRUTH @ move((6, -8, 5), (8, -6, 5), size=1.07)
    assert error_mm(near, TRUTH) > 10
    place, information = refine_place(scan, near, COARSE)
    assert error_mm(place, TRUTH) < 1.5
    assert information > 0.3


def test_the_same_scan_gives_the_same_place_again(scan: Image) -> None:
    near = TRUTH @ move((3, 0, 0), (4, 0, 0), size=1.02)
    np.testing.assert_array_equal(refine_place(scan, near, COARSE)[0], refine_place(scan, near, COARSE)[0])


def test_a_template_beside_the_scan_stays_there() -> None:
    scan = moved_scan(TRUTH)
    beside = move((0, 0, 0), (600, 0, 0))
    place, information = refine_place(scan, beside, COARSE)
    assert information == 0
    np.testing.assert_array_equal(place, beside)


def test_the_brain_is_found(scan: Image) -> None:
    found = find_brain(scan)
    assert dice(found.mask, brain_of(scan, TRUTH).voxels > 0.5) > 0.93
    assert overlap_with_template(scan, found.mask, TRUTH) > 0.93


def test_a_cavity_that_the_network_left_out_comes_back() -> None:
    head = moved_scan(TRUTH, stripped=False)
    inside = brain_of(head, TRUTH).voxels > 0.5
    whole = Brain(inside, stripped=False, source="network")
    assert complete_brain(head, whole, TRUTH) is whole
    index = np.indices(head.shape).reshape(3, -1)
    x, y, z = (np.linalg.inv(TRUTH) @ head.affine @ np.r_[index, np.ones((1, index.shape[1]))])[:3]
    cavity = ((x - 55) ** 2 + (y + 20) ** 2 + (z - 25) ** 2 < 20**2).reshape(head.shape) & inside
    painted = Image(np.where(cavity, 60, head.voxels).astype(np.float32), head.affine)
    cut = Brain(inside & ~cavity, stripped=False, source="network")
    completed = complete_brain(painted, cut, TRUTH).mask
    assert (completed & cavity).sum() > 0.93 * cavity.sum()
    assert (completed & ~inside).sum() < 0.01 * inside.sum()
    empty = Image(np.where(cavity, 0, head.voxels).astype(np.float32), head.affine)
    assert not complete_brain(empty, cut, TRUTH).mask[cavity].any(), "nothing is there, as where a stroke was cut out"
    assert complete_brain(painted, replace(cut, source="given"), TRUTH).mask is cut.mask


def test_the_template_finds_the_brain_of_a_head_in_its_place() -> None:
    head = moved_scan(TRUTH, stripped=False)
    assert dice(find_brain_by_template(head, TRUTH).mask, brain_of(head, TRUTH).voxels > 0.5) > 0.93


def test_a_stripped_scan_is_told_from_a_head() -> None:
    assert find_brain(moved_scan(TRUTH)).stripped
    assert not find_brain(moved_scan(TRUTH, stripped=False)).stripped


def test_brains_do_not_overlap_if_the_template_is_misplaced() -> None:
    scan = moved_scan(TRUTH)
    inside = brain_of(scan, TRUTH).voxels > 0.5
    assert overlap_with_template(scan, inside, TRUTH @ move((0, 0, 0), (40, 0, 0), size=1)) < 0.8


def test_a_scan_that_shows_nothing_has_no_brain() -> None:
    nothing = Image(np.zeros((20, 20, 20), np.float32), np.diag([4.0, 4, 4, 1]))
    assert not find_brain(nothing).mask.any()
    assert overlap_with_template(nothing, nothing.voxels > 0, np.eye(4)) == 0


@pytest.mark.parametrize("sign", [1, -1])
def test_a_bias_field_is_found_and_divided_out(sign: int) -> None:
    scan = moved_scan(TRUTH)
    brain = inside = brain_of(scan, TRUTH).voxels > 0.5
    away = np.stack(np.indices(scan.shape)) / np.reshape(scan.shape, (3, 1, 1, 1)) - 0.5
    bias = np.exp(sign * (1.5 * away[0] - 1.2 * away[2] + 2 * (away[1] ** 2))).astype(np.float32)
    field, own = find_bias(Image(scan.voxels * bias, scan.affine), brain), find_bias(scan, brain)
    assert field is not None
    corrected = divide_bias(Image(scan.voxels * bias, scan.affine), field)
    left = np.log(corrected.voxels[inside] / divide_bias(scan, own).voxels[inside])
    assert left.std() < 0.25 * np.log(bias[inside]).std()  # a field cut off on one side leaves 0.3


def test_z_scores_have_no_bias_field() -> None:
    scan = moved_scan(TRUTH)
    brain = brain_of(scan, TRUTH).voxels > 0.5
    scores = Image(scan.voxels - np.median(scan.voxels[brain]), scan.affine)
    assert find_bias(scores, brain) is None
    assert divide_bias(scores, None) is scores


def test_nearly_equal_places_are_one() -> None:
    places = [np.eye(4), move((1, 0, 0), (1, 0, 0), size=1), move((0, 0, 0), (20, 0, 0), size=1)]
    kept = distinct(places)
    assert [place is other for place, other in zip(kept, (places[0], places[2]), strict=True)] == [True, True]
