"""Lesions over scans: every method beside the reference (the paper's Fig. 5 and 6), and one new scan's segmentation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch

from mapping_stroke.image import Image, Mask, Probability
from mapping_stroke.inference.segmentation import LesionRow
from mapping_stroke.report.names import load_words, method_label
from mapping_stroke.report.slices import (
    CONVENTION,
    FAINT,
    OPACITY,
    Frame,
    Slice,
    Viewer,
    busiest_slice,
    cut,
    frame_around,
    mark_frame,
    outline,
    show_frame,
    show_probability,
    show_scale,
    show_slice,
    view,
)
from mapping_stroke.report.style import (
    DARK,
    FALSE,
    MISSED,
    NOT_CLINICAL,
    OUTLINE,
    OVERLAP,
    PALE,
    caption,
    legend_below,
    new_figure,
    row_label,
    save_png,
)

MARGIN_MM = 15.0
"""Of anatomy around what is marked, in an enlarged slice."""

SHOWN_SLICES = 4
SLICE_GAP_MM = 4.0
LISTED_LESIONS = 12

LEGEND = (
    Patch(color=OVERLAP, label="found (true positive)"),
    Patch(color=MISSED, label="missed (false negative)"),
    Patch(color=FALSE, label="wrongly marked (false positive)"),
    Patch(facecolor=DARK, edgecolor=OUTLINE, label="reference"),
)


@dataclass(frozen=True, eq=False)
class Comparison:
    """One slice of one case under every method: all that a row of Fig. 5 or 6 shows.

    Attributes:
        title: What the row is called.
        viewer: How the scan is shown.
        grey: The scan's axial slice.
        reference: The reference mask's slice.
        predictions: Method to its mask's slice.
        dice: Method to the Dice of the whole volume.
    """

    title: str
    viewer: Viewer
    grey: Float32[np.ndarray, "row column"]
    reference: Bool[np.ndarray, "row column"]
    predictions: Mapping[str, Slice]
    dice: Mapping[str, float]

    @property
    def frame(self) -> Frame:
        """What of the slice is enlarged: all that the reference or any method marks in it."""
        marked = np.any([self.reference, *self.predictions.values()], axis=0)
        return frame_around(marked, self.viewer.pixel_aspect, MARGIN_MM / self.viewer.spacing_mm[0])


def compare(
    title: str, scan: Image, reference: Mask, predictions: Mapping[str, Mask], dice: Mapping[str, float]
) -> Comparison:
    """Take the axial slice where the reference lesion is largest (of the first prediction where there is none).

    Args:
        title: What to call the case.
        scan: The T1w scan.
        reference: Mask on the scan's grid.
        predictions: Method to its mask on the scan's grid; may be empty.
        dice: Method to the case's Dice.

    Returns:
        The slice of everything; its height in millimetres is added to the title.

    Raises:
        GeometryError: A mask has another shape than the scan.
    """
    viewer = view(scan)
    lesion = viewer.turn(reference)
    marked = {method: viewer.turn(mask) for method, mask in predictions.items()}
    index = busiest_slice(next((mask for mask in (lesion, *marked.values()) if mask.any()), lesion))
    return Comparison(
        f"{title}\nz = {viewer.z_mm(index):.0f} mm",
        viewer,
        cut(viewer.turn(scan.voxels), index),
        cut(lesion, index),
        {method: cut(mask, index) for method, mask in marked.items()},
        dice,
    )


def agreement(
    prediction: Bool[np.ndarray, "row column"], reference: Bool[np.ndarray, "row column"]
) -> UInt8[np.ndarray, "row column 4"]:
    """Colour found, missed and wrongly marked pixels; transparent where both say no lesion."""
    colours = np.zeros((*reference.shape, 4), np.uint8)
    for where, colour in (
        (prediction & reference, OVERLAP),
        (~prediction & reference, MISSED),
        (prediction & ~reference, FALSE),
    ):
        colours[where] = [*(round(255 * part) for part in to_rgb(colour)), round(255 * OPACITY)]
    return colours


def draw_comparisons(comparisons: Sequence[Comparison], methods: Sequence[str], path: Path) -> None:
    """Draw one row a case: the scan's slice, then enlarged the reference and every method with its Dice.

    Args:
        comparisons: Rows from top to bottom; at least one.
        methods: Columns from left to right.
        path: PNG to write.
    """
    columns = 2 + len(methods)
    tile_in = 1.5
    heights = [_height_over_width(row) * tile_in for row in comparisons]
    figure = new_figure(tile_in * columns + 0.9, sum(heights) + 0.22 * len(heights) + 0.75, dark=True)
    grid = figure.subplots(len(comparisons), columns, squeeze=False, height_ratios=heights)
    for axes_row, row in zip(grid, comparisons, strict=True):
        for axes in axes_row:
            show_slice(axes, row.grey, row.viewer)
        outline(axes_row[1], row.reference, OUTLINE)
        row_label(axes_row[0], row.title, 7.5)
        mark_frame(axes_row[0], row.frame)
        for axes, method in zip(axes_row[2:], methods, strict=True):
            _draw_method(axes, row, method)
        for axes in axes_row[1:]:
            show_frame(axes, row.frame)
    for axes, name in zip(grid[0], ("T1w scan", "Reference", *map(method_label, methods)), strict=True):
        axes.set_title(name, fontsize=9.5, color=PALE, fontweight="bold")
    legend_below(figure, LEGEND, CONVENTION)
    save_png(figure, path)


def _draw_method(axes: Axes, row: Comparison, method: str) -> None:
    if method not in row.predictions:
        caption(axes, "no mask")
        return
    axes.imshow(
        agreement(row.predictions[method], row.reference), aspect=row.viewer.pixel_aspect, interpolation="nearest"
    )
    dice = row.dice.get(method, float("nan"))
    caption(axes, f"Dice {dice:.2f}" if np.isfinite(dice) else "no score")


def _height_over_width(row: Comparison) -> float:
    rows, columns = row.grey.shape
    return float(row.viewer.pixel_aspect * rows / columns)


def draw_segmentation(
    scan: Image, mask: Mask, probability: Probability, lesions: Sequence[LesionRow], path: Path
) -> None:
    """Draw a new scan's lesions: slices through the largest, outlined (above) and with P(lesion) (below), and a list.

    Args:
        scan: The T1w scan.
        mask: Its segmentation, on the scan's grid; where it is empty, three slices of the middle are shown.
        probability: P(lesion) on the scan's grid.
        lesions: The lesions of the mask, largest first.
        path: PNG to write.

    Raises:
        GeometryError: The mask or the map has another shape than the scan.
    """
    viewer = view(scan)
    turned, lesion, likely = viewer.turn(scan.voxels), viewer.turn(mask), viewer.turn(probability)
    places = [viewer.locate((row.x_mm, row.y_mm, row.z_mm)) for row in lesions[:LISTED_LESIONS]]
    indices = _choose_slices([place[2] for place in places], viewer)
    figure = new_figure(1.9 * len(indices) + 3.4, 5.0, dark=True)
    grid = figure.subplots(2, len(indices) + 1, squeeze=False, width_ratios=[1.9] * len(indices) + [3.3])
    for (above, below), index in zip(grid.T[:-1], indices, strict=True):
        for axes in (above, below):
            show_slice(axes, cut(turned, index), viewer)
        above.set_title(f"z = {viewer.z_mm(index):.0f} mm", fontsize=8, color=PALE)
        outline(above, cut(lesion, index), OUTLINE)
        for number, (x, y, z) in enumerate(places, start=1):
            if z == index:
                at = (turned.shape[0] - 1 - x, turned.shape[1] - 1 - y)
                above.annotate(str(number), at, (7, 7), textcoords="offset points", fontsize=8, color=OUTLINE)
        show_probability(below, cut(likely, index), viewer)
    _write_list(grid[0, -1], lesions)
    _draw_scale(grid[1, -1])
    legend_below(figure, [Patch(facecolor=DARK, edgecolor=OUTLINE, label="segmented lesion")], CONVENTION)
    save_png(figure, path)


def _choose_slices(centres: Sequence[int], viewer: Viewer) -> list[int]:
    """Slices through the first few centres, not too close, lowest first; three of the middle without centres."""
    depth = viewer.box[2].stop - viewer.box[2].start
    chosen: list[int] = []
    for centre in centres:
        apart = all(abs(centre - other) * viewer.spacing_mm[2] >= SLICE_GAP_MM for other in chosen)
        if apart and len(chosen) < SHOWN_SLICES:
            chosen.append(centre)
    return sorted(chosen) or sorted({depth * 2 // 5, depth // 2, depth * 3 // 5})


def _write_list(axes: Axes, lesions: Sequence[LesionRow]) -> None:
    axes.set_axis_off()
    count = f"{len(lesions)} lesion{'s' * (len(lesions) != 1)}" if lesions else "No lesion"
    total = f", {load_words(sum(row.volume_ml for row in lesions))}" if lesions else " found"
    lines = [f"{'':>3}{'volume':>9}{'centre x, y, z (mm)':>22}{'mean P':>8}"] if lesions else []
    for row in lesions[:LISTED_LESIONS]:
        centre = f"{row.x_mm:.0f}, {row.y_mm:.0f}, {row.z_mm:.0f}"
        lines.append(f"{row.lesion:>3}{load_words(row.volume_ml):>9}{centre:>22}{row.mean_probability:>8.2f}")
    if len(lesions) > LISTED_LESIONS:
        lines.append(f"and {len(lesions) - LISTED_LESIONS} smaller")
    axes.text(0.05, 1.0, count + total, transform=axes.transAxes, va="top", fontsize=11, color=PALE, fontweight="bold")
    axes.text(
        0.05, 0.86, "\n".join(lines), transform=axes.transAxes, va="top", fontsize=7.5, color=PALE, family="monospace"
    )


def _draw_scale(axes: Axes) -> None:
    """The colours of P(lesion), and what the picture is not for."""
    axes.set_axis_off()
    bar = axes.inset_axes((0.05, 0.72, 0.8, 0.06))
    show_scale(bar)
    bar.set_title(f"P(lesion), lower row; below {FAINT:g} not shown", fontsize=7.5, color=PALE, loc="left")
    axes.text(0.05, 0.0, NOT_CLINICAL, transform=axes.transAxes, fontsize=7.5, color=PALE)
