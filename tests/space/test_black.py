"""Scans with values below 0 start at black."""

import numpy as np

from mapping_stroke.images.image import Image
from mapping_stroke.space.brain import find_brain
from mapping_stroke.space.intensities import find_surroundings, shift_background
from moved_heads import NEAR, brain_of, moved_scan


def row(*values: float) -> Image:
    return Image(np.float32(values).reshape(-1, 1, 1), np.eye(4))


def test_a_scan_from_0_up_is_left_as_it_is() -> None:
    scan = row(0, 1, 2)
    assert shift_background(scan) is scan


def test_z_scores_rise_from_black_and_background_stays_0() -> None:
    lifted = shift_background(row(0, -2, 0.5, 1)).voxels.ravel()
    assert lifted[0] == 0
    assert 0 < lifted[1] < 0.01
    np.testing.assert_allclose(lifted[2:], [2.5, 3], atol=0.01)


def test_the_value_of_the_first_corner_is_background() -> None:
    np.testing.assert_allclose(
        shift_background(row(-1000, -900, -500, -1000)).voxels.ravel(), [0, 0.4, 400, 0], atol=0.5
    )


def test_a_0_within_whole_numbers_is_a_value_like_any_other() -> None:
    voxels = np.full((5, 5, 5), -50, np.float32)
    voxels[1:-1, 1:-1, 1:-1] = np.arange(-13, 14).reshape(3, 3, 3)
    voxels[1, 1, 1] = 100
    lifted = shift_background(Image(voxels, np.eye(4))).voxels
    np.testing.assert_allclose(lifted[2, 2, 1:4], [11, 12, 13], atol=0.1)  # were -1, 0 and 1
    assert (lifted[0] == 0).all()


def test_a_0_within_z_scores_is_what_was_left_out_of_them() -> None:
    voxels = np.zeros((5, 5, 5), np.float32)
    voxels[1:-1, 1:-1, 1:-1] = np.linspace(-1.3, 1.3, 27).reshape(3, 3, 3)
    voxels[2, 2, 2] = 0
    assert shift_background(Image(voxels, np.eye(4))).voxels[2, 2, 2] == 0


def test_what_surrounds_a_scan_reaches_the_border() -> None:
    voxels = np.full((5, 5, 5), -3, np.float32)
    voxels[1:-1, 1:-1, 1:-1] = 1
    around = voxels == -3
    voxels[2, 2, 2] = -3
    np.testing.assert_array_equal(find_surroundings(voxels), around)


def test_a_few_values_below_0_are_ringing() -> None:
    scan = Image(np.r_[np.linspace(1, 2, 300), -0.1].astype(np.float32).reshape(-1, 1, 1), np.eye(4))
    assert shift_background(scan) is scan


def test_the_brain_of_z_scores_is_that_of_the_scan() -> None:
    for stripped in (True, False):
        scan = moved_scan(NEAR, stripped=stripped, axes="LAS")
        inside = scan.voxels > 0
        scores = (scan.voxels - scan.voxels[inside].mean()) / scan.voxels[inside].std()
        for background in (0, scores.min()):
            shifted = Image(np.where(inside, scores, background).astype(np.float32), scan.affine)
            found, usual = find_brain(shift_background(shifted)), find_brain(scan)
            assert found.stripped == usual.stripped == stripped
            both = (found.mask & usual.mask).sum()
            assert 2 * both / (found.mask.sum() + usual.mask.sum()) > 0.97
            assert (brain_of(scan, NEAR).voxels > 0.5)[found.mask].mean() > 0.9
