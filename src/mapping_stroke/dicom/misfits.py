"""Which slices keep a series from being a stack, by the names of their files."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int

from mapping_stroke.dicom.headers import Slice

Heights = Float64[np.ndarray, " slices"]
NAMED = 3
"""Of more slices than this, the first are named."""
FEW = 10
"""One slice of so many may be out of place, or one at all: of more it cannot be told which ones are right."""
FAR_SLICES = 20
"""Few slices behind a gap of more steps than this do not belong to the others."""


def call_slices(slices: Sequence[Slice]) -> str:
    """Names for an error: of files, or of frames where a file has several."""
    told = [f"frame {each.frame + 1} of {each.file.name}" if each.frame else each.file.name for each in slices[:NAMED]]
    more = f" and {len(slices) - NAMED} more" if len(slices) > NAMED else ""
    return ", ".join(told) + more


def tell_strangers(slices: Sequence[Slice], strange: Int[np.ndarray, " strange"], how: str) -> str:
    """What to say of the few slices that do not lie as the others do."""
    named = call_slices([slices[int(index)] for index in strange])
    one = len(strange) == 1
    return (
        f"{named} {'lies' if one else 'lie'} {how} its other {len(slices) - len(strange)} slices: the position in "
        f"{'its header is' if one else 'their headers is'} wrong, or {'it belongs' if one else 'they belong'} to "
        "another scan"
    )


def off_the_steps(heights_mm: Heights, usual_mm: float, tolerance_mm: float) -> Int[np.ndarray, " strange"]:
    """The few of ordered slices that lie between the even steps of the others or far from them; empty if many do."""
    steps = (heights_mm[:, np.newaxis] - heights_mm) / usual_mm
    fits = np.abs(steps - np.rint(steps)) * usual_mm <= tolerance_mm
    on = fits[fits.sum(axis=1).argmax()]
    inside = np.flatnonzero(on)
    clusters = np.split(inside, np.flatnonzero(np.diff(heights_mm[inside]) > FAR_SLICES * usual_mm) + 1)
    strange = np.setdiff1d(np.arange(len(heights_mm)), max(clusters, key=len))
    return _if_few(strange, len(heights_mm))


def off_the_line(positions_mm: Float64[np.ndarray, "slices 3"], tolerance_mm: float) -> Int[np.ndarray, " strange"]:
    """The few of ordered, evenly spaced slices that lie aside of a line through the others; empty if many do."""
    steps = np.arange(len(positions_mm))[:, np.newaxis]
    step_mm = np.median(np.diff(positions_mm, axis=0), axis=0)
    starts_mm = positions_mm - steps * step_mm
    strange = np.flatnonzero(np.linalg.norm(starts_mm - np.median(starts_mm, axis=0), axis=1) > tolerance_mm)
    return _if_few(strange, len(positions_mm))


def _if_few(strange: Int[np.ndarray, " strange"], count: int) -> Int[np.ndarray, " few"]:
    return strange if len(strange) <= max(count // FEW, 1) else strange[:0]
