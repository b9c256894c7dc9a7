import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mapping_stroke.dataset.arrays import cut_box, place_anywhere, place_on_lesion

SHAPES = st.tuples(*[st.integers(1, 12)] * 3)


@given(SHAPES, SHAPES, st.integers(0, 1000))
def test_a_patch_lies_inside_the_volume_or_holds_it(
    shape: tuple[int, int, int], size: tuple[int, int, int], seed: int
) -> None:
    corner = place_anywhere(shape, size, np.random.default_rng(seed))
    for low, edge, length in zip(corner, shape, size, strict=True):
        assert (low >= 0 and low + length <= edge) or (low <= 0 and low + length >= edge)


def test_every_place_is_reached() -> None:
    rng = np.random.default_rng(0)
    corners = {place_anywhere((4, 2, 3), (2, 2, 3), rng) for _ in range(200)}
    assert corners == {(0, 0, 0), (1, 0, 0), (2, 0, 0)}


def test_a_patch_is_centred_on_a_lesion_voxel() -> None:
    lesion = np.array([[5, 6, 7]], np.int16)
    corner = place_on_lesion((20, 20, 20), (4, 4, 4), lesion, np.random.default_rng(0))
    assert corner == (3, 4, 5)


@pytest.mark.parametrize(("voxel", "corner"), [((0, 10, 19), (0, 8, 17)), ((19, 1, 0), (17, 0, 0))])
def test_a_patch_moves_up_from_the_near_end_and_reaches_past_the_far_end(
    voxel: tuple[int, int, int], corner: tuple[int, int, int]
) -> None:
    lesion = np.array([voxel], np.int16)
    assert place_on_lesion((20, 20, 20), (4, 4, 4), lesion, np.random.default_rng(0)) == corner


def test_a_case_without_lesion_gives_a_patch_anywhere() -> None:
    none = np.zeros((0, 3), np.int16)
    assert place_on_lesion((3, 3, 3), (3, 3, 3), none, np.random.default_rng(0)) == (0, 0, 0)


@given(SHAPES, st.tuples(*[st.integers(-15, 15)] * 3), SHAPES)
def test_a_box_is_the_volume_inside_and_zero_outside(
    shape: tuple[int, int, int], corner: tuple[int, int, int], size: tuple[int, int, int]
) -> None:
    volume = torch.arange(1, int(np.prod(shape)) + 1).reshape(shape)
    cut = cut_box(volume, corner, size)
    assert tuple(cut.shape) == size
    for index in np.ndindex(size):
        there = tuple(low + step for low, step in zip(corner, index, strict=True))
        inside = all(0 <= position < edge for position, edge in zip(there, shape, strict=True))
        assert int(cut[index]) == (int(volume[there]) if inside else 0)
