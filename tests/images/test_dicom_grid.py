"""Stacks of slices in memory: what rounding explains is mended, what it does not is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dicom_files import LPS
from mapping_stroke.errors import ImageError
from mapping_stroke.images.dicom_headers import Facts, Slice
from mapping_stroke.images.dicom_volumes import stack_slices

FACTS = Facts("1.2", "1", 4, "MR", ("t1", "t1"), 256, 256, 1)
COUNT = 200
Shift = Callable[[int], np.ndarray]


def turned(degrees: tuple[float, float, float]) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() * [0.9, 0.9, 1.0]
    affine[:3, 3] = -90.5, -120.25, -70.0
    return affine


def slices_on(affine: np.ndarray, digits: int, shift: Shift = lambda k: np.zeros(3)) -> list[Slice]:
    """Slices on a RAS grid, their axes rounded, each shifted by so many millimetres in the end."""
    lps = LPS @ affine
    axes = np.round((lps[:3, :2] / np.linalg.norm(lps[:3, :2], axis=0)).T.ravel(), digits)
    return [
        Slice(
            Path(f"{k}"),
            0,
            f"1.{k}",
            FACTS,
            tuple((lps @ [0, 0, k, 1])[:3] + shift(k)),
            tuple(axes),
            (0.9, 0.9),
            (1.0, 0.0),
            (),
            {},
        )
        for k in range(COUNT)
    ]


@pytest.mark.parametrize("degrees", [(1.0, 2.0, 0.5), (2.8946, 1.7478, 20.0), (-4.4, 12.9, 30.3)])
@pytest.mark.parametrize("digits", [3, 4, 6])
def test_axes_that_were_rounded_are_set_upright_on_the_line_of_the_positions(
    degrees: tuple[float, float, float], digits: int
) -> None:
    affine = turned(degrees)
    _, found = stack_slices(slices_on(affine, digits))
    last = [*[[0, 0, COUNT - 1, 1]] * 2]
    np.testing.assert_allclose(np.array(last) @ found[:3].T, np.array(last) @ affine[:3].T, atol=0.09)
    np.testing.assert_allclose(found[:3, :3], affine[:3, :3], atol=2 * 10.0**-digits)
    edges = np.linalg.norm(found[:3, :3], axis=0)
    np.testing.assert_allclose(found[:3, :3].T @ found[:3, :3], np.diag(edges**2), atol=1e-12)


@pytest.mark.parametrize("degrees", [0.5, 5.0])
def test_a_real_tilt_is_refused(degrees: float) -> None:
    aside = np.array([np.tan(np.radians(degrees)), 0.0, 0.0])
    with pytest.raises(ImageError, match="tilted gantry"):
        stack_slices(slices_on(np.eye(4), 6, lambda k: k * aside))


def test_a_crooked_line_is_refused() -> None:
    with pytest.raises(
        ImageError, match=r"^90 lies beside the line of its other 199 slices: the position in its header is"
    ):
        stack_slices(slices_on(np.eye(4), 6, lambda k: np.array([0.5 * (k == 90), 0.0, 0.0])))
