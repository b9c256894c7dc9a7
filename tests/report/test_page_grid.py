"""What a person changes on a page goes back to the voxels of the file."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

from mapping_stroke.errors import FileError
from mapping_stroke.images.image import Image, orientation_names
from mapping_stroke.report.page_grid import PageGrid, make_page_grid
from mapping_stroke.report.slices import view

SHAPE = (9, 10, 11)


def scan(axes: str) -> Image:
    """A bright box in the dark, stored with these axes."""
    turn = ornt_transform(axcodes2ornt(("R", "A", "S")), axcodes2ornt(tuple(axes)))
    voxels = np.zeros(SHAPE, np.float32)
    voxels[1:8, 1:9, 1:10] = 100
    return Image(voxels, inv_ornt_aff(turn, SHAPE) if axes == "RAS" else np.linalg.inv(inv_ornt_aff(turn, SHAPE)))


@given(axes=st.sampled_from(orientation_names()), seed=st.integers(0, 99))
def test_changing_nothing_changes_nothing_whatever_the_axes(axes: str, seed: int) -> None:
    image = scan(axes)
    grid = make_page_grid(view(image))
    assert PageGrid.from_json(grid.to_json()) == grid
    mask = np.random.default_rng(seed).random(SHAPE) > 0.7
    assert (grid.with_changes(mask, grid.cut_mask(mask)) == mask).all()


@given(axes=st.sampled_from(orientation_names()), seed=st.integers(0, 99))
def test_a_change_is_seen_when_the_page_is_opened_again(axes: str, seed: int) -> None:
    grid = make_page_grid(view(scan(axes)))
    rng = np.random.default_rng(seed)
    before, after = rng.random(SHAPE) > 0.7, rng.random(grid.shown_shape) > 0.5
    assert (grid.cut_mask(grid.with_changes(before, after)) == after).all()


def test_a_change_of_one_voxel_of_a_coarse_page_by_hand() -> None:
    grid = PageGrid((4, 2, 2), "LAS", ((0, 4), (0, 2), (0, 2)), (2, 1, 1))
    mask = np.zeros((4, 2, 2), bool)
    mask[0, 0, 0] = True  # the rightmost voxel after reorientation, half of a voxel of the page
    assert grid.cut_mask(mask)[:, 0, 0].tolist() == [False, True]
    shown = np.zeros((2, 2, 2), bool)
    shown[1, 0, 0] = shown[0, 1, 1] = True  # the first is as it was
    changed = grid.with_changes(mask, shown)
    assert np.argwhere(changed).tolist() == [[0, 0, 0], [2, 1, 1], [3, 1, 1]]


def test_a_stamp_without_a_grid_is_told() -> None:
    with pytest.raises(FileError, match="segment the scan again"):
        PageGrid.from_json({"shape": [1, 2, 3]})
