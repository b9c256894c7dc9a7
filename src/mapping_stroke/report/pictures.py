"""Pictures of lesions: methods next to the reference, a segmented scan, and failures of a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from mapping_stroke.evaluation.cohorts import Failure, Look
from mapping_stroke.files import written_whole
from mapping_stroke.images.image import Image, Mask, Probability
from mapping_stroke.inference.segmentation import LesionRow
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
    bare,
    caption,
    legend_below,
    load_words,
    method_label,
    new_figure,
    row_label,
    save_png,
)

MARGIN_MM = 15.0
"""Margin around the marks in an enlarged slice."""

SHOWN_SLICES, FEWEST_SLICES = 4, 3
SLICE_GAP_MM = 4.0
PARTS_SHOWN = (0.15, 0.85)
"""Large lesions are also shown at the heights below which these shares of their volume lie."""
LISTED_LESIONS = 12

LEGEND = (
    Patch(color=OVERLAP, label="found (true positive)"),
    Patch(color=MISSED, label="missed (false negative)"),
    Patch(color=FALSE, label="wrongly marked (false positive)"),
    Patch(facecolor=DARK, edgecolor=OUTLINE, label="reference"),
)


@dataclass(frozen=True, eq=False)
class Comparison:
    """One slice of a case with all methods: a row of Fig. 5 or 6.

    Attributes:
        title: Title of the row.
        viewer: Display settings of the scan.
        grey: Axial slice of the scan.
        reference: Slice of the reference mask.
        predictions: Method to the slice of its mask.
        dice: Method to the Dice of the volume.
    """

    title: str
    viewer: Viewer
    grey: Float32[np.ndarray, "row column"]
    reference: Bool[np.ndarray, "row column"]
    predictions: Mapping[str, Slice]
    dice: Mapping[str, float]

    @property
    def frame(self) -> Frame:
        """The part of the slice to enlarge: all that the reference or a method marks."""
        marked = np.any([self.reference, *self.predictions.values()], axis=0)
        return frame_around(marked, self.viewer.pixel_aspect, MARGIN_MM / self.viewer.spacing_mm[0])


def compare(
    title: str, scan: Image, reference: Mask, predictions: Mapping[str, Mask], dice: Mapping[str, float]
) -> Comparison:
    """Choose the axial slice with the largest reference lesion, or else the largest lesion of the first prediction.

    Args:
        title: Name of the case.
        scan: The T1w scan.
        reference: Mask on the scan's grid.
        predictions: Method to its mask on the scan's grid; may be empty.
        dice: Method to the case's Dice.

    Returns:
        The slices; their position in millimetres is added to the title.

    Raises:
        GeometryError: A mask has another shape than the scan.
    """
    viewer = view(scan)
    lesion = viewer.reorient(reference)
    marked = {method: viewer.reorient(mask) for method, mask in predictions.items()}
    index = busiest_slice(next((mask for mask in (lesion, *marked.values()) if mask.any()), lesion))
    return Comparison(
        f"{title}\nz = {viewer.z_mm(index):.0f} mm",
        viewer,
        cut(viewer.reorient(scan.voxels), index),
        cut(lesion, index),
        {method: cut(mask, index) for method, mask in marked.items()},
        dice,
    )


def agreement(
    prediction: Bool[np.ndarray, "row column"], reference: Bool[np.ndarray, "row column"]
) -> UInt8[np.ndarray, "row column 4"]:
    """Colours of found, missed and wrongly marked pixels; all others are transparent."""
    colours = np.zeros((*reference.shape, 4), np.uint8)
    for where, colour in (
        (prediction & reference, OVERLAP),
        (~prediction & reference, MISSED),
        (prediction & ~reference, FALSE),
    ):
        colours[where] = [*(round(255 * part) for part in to_rgb(colour)), round(255 * OPACITY)]
    return colours


def draw_comparisons(comparisons: Sequence[Comparison], methods: Sequence[str], path: Path) -> None:
    """Draw a row for each case: the scan, then enlarged the reference and every method with its Dice.

    Args:
        comparisons: At least one row, from top to bottom.
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
        mark_frame(axes_row[0], row.frame)  # the other columns show only this part
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
    """Write `segmentation_figure` as PNG."""
    save_png(segmentation_figure(scan, mask, probability, lesions), path)


def segmentation_figure(scan: Image, mask: Mask, probability: Probability, lesions: Sequence[LesionRow]) -> Figure:
    """Draw the lesions of a scan: slices with outlines (above) and P(lesion) (below), and a list.

    Args:
        scan: The T1w scan.
        mask: Lesion mask on the scan's grid; if it is empty, three middle slices are shown.
        probability: P(lesion) on the scan's grid.
        lesions: The lesions of the mask, largest first.

    Raises:
        GeometryError: The mask or the map has another shape than the scan.
    """
    viewer = view(scan)
    anatomy, lesion, likely = viewer.reorient(scan.voxels), viewer.reorient(mask), viewer.reorient(probability)
    places = [viewer.locate((row.x_mm, row.y_mm, row.z_mm)) for row in lesions[:LISTED_LESIONS]]
    indices = _choose_slices([place[2] for place in places], lesion, viewer)
    figure = new_figure(1.9 * len(indices) + 3.4, 5.0, dark=True)
    grid = figure.subplots(2, len(indices) + 1, squeeze=False, width_ratios=[1.9] * len(indices) + [3.3])
    for (above, below), index in zip(grid.T[:-1], indices, strict=True):
        for axes in (above, below):
            show_slice(axes, cut(anatomy, index), viewer)
        above.set_title(f"z = {viewer.z_mm(index):.0f} mm", fontsize=8, color=PALE)
        outline(above, cut(lesion, index), OUTLINE)
        for number, (x, y, z) in enumerate(places, start=1):
            if z == index:
                at = (anatomy.shape[0] - 1 - x, anatomy.shape[1] - 1 - y)  # mirrored, as in `cut`
                above.annotate(str(number), at, (7, 7), textcoords="offset points", fontsize=8, color=OUTLINE)
        show_probability(below, cut(likely, index), viewer)
    _write_list(grid[0, -1], lesions)
    _draw_scale(grid[1, -1])
    legend_below(figure, [Patch(facecolor=DARK, edgecolor=OUTLINE, label="segmented lesion")], CONVENTION)
    return figure


def _choose_slices(
    centres: Sequence[int], lesion: Bool[np.ndarray, "right anterior superior"], viewer: Viewer
) -> list[int]:
    """Slices through the first few centres that are not too close, lowest first; three middle ones without centres.

    If there are fewer than three, others through the lower and upper part of the lesions are added.
    """
    depth = viewer.box[2].stop - viewer.box[2].start
    reached_vox = np.cumsum(lesion.sum(axis=(0, 1)))
    parts = [int(np.searchsorted(reached_vox, share * reached_vox[-1])) for share in PARTS_SHOWN] if centres else []
    wanted = [(centre, SHOWN_SLICES) for centre in centres]  # of the largest lesions first
    chosen: list[int] = []
    for index, most in [*wanted, *((part, FEWEST_SLICES) for part in parts)]:
        apart = all(abs(index - other) * viewer.spacing_mm[2] >= SLICE_GAP_MM for other in chosen)
        if apart and len(chosen) < most:
            chosen.append(index)
    return sorted(chosen) or sorted({depth * 2 // 5, depth // 2, depth * 3 // 5})


def _write_list(axes: Axes, lesions: Sequence[LesionRow]) -> None:
    bare(axes)
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
    """Draw the colours of P(lesion), and the note that the picture is not for clinical use."""
    bare(axes)
    bar = axes.inset_axes((0.05, 0.72, 0.8, 0.06))
    show_scale(bar)
    bar.set_title(f"P(lesion), lower row; below {FAINT:g} not shown", fontsize=7.5, color=PALE, loc="left")
    axes.text(0.05, 0.0, NOT_CLINICAL, transform=axes.transAxes, fontsize=7.5, color=PALE)


PICTURED = (
    "Each row is one case, in the axial slice that shows most of the failure: the scan; then, enlarged, the scan, the "
    "true lesions, what the model marks, and P(lesion). Dice and volumes are of the whole scan."
)


def failure_sentence(failure: Failure) -> str:
    """Kind, name and values of a failure in a sentence."""
    if failure.dice is None:
        return f"{failure.title}: {failure.name} ({failure.group}), {load_words(failure.false_ml)} marked."
    missed = "all of it missed" if failure.dice == 0 else f"{load_words(failure.missed_ml)} missed"
    beside = f"{load_words(failure.false_ml)} marked outside" if failure.false_ml else "nothing marked outside"
    return (
        f"{failure.title}: {failure.name}, {load_words(failure.load_ml)} of lesions; Dice {failure.dice:.2f}, "
        f"{missed}, {beside}."
    )


COLUMNS = ("T1w scan", "enlarged", "truth", "marked", "P(lesion)")
TILE_IN = 1.75
CAPTION_IN = 0.2
HEADS_IN, LEGEND_IN = 0.2, 0.6
PIXELS_PER_INCH, JPEG_QUALITY = 110, 75
"""The picture stays below 500 kB, and can be committed to a repository."""
SMALLEST_FRAME_MM = 60.0
"""A smaller part would show voxels instead of anatomy."""
SCALE = f"P(lesion): from dark ({FAINT:g}) to bright (1). {NOT_CLINICAL}"


@dataclass(frozen=True, eq=False)
class FailureRow:
    """The slice of a case with most of a failure.

    Attributes:
        text: Sentence above the row.
        viewer: Display settings of the scan.
        grey: Axial slice of the scan.
        reference: Its true lesions.
        mask: Its lesions by the model.
        probability: Its P(lesion).
    """

    text: str
    viewer: Viewer
    grey: Float32[np.ndarray, "row column"]
    reference: Bool[np.ndarray, "row column"]
    mask: Bool[np.ndarray, "row column"]
    probability: Float32[np.ndarray, "row column"]

    @property
    def frame(self) -> Frame:
        """The part of the slice to enlarge: true and marked lesions with a margin."""
        width_mm = self.viewer.spacing_mm[0]
        marked = self.reference | self.mask
        frame = frame_around(marked, self.viewer.pixel_aspect, MARGIN_MM / width_mm)
        if not marked.any() or frame.width * width_mm >= SMALLEST_FRAME_MM:
            return frame
        # half of the missing width on each side
        wider_px = (SMALLEST_FRAME_MM / width_mm - frame.width) / 2
        return frame_around(marked, self.viewer.pixel_aspect, MARGIN_MM / width_mm + wider_px)


def show_failure(text: str, scan: Image, reference: Mask, marked: tuple[Mask, Probability], look: Look) -> FailureRow:
    """Choose the axial slice with most of a failure.

    Args:
        text: Sentence above the row.
        scan: The T1w scan.
        reference: True lesions on the scan's grid.
        marked: Lesions by the model, and P(lesion).
        look: Region to show; if it is empty, the true lesions, or else the middle of the scan.
    """
    mask, probability = marked
    sought = {"wrong": mask ^ reference, "missed": reference, "false": mask & ~reference}[look]
    viewer = view(scan)
    index = busiest_slice(viewer.reorient(sought if sought.any() else reference))
    slices = [cut(viewer.reorient(volume), index) for volume in (scan.voxels, reference, mask, probability)]
    return FailureRow(text, viewer, *slices)


def draw_failures(rows: Sequence[FailureRow], path: Path) -> None:
    """Draw failures, each below its sentence.

    Args:
        rows: At least one.
        path: JPEG to write.
    """
    heights = [TILE_IN * row.viewer.pixel_aspect * row.grey.shape[0] / row.grey.shape[1] for row in rows]
    total_in = sum(heights) + 2 * CAPTION_IN * len(rows) + HEADS_IN + LEGEND_IN
    figure = new_figure(TILE_IN * len(COLUMNS), total_in, dark=True)
    ratios = [part for height in heights for part in (CAPTION_IN, height)]
    grid = figure.add_gridspec(2 * len(rows), len(COLUMNS), height_ratios=ratios)
    for number, row in enumerate(rows):
        _write_text(figure.add_subplot(grid[2 * number, :]), row.text)
        tiles = [figure.add_subplot(grid[2 * number + 1, column]) for column in range(len(COLUMNS))]
        _draw_row(tiles, row)
        if number == 0:
            for axes, name in zip(tiles, COLUMNS, strict=True):
                axes.set_title(name, fontsize=9, color=PALE, fontweight="bold")
    legend_below(figure, LEGEND, f"{CONVENTION} {SCALE}")
    with written_whole(path) as partial:
        figure.savefig(partial, format="jpg", dpi=PIXELS_PER_INCH, pil_kwargs={"quality": JPEG_QUALITY})


def _write_text(axes: Axes, text: str) -> None:
    bare(axes)
    written = axes.text(0.01, 0.0, text, transform=axes.transAxes, ha="left", va="bottom", fontsize=8, color=PALE)
    written.set_in_layout(False)  # a long sentence must not narrow the slices


def _draw_row(tiles: Sequence[Axes], row: FailureRow) -> None:
    aspect = row.viewer.pixel_aspect
    for axes in tiles:
        show_slice(axes, row.grey, row.viewer)
    full, _, truth, marked, likely = tiles
    mark_frame(full, row.frame)
    outline(truth, row.reference, OUTLINE)
    marked.imshow(agreement(row.mask, row.reference), aspect=aspect, interpolation="nearest")
    show_probability(likely, row.probability, row.viewer)
    for axes in tiles[1:]:
        show_frame(axes, row.frame)
