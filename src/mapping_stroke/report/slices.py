"""Slices of a scan in radiological convention, also on the scan's own grid."""

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
from mapping_stroke.report.style import DARK, PALE, bare

Volume = Shaped[np.ndarray, "x y z"]  # as stored, on the scan's grid
Reoriented = Shaped[
    np.ndarray, "right anterior superior"
]  # axes in this order and direction, cropped to the visible box
Slice = Shaped[np.ndarray, "row column"]  # rows from anterior to posterior, columns from the patient's right to left

CONVENTION = "Axial slices in radiological convention: the patient's right (R) is at the left of the picture."

OPACITY = 0.72
"""Opacity of colours over anatomy."""
FAINT = 0.05
"""Lower probabilities are not coloured."""
AIR_FRACTION = 0.1
"""The picture shows all voxels above the background by more than this share of the scan's range."""


@dataclass(frozen=True)
class Frame:
    """A part of a slice, in pixels; pixel 0 extends from -0.5 to 0.5."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, eq=False)
class Viewer:
    """Display settings of a scan and all arrays on its grid.

    Attributes:
        shape: Shape of the scan as stored.
        affine: Voxel index as stored to RAS millimetres.
        box: Visible part of the volume after reorientation to RAS: the head with a small margin.
        window: Intensities of black and white.
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
        """Voxel index after reorientation and cropping to RAS millimetres."""
        reoriented = self.affine @ nib.orientations.inv_ornt_aff(self.orientation, self.shape)
        # cropping moves the first voxel
        reoriented[:3, 3] += reoriented[:3, :3] @ np.array([side.start for side in self.box])
        return np.asarray(reoriented)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Length of a reoriented voxel's edge along each axis."""
        x, y, z = (float(edge) for edge in np.linalg.norm(self.ras_affine[:3, :3], axis=0))
        return x, y, z

    @property
    def pixel_aspect(self) -> float:
        """Height of a pixel over its width."""
        return self.spacing_mm[1] / self.spacing_mm[0]

    def reorient(self, volume: Volume) -> Reoriented:
        """Reorient an array on the scan's grid to RAS, and crop it to the visible box.

        Raises:
            GeometryError: The array has another shape than the scan.
        """
        if volume.shape != self.shape:
            raise GeometryError(f"cannot show an array of shape {volume.shape} over a scan of shape {self.shape}")
        return np.asarray(nib.orientations.apply_orientation(volume, self.orientation))[self.box]

    def locate(self, place_mm: tuple[float, float, float]) -> tuple[int, int, int]:
        """The reoriented voxel nearest to a position in RAS millimetres, within the visible box."""
        index = np.linalg.inv(self.ras_affine) @ [*place_mm, 1]
        x, y, z = (
            min(max(round(float(i)), 0), side.stop - side.start - 1)
            for i, side in zip(index[:3], self.box, strict=True)
        )
        return x, y, z

    def z_mm(self, index: int) -> float:
        """Position of a reoriented axial slice at its centre, RAS millimetres."""
        middle = [(side.stop - side.start - 1) / 2 for side in self.box[:2]]
        return float(self.ras_affine[2] @ np.array([*middle, index, 1]))


def view(scan: Image) -> Viewer:
    """Find the head and the grey window of a scan; all of a scan without contrast is shown."""
    orientation = nib.orientations.io_orientation(scan.affine)
    reoriented = np.asarray(nib.orientations.apply_orientation(scan.voxels, orientation))
    background = _background(reoriented)
    head = reoriented > background + AIR_FRACTION * (_percentile(reoriented, 99.9) - background)
    box = bounding_box(head, margin_vox=3) if head.any() else tuple(slice(0, side) for side in reoriented.shape)
    shown = reoriented[head] if head.any() else reoriented.ravel()
    low, high = min(background, _percentile(shown, 0.5)), _percentile(shown, 99.5)
    inside = tuple(
        slice(side.start, min(side.stop, length)) for side, length in zip(box, reoriented.shape, strict=True)
    )
    return Viewer(scan.shape, scan.affine, (inside[0], inside[1], inside[2]), (low, high if high > low else low + 1))


def cut(reoriented: Reoriented, index: int) -> Slice:
    """The axial slice at an index of a reoriented volume, in radiological convention."""
    # the patient's right and front come first
    return np.ascontiguousarray(reoriented[::-1, ::-1, index].T)


def busiest_slice(reoriented: Bool[np.ndarray, "right anterior superior"]) -> int:
    """The axial slice with the largest lesion area, the lowest of equals; the middle one for an empty mask."""
    areas = reoriented.sum(axis=(0, 1))
    return int(np.argmax(areas)) if areas.any() else reoriented.shape[2] // 2


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
    bare(axes)
    _mark(axes, "R", (0.03, 0.97))
    _mark(axes, "L", (0.97, 0.97))


def outline(axes: Axes, mask: Bool[np.ndarray, "row column"], colour: str, width: float = 0.9) -> None:
    """Draw the border of a mask; nothing for an empty one."""
    if mask.any():
        # padded, so that lesions at the edge of the picture get a closed border
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
    """The part of a slice with all marks and a margin, in the slice's own proportions; all of it if there are none.

    Args:
        marked: Pixels that must be inside.
        pixel_aspect: Height of a pixel over its width.
        margin_px: Margin on each side, in widths of a pixel.
    """
    rows, columns = marked.shape
    if not marked.any():
        return Frame(-0.5, -0.5, columns, rows)
    at_rows, at_columns = np.flatnonzero(marked.any(axis=1)), np.flatnonzero(marked.any(axis=0))
    height = np.ptp(at_rows) + 1 + 2 * margin_px / pixel_aspect
    width = np.ptp(at_columns) + 1 + 2 * margin_px
    # the tighter side decides, so that the frame keeps the slice's proportions
    share = min(max(height / rows, width / columns), 1.0)
    height, width = share * rows, share * columns
    top = np.clip((at_rows[0] + at_rows[-1] - height) / 2, -0.5, rows - 0.5 - height)
    left = np.clip((at_columns[0] + at_columns[-1] - width) / 2, -0.5, columns - 0.5 - width)
    return Frame(float(left), float(top), float(width), float(height))


def mark_frame(axes: Axes, frame: Frame) -> None:
    """Draw the outline of a part."""
    axes.add_patch(
        Rectangle((frame.left, frame.top), frame.width, frame.height, fill=False, edgecolor=PALE, linewidth=0.7)
    )


def show_frame(axes: Axes, frame: Frame) -> None:
    """Enlarge a part of the slice."""
    axes.set_xlim(frame.left, frame.left + frame.width)
    axes.set_ylim(frame.top + frame.height, frame.top)


def _background(reoriented: Reoriented) -> float:
    """The median on the faces of the volume, where there is air."""
    faces = [np.take(reoriented, side, axis=axis).ravel() for axis in range(3) for side in (0, -1)]
    return float(np.median(np.concatenate(faces)))


def _percentile(values: np.ndarray, percent: float) -> float:
    """A percentile, of every third value in large arrays, which is faster and exact enough for a window."""
    return float(np.percentile(values.ravel()[::3] if values.size > 1000 else values, percent))


WINDOW = (1.0, 99.5)
"""Percentiles of the brain's intensities for black and white."""
SCAN_BRAIN_COLOUR, LESION_COLOUR = "#00c8ff", "#ff9a2e"
LINE_WIDTH = 0.8
MARGIN_MM = 6.0
"""Margin around the brain."""
HEIGHTS = (0.3, 0.5, 0.7)
"""Positions of axial sections, as shares of the brain's height."""
AXES = ("x", "y", "z")


@dataclass(frozen=True)
class Cut:
    """A slice of a scan reoriented to RAS: the axis across it (0 x, 1 y, 2 z), and its index along that."""

    axis: int
    index: int


@dataclass(frozen=True, eq=False)
class ReorientedScan:
    """A scan, its brain and its lesions, reoriented to RAS without interpolation.

    Attributes:
        scan: The defaced scan.
        brain: Brain mask.
        lesion: Lesion mask; empty if unknown.
    """

    scan: Image
    brain: Bool[np.ndarray, "x y z"]
    lesion: Bool[np.ndarray, "x y z"]

    def place_mm(self, at: Cut) -> float:
        """Position of the middle of a slice along the axis across it, RAS millimetres."""
        middle = (np.array(self.scan.shape) - 1) / 2
        middle[at.axis] = at.index
        return float(self.scan.affine[at.axis] @ [*middle, 1])

    def reach_vox(self, axis: int) -> tuple[int, int]:
        """First and last slice of the brain along an axis, or of the scan if there is no brain."""
        shown = self.brain if self.brain.any() else np.ones_like(self.brain)
        across = tuple({0, 1, 2} - {axis})
        hit = np.flatnonzero(shown.any(axis=across))
        return int(hit[0]), int(hit[-1])


def reorient_to_ras(scan: Image, brain: Mask, lesion: Mask | None) -> ReorientedScan:
    """Reorient a scan and its masks for `draw_native`.

    Args:
        scan: The defaced scan.
        brain: Brain mask on its grid.
        lesion: Lesion mask on its grid; None if unknown.
    """
    orientation = nib.orientations.io_orientation(scan.affine)
    marked = np.zeros_like(brain) if lesion is None else lesion
    inside, found = (np.asarray(nib.orientations.apply_orientation(mask, orientation)) for mask in (brain, marked))
    return ReorientedScan(reorient(scan), inside, found)


def choose_cuts(reoriented: ReorientedScan) -> list[Cut]:
    """Three axial, a coronal and a sagittal section, each through the largest area of the lesions, if there are any.

    Only the nearest axial section moves there; the others are at `HEIGHTS`. Without lesions, the coronal and the
    sagittal section are in the middle of the brain.
    """
    low, high = reoriented.reach_vox(2)
    axial = [round(low + share * (high - low)) for share in HEIGHTS]
    through = [_largest_area(reoriented.lesion, axis) for axis in range(3)]
    x, y, z = (sum(reoriented.reach_vox(axis)) // 2 if index is None else index for axis, index in enumerate(through))
    if through[2] is not None:
        axial[int(np.argmin([abs(index - z) for index in axial]))] = z
    return [*(Cut(2, index) for index in axial), Cut(1, y), Cut(0, x)]


def _largest_area(mask: Mask, axis: int) -> int | None:
    areas = mask.sum(axis=tuple({0, 1, 2} - {axis}))
    return int(areas.argmax()) if areas.any() else None


def draw_native(row: Sequence[Axes], reoriented: ReorientedScan) -> None:
    """Draw the sections of `choose_cuts` in radiological convention and true proportions, titled by their positions."""
    values = reoriented.scan.voxels[reoriented.brain]
    low, high = np.percentile(values, WINDOW) if values.size else (0.0, 1.0)
    for axes, at in zip(row, choose_cuts(reoriented), strict=True):
        across, up = (axis for axis in range(3) if axis != at.axis)
        sides = [np.arange(reoriented.scan.shape[axis]) * reoriented.scan.spacing_mm[axis] for axis in (across, up)]
        grey = _slice(reoriented.scan.voxels, at)
        axes.imshow(
            grey,
            cmap="gray",
            vmin=low,
            vmax=max(high, low + 1e-6),
            origin="lower",
            extent=_extent(reoriented, across) + _extent(reoriented, up),
            interpolation="bilinear",
        )
        for mask, colour in ((reoriented.brain, SCAN_BRAIN_COLOUR), (reoriented.lesion, LESION_COLOUR)):
            _outline(axes, sides, _slice(mask, at), colour)
        (left, right), (bottom, top) = (_limits_mm(reoriented, axis) for axis in (across, up))
        # from right to left: radiological convention
        axes.set(xlim=(right, left), ylim=(bottom, top), aspect="equal")
        bare(axes)
        axes.set_title(f"{AXES[at.axis]} = {reoriented.place_mm(at):.0f} mm", fontsize=8, color=PALE)
        if at.axis != 0:
            mark_right(axes)


def mark_right(axes: Axes) -> None:
    """Mark the left of a section as the patient's right."""
    _mark(axes, "R", (0.02, 0.98))


def _mark(axes: Axes, letter: str, at: tuple[float, float]) -> None:
    side = "left" if at[0] < 0.5 else "right"
    mark = axes.text(*at, letter, transform=axes.transAxes, fontsize=7.5, color=PALE, ha=side, va="top")
    mark.set_path_effects([withStroke(linewidth=1.5, foreground=DARK)])  # legible on bright tissue


def _slice(volume: np.ndarray, at: Cut) -> np.ndarray:
    """A slice with rows from bottom to top (or back to front) and columns from left to right (or back to front)."""
    return np.asarray(np.take(volume, at.index, axis=at.axis).T)


def _outline(axes: Axes, sides: Sequence[np.ndarray], mask: Bool[np.ndarray, "row column"], colour: str) -> None:
    if mask.any():
        # one more position on each side, for the padding
        across, up = (np.r_[2 * side[0] - side[1], side, 2 * side[-1] - side[-2]] for side in sides)
        padded: Float32[np.ndarray, "row2 column2"] = np.pad(mask.astype(np.float32), 1)
        axes.contour(across, up, padded, [0.5], colors=[colour], linewidths=LINE_WIDTH)


def _extent(reoriented: ReorientedScan, axis: int) -> tuple[float, float]:
    """Positions of the outer faces of the first and the last voxel; the centre of the first is at 0."""
    edge_mm = reoriented.scan.spacing_mm[axis]
    return -edge_mm / 2, (reoriented.scan.shape[axis] - 0.5) * edge_mm


def _limits_mm(reoriented: ReorientedScan, axis: int) -> tuple[float, float]:
    """The visible range along an axis."""
    edge_mm, (first, last) = reoriented.scan.spacing_mm[axis], reoriented.reach_vox(axis)
    return (first - 0.5) * edge_mm - MARGIN_MM, (last + 0.5) * edge_mm + MARGIN_MM
