"""The side of the midplane on which lesions lie, from the mask and the affine of the scan."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapping_stroke.dataset.sides import hemisphere_ml, lesion_points, placed_sides_ml, sides_ml
from mapping_stroke.images.image import Image, orientation_names, reorient

SHAPE = (5, 4, 3)
AFFINE = np.diag([10.0, 10.0, 10.0, 1.0])
AFFINE[:3, 3] = -20, -10, -10


def marked(*voxels: tuple[int, int, int]) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    for voxel in voxels:
        mask[voxel] = True
    return mask


def scan_of(affine: np.ndarray = AFFINE) -> Image:
    return Image(np.ones(SHAPE, np.float32), affine)


def test_voxels_on_the_plane_count_half_on_each_side() -> None:
    mask = marked((0, 0, 0), (1, 0, 0), (2, 0, 0), (4, 1, 1))  # x = -20, -10, 0 and 20 mm; 1 mL each
    assert sides_ml(mask, scan_of()) == pytest.approx({"left_ml": 2.5, "right_ml": 1.5})
    assert sides_ml(marked(), scan_of()) == {"left_ml": 0, "right_ml": 0}


def test_sides_are_unknown_if_the_plane_is_not_near_the_middle() -> None:
    affine = AFFINE.copy()
    affine[0, 3] = 0  # an origin in the corner
    assert sides_ml(marked((1, 1, 1)), scan_of(affine)) == {}


@given(st.sampled_from(orientation_names()))
def test_the_side_is_that_of_the_patient_however_voxels_are_stored(axes: str) -> None:
    mask = marked((0, 0, 0), (1, 0, 0), (2, 0, 0), (4, 1, 1))
    stored = reorient(Image(mask.astype(np.float32), AFFINE), axes)
    found = sides_ml(stored.voxels > 0, stored)
    assert found == pytest.approx({"left_ml": 2.5, "right_ml": 1.5})


def test_points_go_through_the_grid_and_then_the_placement() -> None:
    mask = np.zeros((4, 4, 4), bool)
    mask[1, 2, 3] = True
    affine, to_mni = np.diag([-2.0, 2.0, 2.0, 1.0]), np.eye(4)
    to_mni[:3, 3] = (10, 0, -1)
    assert lesion_points(mask, affine, to_mni).tolist() == [[8, 4, 5]]
    assert lesion_points(np.zeros((4, 4, 4), bool), affine, to_mni).shape == (0, 3)


def test_left_is_below_zero_and_the_midplane_is_shared() -> None:
    points = np.array([[-3.0, 0, 0], [-1, 0, 0], [0, 0, 0], [5, 0, 0]])
    assert hemisphere_ml(points, 500.0) == {"left_ml": 1.25, "right_ml": 0.75}
    assert hemisphere_ml(points[:0], 500.0) == {"left_ml": 0, "right_ml": 0}


def test_volumes_of_a_placed_mask_are_those_in_the_space_of_the_scan() -> None:
    mask = np.zeros((4, 1, 1), bool)
    mask[:3] = True
    twice_as_wide = np.diag([2.0, 1, 1, 1])
    twice_as_wide[0, 3] = -1.0
    found = placed_sides_ml(mask, np.diag([10.0, 10, 10, 1]), twice_as_wide)
    assert found == pytest.approx({"left_ml": 1, "right_ml": 2})
