"""Shrinking and laying volumes on other grids."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays
from hypothesis.strategies import booleans, floats, integers
from scipy import ndimage

from mapping_stroke.images.image import Image
from mapping_stroke.space.resample import resample, shrink


def test_a_block_becomes_its_mean_at_its_centre() -> None:
    voxels = np.arange(4, dtype=np.float32).reshape(4, 1, 1)
    small = shrink(Image(voxels, np.diag([1.0, 4, 4, 1])), 2.0)
    assert small.voxels.ravel().tolist() == [0.5, 2.5]
    assert small.spacing_mm == (2.0, 4.0, 4.0)
    assert (small.affine @ [0, 0, 0, 1])[0] == 0.5


def test_what_fills_no_block_is_left_out() -> None:
    assert shrink(Image(np.ones((7, 4, 4), np.float32), np.eye(4)), 2.0).shape == (3, 2, 2)


def test_a_volume_thinner_than_a_block_keeps_one_voxel() -> None:
    small = shrink(Image(np.ones((1, 4, 4), np.float32), np.eye(4)), 2.0)
    assert small.shape == (1, 2, 2)


def test_a_coarse_scan_is_left_as_it_is() -> None:
    scan = Image(np.ones((3, 3, 3), np.float32), np.diag([3.0, 3, 3, 1]))
    assert shrink(scan, 2.0) is scan


def test_half_a_voxel_aside_lies_the_mean_of_two() -> None:
    aside = np.eye(4)
    aside[0, 3] = 0.5
    values = np.float32([0, 4, 8]).reshape(3, 1, 1)
    assert resample(values, aside, (3, 1, 1)).ravel().tolist() == [2, 6, 0]
    assert resample(values, aside, (3, 1, 1), repeat_border=True).ravel().tolist() == [2, 6, 8]


@given(arrays(np.float32, (3, 4, 5), elements=floats(0, 1, width=32)))
def test_a_flipped_axis_is_the_flipped_volume(values: np.ndarray) -> None:
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = 2
    assert resample(values, flip, (3, 4, 5)) == pytest.approx(values[::-1], abs=1e-6)


@given(arrays(np.float32, (3, 4, 5), elements=floats(0, 1, width=32)))
def test_no_value_leaves_the_range(values: np.ndarray) -> None:
    oblique = np.array([[0.7, 0.3, 0.1, 0.2], [-0.2, 0.8, 0.1, 0.3], [0, -0.1, 0.9, 0.4], [0, 0, 0, 1]])
    laid = resample(values, oblique, (4, 4, 4))
    assert laid.min() >= 0
    assert laid.max() <= max(values.max(), 0) + 1e-6


@given(arrays(np.float64, (3, 4), elements=floats(-1, 1)), integers(0, 2**32 - 1), floats(0, 1), booleans(), booleans())
def test_slabs_and_boxes_change_nothing(
    turn: np.ndarray, seed: int, empty: float, diagonal: bool, repeat_border: bool
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.random((9, 12, 10), np.float32) * (rng.random((9, 1, 10)) > empty)
    to_values = np.eye(4)
    to_values[:3] += turn * [[0.4, 0.4, 0.4, 20]]
    if diagonal:
        to_values[:3, :3] = np.diag(np.diag(to_values[:3, :3]))
    matrix, start = to_values[:3, :3], to_values[:3, 3]
    mode = "nearest" if repeat_border else "constant"
    plain = ndimage.affine_transform(values, matrix, start, (40, 20, 15), order=1, mode=mode)
    laid = resample(values, to_values, (40, 20, 15), repeat_border=repeat_border)
    np.testing.assert_allclose(laid, plain, rtol=0, atol=1e-5)
