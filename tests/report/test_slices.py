"""Turning scans for the eye, and enlarging parts of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapping_stroke.errors import GeometryError
from mapping_stroke.images.image import Image
from mapping_stroke.report.slices import Frame, busiest_slice, cut, frame_around, view
from small_runs import AFFINE, SHAPE, box, head, stored_as

ORIENTATIONS = ("RAS", "LAS", "PSR", "PSL", "LPI", "SAR")


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_scan_looks_the_same_however_it_is_stored(orientation: str) -> None:
    as_ras, as_stored = view(Image(head(), AFFINE)), view(Image(*stored_as(orientation, head())))
    mask = box((6, 8, 8), (3, 4, 5))
    turned = as_stored.reorient(stored_as(orientation, mask)[0])
    np.testing.assert_array_equal(turned, as_ras.reorient(mask))
    np.testing.assert_array_equal(as_stored.reorient(stored_as(orientation, head())[0]), as_ras.reorient(head()))
    np.testing.assert_allclose(as_stored.ras_affine, as_ras.ras_affine)
    assert as_stored.window == as_ras.window


def test_the_right_of_the_patient_is_at_the_left_and_the_front_at_the_top() -> None:
    viewer = view(Image(head(), AFFINE))
    right_front_top = np.zeros(SHAPE, bool)
    right_front_top[15:, 18:, 15:] = True
    turned = viewer.reorient(right_front_top)
    rows, columns = np.nonzero(cut(turned, busiest_slice(turned)))
    middle = np.array(cut(turned, 0).shape) / 2
    assert rows.max() < middle[0]
    assert columns.max() < middle[1]


def test_what_is_shown_is_the_head_with_a_margin() -> None:
    voxels = np.zeros((40, 40, 40), np.float32)
    voxels[10:20, 12:22, 14:24] = np.arange(1000).reshape(10, 10, 10) + 500
    viewer = view(Image(voxels, np.eye(4)))
    assert viewer.box == (slice(7, 23), slice(9, 25), slice(11, 27))
    assert viewer.z_mm(3) == 14


def test_a_scan_without_contrast_is_shown_whole() -> None:
    viewer = view(Image(np.zeros((4, 5, 6), np.float32), np.eye(4)))
    assert viewer.reorient(np.zeros((4, 5, 6))).shape == (4, 5, 6)
    assert viewer.window[1] > viewer.window[0]


def test_a_bright_background_is_no_head() -> None:
    voxels = np.full((20, 20, 20), -1.3, np.float32)
    voxels[5:15, 5:15, 5:15] = np.linspace(0, 2, 1000).reshape(10, 10, 10)
    assert view(Image(voxels, np.eye(4))).box[0] == slice(2, 18)


def test_long_voxels_stay_long() -> None:
    viewer = view(Image(head(), np.diag([1.0, 3.0, 2.0, 1.0])))
    assert viewer.spacing_mm == (1.0, 3.0, 2.0)
    assert viewer.pixel_aspect == 3.0


def test_an_array_of_another_shape_is_refused() -> None:
    with pytest.raises(GeometryError, match=r"shape \(2, 2, 2\) over a scan of shape \(24, 28, 22\)"):
        view(Image(head(), AFFINE)).reorient(np.zeros((2, 2, 2)))


@given(st.tuples(*(st.integers(1, side - 2) for side in SHAPE)), st.sampled_from(ORIENTATIONS))
def test_a_place_in_millimetres_is_found_in_the_picture(place: tuple[int, int, int], orientation: str) -> None:
    viewer = view(Image(*stored_as(orientation, np.ones(SHAPE, np.float32))))
    mark = np.zeros(SHAPE, bool)
    mark[place] = True
    x_mm, y_mm, z_mm = (float(edge) for edge in (AFFINE @ [*place, 1])[:3])
    found = viewer.locate((x_mm, y_mm, z_mm))
    assert viewer.reorient(stored_as(orientation, mark)[0])[found]


def test_the_busiest_slice_is_the_largest_area_and_the_middle_of_nothing() -> None:
    mask = np.zeros((4, 4, 9), bool)
    assert busiest_slice(mask) == 4
    mask[:2, :2, 6] = mask[:2, 0, 2] = True
    assert busiest_slice(mask) == 6


def test_a_frame_without_marks_is_the_whole_slice() -> None:
    assert frame_around(np.zeros((10, 20), bool), 1.0, 3.0) == Frame(-0.5, -0.5, 20, 10)


@given(st.sets(st.tuples(st.integers(0, 9), st.integers(0, 19)), min_size=1), st.floats(0.5, 2), st.floats(0, 8))
def test_a_frame_holds_every_mark_and_lies_in_the_slice(
    places: set[tuple[int, int]], pixel_aspect: float, margin_px: float
) -> None:
    marked = np.zeros((10, 20), bool)
    marked[tuple(zip(*places, strict=True))] = True
    frame = frame_around(marked, pixel_aspect, margin_px)
    rows, columns = np.nonzero(marked)
    assert frame.left - 1e-9 <= columns.min() - 0.5
    assert columns.max() + 0.5 <= frame.left + frame.width + 1e-9
    assert frame.top - 1e-9 <= rows.min() - 0.5
    assert rows.max() + 0.5 <= frame.top + frame.height + 1e-9
    assert -0.5 <= frame.left <= frame.left + frame.width <= 19.5 + 1e-9
    assert frame.width / frame.height == pytest.approx(2)
