"""Where a model fails, in one picture: a row for each case, with the scan, the truth and what the model says."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32
from matplotlib.axes import Axes

from mapping_stroke.evaluation.failures import Look
from mapping_stroke.files import written_whole
from mapping_stroke.image import Image, Mask, Probability
from mapping_stroke.report.figures import LEGEND, MARGIN_MM, agreement
from mapping_stroke.report.slices import (
    CONVENTION,
    FAINT,
    Frame,
    Viewer,
    busiest_slice,
    cut,
    frame_around,
    mark_frame,
    outline,
    show_frame,
    show_probability,
    show_slice,
    view,
)
from mapping_stroke.report.style import NOT_CLINICAL, OUTLINE, PALE, legend_below, new_figure

COLUMNS = ("T1w scan", "enlarged", "truth", "marked", "P(lesion)")
TILE_IN = 1.75
CAPTION_IN = 0.2
HEADS_IN, LEGEND_IN = 0.2, 0.6
PIXELS_PER_INCH, JPEG_QUALITY = 110, 75
"""A picture of all rows stays below 500 kB, and may stand in a repository."""
SMALLEST_FRAME_MM = 60.0
"""A smaller part would show voxels, not anatomy."""
SCALE = f"P(lesion): from dark ({FAINT:g}) to bright (1). {NOT_CLINICAL}"


@dataclass(frozen=True, eq=False)
class FailureRow:
    """The slice of one case that shows a failure best.

    Attributes:
        text: Sentence above the row.
        viewer: How the scan is shown.
        grey: The scan's axial slice.
        reference: The true lesions there.
        mask: What the model marks there.
        probability: P(lesion) there.
    """

    text: str
    viewer: Viewer
    grey: Float32[np.ndarray, "row column"]
    reference: Bool[np.ndarray, "row column"]
    mask: Bool[np.ndarray, "row column"]
    probability: Float32[np.ndarray, "row column"]

    @property
    def frame(self) -> Frame:
        """What is enlarged: the lesions and all that is marked in the slice, with some anatomy around."""
        width_mm = self.viewer.spacing_mm[0]
        marked = self.reference | self.mask
        frame = frame_around(marked, self.viewer.pixel_aspect, MARGIN_MM / width_mm)
        if not marked.any() or frame.width * width_mm >= SMALLEST_FRAME_MM:
            return frame
        wider_px = (SMALLEST_FRAME_MM / width_mm - frame.width) / 2
        return frame_around(marked, self.viewer.pixel_aspect, MARGIN_MM / width_mm + wider_px)


def show_failure(text: str, scan: Image, reference: Mask, marked: tuple[Mask, Probability], look: Look) -> FailureRow:
    """Take the axial slice in which most of a failure lies.

    Args:
        text: Sentence above the row.
        scan: The T1w scan.
        reference: Its lesions, on the scan's grid.
        marked: What the model marks there, and P(lesion).
        look: What must be seen; where there is nothing of it, the lesions, or else the middle of the scan.
    """
    mask, probability = marked
    sought = {"wrong": mask ^ reference, "missed": reference, "false": mask & ~reference}[look]
    viewer = view(scan)
    index = busiest_slice(viewer.turn(sought if sought.any() else reference))
    slices = [cut(viewer.turn(volume), index) for volume in (scan.voxels, reference, mask, probability)]
    return FailureRow(text, viewer, *slices)


def draw_failures(rows: Sequence[FailureRow], path: Path) -> None:
    """Draw the rows, each under its number and sentence.

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
    axes.set_axis_off()
    written = axes.text(0.01, 0.0, text, transform=axes.transAxes, ha="left", va="bottom", fontsize=8, color=PALE)
    written.set_in_layout(False)


def _draw_row(tiles: Sequence[Axes], row: FailureRow) -> None:
    aspect = row.viewer.pixel_aspect
    for axes in tiles:
        show_slice(axes, row.grey, row.viewer)
    whole, _, truth, marked, likely = tiles
    mark_frame(whole, row.frame)
    outline(truth, row.reference, OUTLINE)
    marked.imshow(agreement(row.mask, row.reference), aspect=aspect, interpolation="nearest")
    show_probability(likely, row.probability, row.viewer)
    for axes in tiles[1:]:
        show_frame(axes, row.frame)
