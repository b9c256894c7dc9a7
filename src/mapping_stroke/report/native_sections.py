"""Sections of a scan on its own grid with the outlines of its brain and its lesions: what was cut off is seen."""

from collections.abc import Sequence
from dataclasses import dataclass

import nibabel as nib
import numpy as np
from jaxtyping import Bool, Float32
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

from mapping_stroke.image import Image, Mask, turn_axes
from mapping_stroke.report.style import DARK, PALE

WINDOW = (1.0, 99.5)
"""Percentiles of the brain's intensities that are shown black and white."""
SCAN_BRAIN_COLOUR, LESION_COLOUR = "#00c8ff", "#ff9a2e"
LINE_WIDTH = 0.8
MARGIN_MM = 6.0
"""Around the brain."""
HEIGHTS = (0.3, 0.5, 0.7)
"""Of axial sections within the brain's extent, from its lowest slice to its highest."""
AXES = ("x", "y", "z")


@dataclass(frozen=True)
class Cut:
    """A slice of a scan whose axes were turned to RAS: the axis across it (0 x, 1 y, 2 z), and its index there."""

    axis: int
    index: int


@dataclass(frozen=True, eq=False)
class TurnedScan:
    """A scan, its brain and its lesions, their axes turned to RAS: no voxel is interpolated.

    Attributes:
        scan: As it may be shown.
        brain: Its brain.
        lesion: Its lesions; empty if none are known.
    """

    scan: Image
    brain: Bool[np.ndarray, "x y z"]
    lesion: Bool[np.ndarray, "x y z"]

    def place_mm(self, at: Cut) -> float:
        """Where the middle of a slice lies along the axis that is nearest to the one across it."""
        middle = (np.array(self.scan.shape) - 1) / 2
        middle[at.axis] = at.index
        return float(self.scan.affine[at.axis] @ [*middle, 1])

    def reach_vox(self, axis: int) -> tuple[int, int]:
        """The brain's first and last slice across an axis; the scan's own if there is no brain."""
        shown = self.brain if self.brain.any() else np.ones_like(self.brain)
        across = tuple({0, 1, 2} - {axis})
        hit = np.flatnonzero(shown.any(axis=across))
        return int(hit[0]), int(hit[-1])


def turn_to_ras(scan: Image, brain: Mask, lesion: Mask | None) -> TurnedScan:
    """A scan for `draw_native`.

    Args:
        scan: As it may be shown, its face hidden.
        brain: Its brain, on its grid.
        lesion: Its lesions, likewise; None if none are known.
    """
    orientation = nib.orientations.io_orientation(scan.affine)
    marked = np.zeros_like(brain) if lesion is None else lesion
    inside, found = (np.asarray(nib.orientations.apply_orientation(mask, orientation)) for mask in (brain, marked))
    return TurnedScan(turn_axes(scan), inside, found)


def choose_cuts(turned: TurnedScan) -> list[Cut]:
    """Three axial sections, a coronal and a sagittal one: through the lesions where they are largest, if there are any.

    Of the axial ones, the nearest goes there; without lesions all are spread over the brain, or go through its middle.
    """
    low, high = turned.reach_vox(2)
    axial = [round(low + share * (high - low)) for share in HEIGHTS]
    through = [_largest_area(turned.lesion, axis) for axis in range(3)]
    x, y, z = (sum(turned.reach_vox(axis)) // 2 if index is None else index for axis, index in enumerate(through))
    if through[2] is not None:
        axial[int(np.argmin([abs(index - z) for index in axial]))] = z
    return [*(Cut(2, index) for index in axial), Cut(1, y), Cut(0, x)]


def _largest_area(mask: Mask, axis: int) -> int | None:
    areas = mask.sum(axis=tuple({0, 1, 2} - {axis}))
    return int(areas.argmax()) if areas.any() else None


def draw_native(row: Sequence[Axes], turned: TurnedScan) -> None:
    """Draw the sections of `choose_cuts`, radiological, in true proportions, each with its place above it."""
    values = turned.scan.voxels[turned.brain]
    low, high = np.percentile(values, WINDOW) if values.size else (0.0, 1.0)
    for axes, at in zip(row, choose_cuts(turned), strict=True):
        across, up = (axis for axis in range(3) if axis != at.axis)
        sides = [np.arange(turned.scan.shape[axis]) * turned.scan.spacing_mm[axis] for axis in (across, up)]
        grey = _slice(turned.scan.voxels, at)
        axes.imshow(
            grey,
            cmap="gray",
            vmin=low,
            vmax=max(high, low + 1e-6),
            origin="lower",
            extent=_extent(turned, across) + _extent(turned, up),
            interpolation="bilinear",
        )
        for mask, colour in ((turned.brain, SCAN_BRAIN_COLOUR), (turned.lesion, LESION_COLOUR)):
            _outline(axes, sides, _slice(mask, at), colour)
        (left, right), (bottom, top) = (_limits_mm(turned, axis) for axis in (across, up))
        axes.set(xlim=(right, left), ylim=(bottom, top), aspect="equal")
        axes.set_axis_off()
        axes.set_title(f"{AXES[at.axis]} = {turned.place_mm(at):.0f} mm", fontsize=8, color=PALE)
        if at.axis != 0:
            mark_right(axes)


def mark_right(axes: Axes) -> None:
    """Say at the left of a section that the patient's right is there."""
    mark = axes.text(0.02, 0.98, "R", transform=axes.transAxes, fontsize=7.5, color=PALE, ha="left", va="top")
    mark.set_path_effects([withStroke(linewidth=1.5, foreground=DARK)])


def _slice(volume: np.ndarray, at: Cut) -> np.ndarray:
    """Rows from bottom to top, columns from left to right of the patient or from back to front."""
    return np.asarray(np.take(volume, at.index, axis=at.axis).T)


def _outline(axes: Axes, sides: Sequence[np.ndarray], mask: Bool[np.ndarray, "row column"], colour: str) -> None:
    if mask.any():
        across, up = (np.r_[2 * side[0] - side[1], side, 2 * side[-1] - side[-2]] for side in sides)
        padded: Float32[np.ndarray, "row2 column2"] = np.pad(mask.astype(np.float32), 1)
        axes.contour(across, up, padded, [0.5], colors=[colour], linewidths=LINE_WIDTH)


def _extent(turned: TurnedScan, axis: int) -> tuple[float, float]:
    """Where the outer faces of the first and the last voxel lie, the centre of the first at 0."""
    edge_mm = turned.scan.spacing_mm[axis]
    return -edge_mm / 2, (turned.scan.shape[axis] - 0.5) * edge_mm


def _limits_mm(turned: TurnedScan, axis: int) -> tuple[float, float]:
    """What is shown along an axis."""
    edge_mm, (first, last) = turned.scan.spacing_mm[axis], turned.reach_vox(axis)
    return (first - 0.5) * edge_mm - MARGIN_MM, (last + 0.5) * edge_mm + MARGIN_MM
