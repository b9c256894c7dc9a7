"""From slices to a grid: their order, the affine, and what speaks against stacking them."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from mapping_stroke.dicom.headers import Slice
from mapping_stroke.dicom.misfits import call_slices, off_the_line, off_the_steps, tell_strangers
from mapping_stroke.errors import ImageError
from mapping_stroke.nifti_grid import SAME_PLACE_VOX, Affine, voxel_edges_mm

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""World axes of DICOM and ITK point left and posterior, ours right and anterior."""
SAME_AXES = 2e-3
"""Unit vectors that differ by less count as one; 0.1 degrees."""
ROUNDED_AXES = 2 * SAME_AXES
"""The normal of slices whose axes are rounded may differ by less from the line of their positions."""
SAME_PLANE_MM = 0.01
"""Slices closer than this lie at one place."""
REMEDY = "export the series again, whole, or convert it with dcm2niix and give the NIfTI file"


def stack_slices(slices: Sequence[Slice]) -> tuple[list[Slice], Affine]:
    """Order the slices of a volume and place them.

    Returns:
        The slices along the third axis, and the affine: column, row and slice to RAS millimetres.

    Raises:
        ImageError: Slices do not say where they lie, are not parallel, lie at one place, or are not evenly spaced, as
            where some are missing; or they are displaced sideways, as by a tilted gantry.

    Axes are often rounded, positions are exact: where slices are displaced sideways by no more than rounding explains,
    the axes are turned onto the line of the positions, upright as before.
    """
    row, column, normal = _axes(slices)
    positions_mm = np.array([slice_.position_mm for slice_ in slices], dtype=np.float64)
    heights_mm = positions_mm @ normal
    order = np.argsort(heights_mm, kind="stable")
    positions_mm, heights_mm = positions_mm[order], heights_mm[order]
    ordered = [slices[index] for index in order]
    step_mm = _even_step(ordered, heights_mm)
    between_rows_mm, between_columns_mm = slices[0].spacing_mm or (0.0, 0.0)
    if not min(between_rows_mm, between_columns_mm) > 0:
        raise ImageError(f"its pixels have a spacing of {between_rows_mm:g} x {between_columns_mm:g} mm; {REMEDY}")
    affine = np.eye(4)
    affine[:3, 3] = positions_mm[0]
    edges_mm = np.array([between_columns_mm, between_rows_mm, step_mm])
    affine[:3, :3] = np.stack([row, column, normal], axis=1) * edges_mm
    if _aside_mm(positions_mm, affine) > SAME_PLACE_VOX * edges_mm.min():
        affine[:3, :3] = np.stack(_along_positions(row, normal, positions_mm), axis=1) * edges_mm
        _require_straight(ordered, positions_mm, affine)
    return ordered, LPS_TO_RAS @ affine


def lies_with(slice_: Slice, other: Slice) -> bool:
    """Whether two slices can belong to one volume: of one size, with parallel axes and alike spacing."""
    if (slice_.facts.rows, slice_.facts.columns) != (other.facts.rows, other.facts.columns):
        return False
    pairs = ((slice_.axes, other.axes, SAME_AXES), (slice_.spacing_mm, other.spacing_mm, SAME_PLANE_MM))
    return all(
        a == b or (a is not None and b is not None and bool(np.allclose(a, b, rtol=0, atol=tolerance)))
        for a, b, tolerance in pairs
    )


def place_along_normal(slice_: Slice) -> float:
    """How far a slice lies along its own normal, in whole `SAME_PLANE_MM`; 0 where it does not say."""
    if slice_.position_mm is None or slice_.axes is None:
        return 0.0
    normal = np.cross(slice_.axes[:3], slice_.axes[3:])
    return float(np.rint(np.dot(normal, slice_.position_mm) / SAME_PLANE_MM))


def _axes(slices: Sequence[Slice]) -> tuple[Float64[np.ndarray, "3"], ...]:
    """Unit vectors along rows, down columns, and along the normal of all slices."""
    lost = [each for each in slices if each.position_mm is None or each.axes is None or each.spacing_mm is None]
    if lost:
        raise ImageError(
            f"{len(lost)} of its {len(slices)} slices ({call_slices(lost)}) do{'es' * (len(lost) == 1)} not say where "
            f"{'it lies' if len(lost) == 1 else 'they lie'}, expected position, orientation and spacing in numbers; "
            f"{REMEDY}"
        )
    axes = np.array([slice_.axes for slice_ in slices], dtype=np.float64)
    row, column = axes[0, :3], axes[0, 3:]
    if not (abs(np.linalg.norm([row, column], axis=1) - 1).max() < SAME_AXES and abs(row @ column) < SAME_AXES):
        raise ImageError(f"its slices' axes are not upright unit vectors ({_told(axes[0])}); {REMEDY}")
    if np.abs(axes - axes[0]).max() > SAME_AXES:
        raise ImageError(f"its slices are not parallel; {REMEDY}")
    return _upright(row, np.cross(row, column))


def _upright(row: Float64[np.ndarray, "3"], normal: Float64[np.ndarray, "3"]) -> tuple[Float64[np.ndarray, "3"], ...]:
    """Unit vectors at right angles: along a normal, across it nearly as rows run, and down columns."""
    normal = normal / np.linalg.norm(normal)
    row = row - (row @ normal) * normal
    row = row / np.linalg.norm(row)
    return row, np.cross(normal, row), normal


def _along_positions(
    row: Float64[np.ndarray, "3"], normal: Float64[np.ndarray, "3"], positions_mm: Float64[np.ndarray, "slices 3"]
) -> tuple[Float64[np.ndarray, "3"], ...]:
    """The axes turned onto the line from the first slice to the last, if that is no farther than rounding explains."""
    line = positions_mm[-1] - positions_mm[0]
    line = line / np.linalg.norm(line)
    return _upright(row, line if np.linalg.norm(line - normal) < ROUNDED_AXES else normal)


def _even_step(slices: Sequence[Slice], heights_mm: Float64[np.ndarray, " slices"]) -> float:
    """The distance of ordered slices; they lie within `SAME_PLACE_VOX` of an even spacing."""
    if len(heights_mm) < 2:
        raise ImageError(f"has 1 slice, expected a volume; {REMEDY}")
    steps_mm = np.diff(heights_mm)
    step_mm, usual_mm = float(heights_mm[-1] - heights_mm[0]) / len(steps_mm), float(np.median(steps_mm))
    if steps_mm.min() < SAME_PLANE_MM:
        first = int(steps_mm.argmin())
        raise ImageError(
            f"has several slices at one place that differ, such as {call_slices(slices[first : first + 2])}: a header "
            "tells a wrong position, or they are several echoes, time points or channels; give one of them: "
            f"{REMEDY}"
        )
    tolerance_mm = SAME_PLACE_VOX * usual_mm
    even_mm = heights_mm[0] + step_mm * np.arange(len(heights_mm))
    if np.abs(heights_mm - even_mm).max() <= tolerance_mm:
        return step_mm
    strange = off_the_steps(heights_mm, usual_mm, tolerance_mm)
    if len(strange):
        raise ImageError(f"{tell_strangers(slices, strange, 'off the even steps of')}; {REMEDY}")
    counts = np.rint(steps_mm / usual_mm)
    if np.abs(steps_mm - counts * usual_mm).max() <= tolerance_mm and counts.max() > 1:
        raise ImageError(f"{_gaps(slices, counts)}; {REMEDY}")
    raise ImageError(
        f"its slices lie {steps_mm.min():.3g} to {steps_mm.max():.3g} mm apart, expected an even spacing; {REMEDY}"
    )


def _gaps(slices: Sequence[Slice], counts: Float64[np.ndarray, " gaps"]) -> str:
    """How many of ordered slices are missing, and where, given how many steps each lies from the one before."""
    missing = int((counts - 1).sum())
    gaps = np.flatnonzero(counts > 1)
    between = " and ".join(call_slices([slices[gaps[0] + side]]) for side in (0, 1))
    where = f"between {between}" if len(gaps) == 1 else f"in {len(gaps)} gaps, the first between {between}"
    return f"{missing} of {len(slices) + missing} slices {'is' if missing == 1 else 'are'} missing, {where}"


def _aside_mm(positions_mm: Float64[np.ndarray, "slices 3"], affine: Affine) -> float:
    """How far a slice lies from where the affine places it, at most."""
    steps = np.arange(len(positions_mm))[:, np.newaxis]
    return float(np.linalg.norm(positions_mm - (affine[:3, 3] + steps * affine[:3, 2]), axis=1).max())


def _require_straight(slices: Sequence[Slice], positions_mm: Float64[np.ndarray, "slices 3"], affine: Affine) -> None:
    """Raise where slices are displaced sideways from the first one's normal."""
    farthest_mm, tolerance_mm = _aside_mm(positions_mm, affine), SAME_PLACE_VOX * min(voxel_edges_mm(affine))
    if farthest_mm <= tolerance_mm:
        return
    strange = off_the_line(positions_mm, tolerance_mm)
    if len(strange):
        raise ImageError(f"{tell_strangers(slices, strange, 'aside of')}; {REMEDY}")
    raise ImageError(
        f"its slices are displaced sideways by up to {farthest_mm:.1f} mm, as by a tilted gantry, expected a "
        f"straight stack; resample it onto an upright grid: {REMEDY}"
    )


def _told(numbers: Sequence[float] | np.ndarray) -> str:
    return " ".join(f"{number:.3g}" for number in numbers)
