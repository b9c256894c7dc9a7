from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapping_stroke.dataset.preprocess import PreprocessSpec, prepare_mask, prepare_scan
from mapping_stroke.errors import ConfigError, ImageError
from mapping_stroke.images.image import Image
from mapping_stroke.networks.typed_json import plain_json, read_typed

ORIENTATIONS = [(axes, flips) for axes in permutations(range(3)) for flips in product((1, -1), repeat=3)]


def brain(shape: tuple[int, int, int] = (12, 10, 8), margin: int = 2) -> Image:
    """Random intensities with a margin of zeros, 1 mm."""
    voxels = np.zeros(shape, np.float32)
    inside = tuple(slice(margin, edge - margin) for edge in shape)
    voxels[inside] = np.random.default_rng(0).uniform(10, 100, voxels[inside].shape)
    return Image(voxels, np.diag([1.0, 1, 1, 1]))


def reoriented(image: Image, axes: tuple[int, int, int], flips: tuple[int, int, int]) -> Image:
    """The same volume stored with its axes permuted, some of them reversed."""
    voxels = image.voxels.transpose(axes)
    affine = image.affine.copy()
    affine[:3, :3] = image.affine[:3, axes]
    for axis, flip in enumerate(flips):
        if flip < 0:
            affine[:3, 3] += affine[:3, axis] * (voxels.shape[axis] - 1)
            affine[:3, axis] *= -1
            voxels = np.flip(voxels, axis)
    return Image(np.ascontiguousarray(voxels), affine)


def test_the_box_holds_the_brain_and_its_voxels_are_z_scores() -> None:
    prepared = prepare_scan(brain(), PreprocessSpec())
    assert prepared.box == (slice(2, 10), slice(2, 8), slice(2, 6))
    assert prepared.voxels.mean() == pytest.approx(0, abs=1e-5)
    assert prepared.voxels.std() == pytest.approx(1, abs=1e-5)


def test_the_unit_of_intensity_changes_nothing() -> None:
    voxels = np.random.default_rng(0).uniform(1, 2, (4, 5, 6)).astype(np.float32)
    one, other = (prepare_scan(Image(voxels * np.float32(unit), np.eye(4)), PreprocessSpec()) for unit in (1, 2**-100))
    np.testing.assert_allclose(one.voxels, other.voxels, rtol=1e-5, atol=1e-6)


def test_a_hole_belongs_to_the_brain_and_the_outside_does_not() -> None:
    scan = brain()
    scan.voxels[5, 5, 4] = 0  # a ventricle set to zero by skull stripping
    scan.voxels[2, 2, 2] = 0  # a corner: outside
    prepared = prepare_scan(scan, PreprocessSpec())
    assert prepared.voxels[3, 3, 2] < -1.5
    assert prepared.voxels[0, 0, 0] == 0


def test_one_and_a_half_millimetres_are_means_of_what_they_cover() -> None:
    scan = Image(np.zeros((6, 1, 1), np.float32) + np.float32([1, 2, 3, 4, 5, 9]).reshape(6, 1, 1), np.eye(4))
    prepared = prepare_scan(scan, PreprocessSpec((1.5, 1.0, 1.0)))
    scores = prepare_scan(scan, PreprocessSpec()).voxels.ravel()
    halves = scores.repeat(2).reshape(4, 3).mean(1)  # a voxel and half of its neighbour
    np.testing.assert_allclose(prepared.voxels.ravel(), halves, rtol=1e-5)


def test_a_length_that_is_no_multiple_is_shared_out_evenly() -> None:
    scan = Image(np.arange(1, 8, dtype=np.float32).reshape(7, 1, 1), np.eye(4))  # seven voxels become four
    found = prepare_scan(scan, PreprocessSpec((2.0, 1.0, 1.0))).voxels.ravel()
    scores = prepare_scan(scan, PreprocessSpec()).voxels.ravel()
    np.testing.assert_allclose(found, scores.repeat(4).reshape(4, 7).mean(1), rtol=1e-5)


def test_two_millimetres_are_means_of_eight_voxels() -> None:
    scan = brain()
    fine = prepare_scan(scan, PreprocessSpec(1.0)).voxels
    coarse = prepare_scan(scan, PreprocessSpec(2.0)).voxels
    assert coarse.shape == (4, 3, 2)
    assert coarse[0, 0, 0] == pytest.approx(float(fine[:2, :2, :2].mean()), abs=1e-5)


@pytest.mark.parametrize(("axes", "flips"), ORIENTATIONS)
def test_orientation_changes_nothing_for_the_network_and_comes_back(
    axes: tuple[int, int, int], flips: tuple[int, int, int]
) -> None:
    expected = prepare_scan(brain(), PreprocessSpec())
    prepared = prepare_scan(reoriented(brain(), axes, flips), PreprocessSpec())
    np.testing.assert_allclose(prepared.voxels, expected.voxels, atol=1e-5)
    probability = np.random.default_rng(1).uniform(0, 1, expected.voxels.shape).astype(np.float32)
    there = expected.restore(probability)
    here = prepared.restore(probability)
    np.testing.assert_array_equal(here, reoriented(Image(there, np.eye(4)), axes, flips).voxels)


def test_restoring_puts_a_map_back_into_its_box() -> None:
    prepared = prepare_scan(brain(), PreprocessSpec())
    restored = prepared.restore(np.ones(prepared.voxels.shape, np.float32))
    np.testing.assert_array_equal(restored == 1, brain().voxels != 0)


@given(st.sampled_from([1.0, 1.5, 2.0, 3.0]), st.floats(0, 1, width=32))
def test_a_constant_map_stays_constant_at_every_spacing(spacing_mm: float, value: float) -> None:
    prepared = prepare_scan(brain(), PreprocessSpec(spacing_mm))
    restored = prepared.restore(np.full(prepared.voxels.shape, value, np.float32))
    np.testing.assert_allclose(restored[prepared.box], value, atol=1e-6)


def test_a_mask_follows_its_scan() -> None:
    scan = brain()
    lesion = np.zeros(scan.shape, np.float32)
    lesion[4:6, 4:6, 2:4] = 1
    prepared = prepare_scan(scan, PreprocessSpec(2.0))
    mask = prepare_mask(Image(lesion, scan.affine), prepared)
    assert np.argwhere(mask).tolist() == [[1, 1, 0]]


def test_a_scan_without_brain_is_refused() -> None:
    with pytest.raises(ImageError, match="zero everywhere"):
        prepare_scan(Image(np.zeros((4, 4, 4), np.float32), np.eye(4)), PreprocessSpec())


def test_a_mask_instead_of_a_scan_is_refused() -> None:
    voxels = np.zeros((4, 4, 4), np.float32)
    voxels[1:3] = 1
    with pytest.raises(ImageError, match=r"one value .1. in all non-zero voxels"):
        prepare_scan(Image(voxels, np.eye(4)), PreprocessSpec())


def test_a_head_of_metres_is_refused() -> None:
    with pytest.raises(ImageError, match=r"span 1600 mm, expected a head .at most 600 mm.; fix the spacing"):
        prepare_scan(Image(brain().voxels, np.diag([200.0, 200, 200, 1])), PreprocessSpec())


def test_specifications_are_checked() -> None:
    with pytest.raises(ConfigError, match="spacing_mm is 0"):
        PreprocessSpec(0.0)


def test_a_shifted_grid_begins_before_the_box_and_ends_behind_it() -> None:
    voxels = np.random.default_rng(1).uniform(1, 2, (6, 6, 6)).astype(np.float32)
    fine = prepare_scan(Image(voxels, np.eye(4)), PreprocessSpec()).voxels
    shifted = prepare_scan(Image(voxels, np.eye(4)), PreprocessSpec(3.0, shift=(1 / 3, 0.0, 0.0)))
    assert shifted.voxels.shape == (3, 2, 2)
    expected = [fine[:2, :3, :3].sum() / 27, fine[2:5, :3, :3].mean(), fine[5:, :3, :3].sum() / 27]
    np.testing.assert_allclose(shifted.voxels[:, 0, 0], expected, rtol=1e-5)
    assert prepare_mask(Image((voxels > 0).astype(np.float32), np.eye(4)), shifted)[:, 0, 0].tolist() == [1, 1, 0]


@given(st.tuples(*[st.sampled_from([0.0, 1 / 3, 2 / 3])] * 3), st.sampled_from([0.8, 1.0, 1.3, 3.5]))
def test_a_map_on_a_shifted_grid_comes_back_to_its_place(shift: tuple[float, float, float], edge_mm: float) -> None:
    x, y, z = np.indices((24, 21, 18)).astype(np.float32)
    ramp = Image(100 + x + 2 * y - z, np.diag([edge_mm, edge_mm, edge_mm, 1]))
    fine = prepare_scan(ramp, PreprocessSpec(edge_mm))
    prepared = prepare_scan(ramp, PreprocessSpec(3.0, shift=shift))
    back, inner = prepared.restore(prepared.voxels), (slice(5, -5),) * 3
    np.testing.assert_allclose(back[inner], fine.voxels[inner], atol=0.12)
    np.testing.assert_array_equal(prepared.restore(np.ones_like(prepared.voxels)), 1)


def test_impossible_shifts_are_refused_and_older_cards_have_none() -> None:
    with pytest.raises(ConfigError, match="each from 0 to below 1"):
        PreprocessSpec(3.0, shift=(0.0, 1.0, 0.0))
    with pytest.raises(ConfigError, match="normalise is 'box'"):
        PreprocessSpec(3.0, "box", shift=(0.5, 0.0, 0.0))
    shifted = PreprocessSpec(3.0, shift=(0.5, 0.0, 0.25))
    assert read_typed(PreprocessSpec, plain_json(shifted.to_json()), "preprocess") == shifted
    assert read_typed(PreprocessSpec, {"spacing_mm": 3.0}, "preprocess").shift == (0.0, 0.0, 0.0)
