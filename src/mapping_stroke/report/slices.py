"""Slices of a scan as a reader of MRI expects them, also on the scan's own grid."""

from collections.abc import Sequence
from dataclasses import dataclass

import nibabel as nib
import numpy as np
from jaxtyping import Bool, Float32, Shaped
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from mapping_stroke.errors import GeometryError
from mapping_stroke.images.image import Image, Mask, reorient
from mapping_stroke.lesions import bounding_box
from mapping_stroke.report.style import DARK, PALE

Volume = Shaped[np.ndarray, "x y z"]  # as stored, on the scan's grid
Turned = Shaped[np.ndarray, "right anterior superior"]  # axes point there, cropped to what is shown
Slice = Shaped[np.ndarray, "row column"]  # rows from anterior to posterior, columns from the patient's right to left

CONVENTION = "Axial slices in radiological convention: the patient's right (R) is at the left of the picture."

OPACITY = 0.72
"""Of colours over anatomy."""
FAINT = 0.05
"""Probabilities below are not coloured."""
AIR_FRACTION = 0.1
"""Voxels that rise above the background by less than this part of the scan's range do not widen the picture."""


@dataclass(frozen=True)
class Frame:
    """A part of a slice, in pixels; pixel 0 reaches from -0.5 to 0.5."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, eq=False)
class Viewer:
    """How one scan, and every array on its grid, is shown.

    Attributes:
        shape: Grid of the scan as stored.
        affine: Voxel index as stored to RAS millimetres.
        box: What is shown of the volume after it was turned to RAS: the head with a small margin.
        window: Intensities shown black and white.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    box: tuple[slice, slice, slice]
    window: tuple[float, float]

    @property
    def orientation(self) -> np.ndarray:
        """Axis and direction of each stored axis (nibabel's form)."""
        return np.asarray(nib.orientations.io_orientation(self.affine))

    @property
    def ras_affine(self) -> np.ndarray:
        """Voxel index after the turn and the crop to RAS millimetres."""
        turned = self.affine @ nib.orientations.inv_ornt_aff(self.orientation, self.shape)
        turned[:3, 3] += turned[:3, :3] @ np.array([side.start for side in self.box])
        return np.asarray(turned)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Length of a turned voxel's edge along each axis."""
        x, y, z = (float(edge) for edge in np.linalg.norm(self.ras_affine[:3, :3], axis=0))
        return x, y, z

    @property
    def pixel_aspect(self) -> float:
        """Height of a pixel over its width."""
        return self.spacing_mm[1] / self.spacing_mm[0]

    def turn(self, volume: Volume) -> Turned:
        """An array on the scan's grid in RAS order, cropped to what is shown.

        Raises:
            GeometryError: The array has another shape than the scan.
        """
        if volume.shape != self.shape:
            raise GeometryError(f"cannot show an array of shape {volume.shape} over a scan of shape {self.shape}")
        return np.asarray(nib.orientations.apply_orientation(volume, self.orientation))[self.box]

    def locate(self, place_mm: tuple[float, float, float]) -> tuple[int, int, int]:
        """The turned voxel nearest to a place in RAS millimetres, within what is shown."""
        index = np.linalg.inv(self.ras_affine) @ [*place_mm, 1]
        x, y, z = (
            min(max(round(float(i)), 0), side.stop - side.start - 1)
            for i, side in zip(index[:3], self.box, strict=True)
        )
        return x, y, z

    def z_mm(self, index: int) -> float:
        """Height of a turned axial slice at its centre, RAS millimetres."""
        middle = [(side.stop - side.start - 1) / 2 for side in self.box[:2]]
        return float(self.ras_affine[2] @ np.array([*middle, index, 1]))


def view(scan: Image) -> Viewer:
    """Find the head and the grey window of a scan; a scan without contrast is shown whole."""
    orientation = nib.orientations.io_orientation(scan.affine)
    turned = np.asarray(nib.orientations.apply_orientation(scan.voxels, orientation))
    background = _background(turned)
    head = turned > background + AIR_FRACTION * (_percentile(turned, 99.9) - background)
    box = bounding_box(head, margin_vox=3) if head.any() else tuple(slice(0, side) for side in turned.shape)
    shown = turned[head] if head.any() else turned.ravel()
    low, high = min(background, _percentile(shown, 0.5)), _percentile(shown, 99.5)
    inside = tuple(slice(side.start, min(side.stop, length)) for side, length in zip(box, turned.shape, strict=True))
    return Viewer(scan.shape, scan.affine, (inside[0], inside[1], inside[2]), (low, high if high > low else low + 1))


def cut(turned: Turned, index: int) -> Slice:
    """The axial slice at an index of a turned volume, as it is shown."""
    return np.ascontiguousarray(turned[::-1, ::-1, index].T)


def busiest_slice(turned: Bool[np.ndarray, "right anterior superior"]) -> int:
    """The axial slice with the largest lesion area (the lowest of equals); the middle one for an empty mask."""
    areas = turned.sum(axis=(0, 1))
    return int(np.argmax(areas)) if areas.any() else turned.shape[2] // 2


def show_slice(axes: Axes, grey: Float32[np.ndarray, "row column"], viewer: Viewer) -> None:
    """Draw anatomy with its R and L marks, without ticks or frame."""
    axes.imshow(
        grey,
        cmap="gray",
        vmin=viewer.window[0],
        vmax=viewer.window[1],
        aspect=viewer.pixel_aspect,
        interpolation="bilinear",
    )
    axes.set(xticks=[], yticks=[])
    axes.set_axis_off()
    for x, letter, side in ((0.03, "R", "left"), (0.97, "L", "right")):
        mark = axes.text(x, 0.97, letter, transform=axes.transAxes, fontsize=7.5, color=PALE, ha=side, va="top")
        mark.set_path_effects([withStroke(linewidth=1.5, foreground=DARK)])


def outline(axes: Axes, mask: Bool[np.ndarray, "row column"], colour: str, width: float = 0.9) -> None:
    """Draw the border of a mask; nothing for an empty one."""
    if mask.any():
        padded = np.pad(mask.astype(np.float32), 1)
        rows, columns = (np.arange(-1, side + 1) for side in mask.shape)
        axes.contour(columns, rows, padded, levels=[0.5], colors=[colour], linewidths=width)
        axes.set_xlim(-0.5, mask.shape[1] - 0.5)
        axes.set_ylim(mask.shape[0] - 0.5, -0.5)


def show_probability(axes: Axes, likely: Float32[np.ndarray, "row column"], viewer: Viewer) -> None:
    """Colour P(lesion) above `FAINT` over anatomy."""
    heat = np.ma.masked_less(likely, FAINT)
    axes.imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=OPACITY, aspect=viewer.pixel_aspect)


def show_scale(axes: Axes) -> None:
    """The colours of `show_probability` as a bar."""
    axes.imshow(np.linspace(0, 1, 101)[None], cmap="inferno", aspect="auto", extent=(0, 1, 0, 1))
    axes.set_yticks([])
    axes.tick_params(colors=PALE, labelsize=7)


def frame_around(marked: Bool[np.ndarray, "row column"], pixel_aspect: float, margin_px: float) -> Frame:
    """The part of a slice that holds all marks and a margin, in the slice's own proportions; all of it without marks.

    Args:
        marked: What must be inside.
        pixel_aspect: Height of a pixel over its width.
        margin_px: Margin on each side, in widths of a pixel.
    """
    rows, columns = marked.shape
    if not marked.any():
        return Frame(-0.5, -0.5, columns, rows)
    at_rows, at_columns = np.flatnonzero(marked.any(axis=1)), np.flatnonzero(marked.any(axis=0))
    height = np.ptp(at_rows) + 1 + 2 * margin_px / pixel_aspect
    width = np.ptp(at_columns) + 1 + 2 * margin_px
    share = min(max(height / rows, width / columns), 1.0)
    height, width = share * rows, share * columns
    top = np.clip((at_rows[0] + at_rows[-1] - height) / 2, -0.5, rows - 0.5 - height)
    left = np.clip((at_columns[0] + at_columns[-1] - width) / 2, -0.5, columns - 0.5 - width)
    return Frame(float(left), float(top), float(width), float(height))


def mark_frame(axes: Axes, frame: Frame) -> None:
    """Draw the outline of the enlarged part."""
    axes.add_patch(
        Rectangle((frame.left, frame.top), frame.width, frame.height, fill=False, edgecolor=PALE, linewidth=0.7)
    )


def show_frame(axes: Axes, frame: Frame) -> None:
    """Enlarge a part of the slice."""
    axes.set_xlim(frame.left, frame.left + frame.width)
    axes.set_ylim(frame.top + frame.height, frame.top)


def _background(turned: Turned) -> float:
    """The usual value on the faces of the volume, where there is air."""
    faces = [np.take(turned, side, axis=axis).ravel() for axis in range(3) for side in (0, -1)]
    return float(np.median(np.concatenate(faces)))


def _percentile(values: np.ndarray, percent: float) -> float:
    """A percentile of every third value: enough for a window, and quick on a whole brain."""
    return float(np.percentile(values.ravel()[::3] if values.size > 1000 else values, percent))


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
        """Position of the middle of a slice along the axis that is nearest to the one across it."""
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
    return TurnedScan(reorient(scan), inside, found)


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
    """The visible range along an axis."""
    edge_mm, (first, last) = turned.scan.spacing_mm[axis], turned.reach_vox(axis)
    return (first - 0.5) * edge_mm - MARGIN_MM, (last + 0.5) * edge_mm + MARGIN_MM
