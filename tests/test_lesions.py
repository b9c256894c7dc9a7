"""Connected components: counting, measuring, boxing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from mapping_stroke.images.image import Mask
from mapping_stroke.lesions import FACE_CONNECTED, FULLY_CONNECTED, bounding_box, find_lesions

masks = arrays(np.bool_, st.tuples(*[st.integers(1, 5)] * 3))


def row(text: str) -> Mask:
    return np.array([mark == "#" for mark in text]).reshape(1, 1, -1)


def test_runs_of_voxels_are_lesions_in_order() -> None:
    lesions = find_lesions(row("..##.#...###."))
    assert lesions.count == 3
    assert lesions.sizes_vox.tolist() == [2, 1, 3]
    assert lesions.box == (slice(0, 1), slice(0, 1), slice(2, 12))
    assert lesions.labels.ravel().tolist() == [1, 1, 0, 2, 0, 0, 0, 3, 3, 3]


def test_an_empty_mask_has_no_lesions() -> None:
    lesions = find_lesions(np.zeros((3, 4, 5), bool))
    assert lesions.count == 0
    assert lesions.labels.size == 0
    assert lesions.box == (slice(0, 0), slice(0, 0), slice(0, 0))


def test_voxels_that_share_only_a_corner_are_one_lesion_only_when_asked() -> None:
    mask = np.zeros((2, 2, 2), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = True
    assert find_lesions(mask).count == 2
    assert find_lesions(mask, FULLY_CONNECTED).count == 1


def test_a_mask_without_voxels_is_allowed() -> None:
    assert find_lesions(np.zeros((0, 3, 3), bool)).count == 0


@pytest.mark.parametrize(("margin_vox", "expected"), [(0, (2, 4)), (1, (1, 5)), (9, (0, 6))])
def test_a_margin_widens_the_box_within_the_volume(margin_vox: int, expected: tuple[int, int]) -> None:
    box = bounding_box(row("..##.."), margin_vox)
    assert np.zeros((1, 1, 6))[box].shape == (1, 1, expected[1] - expected[0])
    assert box[2].start == expected[0]


@given(masks)
def test_labels_in_the_box_are_scipys_labels_of_the_whole(mask: Mask) -> None:
    for connectivity in (FACE_CONNECTED, FULLY_CONNECTED):
        expected, count = ndimage.label(mask, connectivity)
        lesions = find_lesions(mask, connectivity)
        whole = np.zeros(mask.shape, np.int32)
        whole[lesions.box] = lesions.labels
        np.testing.assert_array_equal(whole, expected)
        assert lesions.count == count
        assert lesions.sizes_vox.sum() == mask.sum()


@given(masks)
def test_the_box_is_the_smallest_that_holds_every_voxel(mask: Mask) -> None:
    box = bounding_box(mask)
    assert mask[box].sum() == mask.sum()
    if mask.any():
        inside = mask[box]
        for axis in range(3):
            assert inside.take(0, axis).any()
            assert inside.take(-1, axis).any()


@given(masks)
def test_memory_order_changes_nothing(mask: Mask) -> None:
    lesions, again = find_lesions(mask), find_lesions(np.asfortranarray(mask))
    np.testing.assert_array_equal(lesions.labels, again.labels)
    assert lesions.box == again.box


@given(masks, st.sampled_from([0, 1, 2]))
def test_flipping_keeps_the_sizes(mask: Mask, axis: int) -> None:
    flipped = find_lesions(np.flip(mask, axis))
    assert sorted(flipped.sizes_vox) == sorted(find_lesions(mask).sizes_vox)
