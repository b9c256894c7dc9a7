"""Several segmented scans in one picture: a row each, with the anatomy, what was found, and how likely it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from mapping_stroke.console import aligned, counted
from mapping_stroke.evaluation.metrics import dice
from mapping_stroke.image import Image, Mask, Probability
from mapping_stroke.inference.segmentation import LesionRow
from mapping_stroke.report.names import load_words, short_id
from mapping_stroke.report.slices import (
    CONVENTION,
    FAINT,
    Viewer,
    busiest_slice,
    cut,
    outline,
    show_probability,
    show_scale,
    show_slice,
    view,
)
from mapping_stroke.report.style import DARK, HUES, NOT_CLINICAL, OUTLINE, PALE, legend_below, new_figure, save_png

Side = Literal["right", "left", "middle"]

TRUTH = HUES[5]
"""Border of a true lesion."""
TILE_IN, TEXT_IN = 2.3, 2.9
"""Widths of a slice and of the words beside it."""
LISTED = 6
MIDDLE_MM = 5.0
"""A lesion whose centre is nearer than this to the middle of the head is on no side."""


@dataclass(frozen=True, eq=False)
class Findings:
    """What was found in a scan, on its grid.

    Attributes:
        mask: What is marked.
        probability: P(lesion).
        lesions: The lesions of the mask, largest first.
        truth: The true lesions; None where they are not known.
    """

    mask: Mask
    probability: Probability
    lesions: tuple[LesionRow, ...]
    truth: Mask | None = None


@dataclass(frozen=True, eq=False)
class FoundScan:
    """One slice of a segmented scan, and what was found in the whole scan: a row of the picture.

    Attributes:
        name: What the row is called.
        note: What is said below that; may be empty.
        viewer: How the scan is shown.
        index: Which axial slice.
        grey: Its anatomy.
        found: What is marked in it.
        likely: P(lesion) in it.
        truth: The true lesions in it; None where they are not known.
        lesions: All that were found in the scan, largest first.
        true_ml: Volume of all true lesions; None where they are not known.
        dice: Of the whole scan; None where the truth is not known.
    """

    name: str
    note: str
    viewer: Viewer
    index: int
    grey: Float32[np.ndarray, "row column"]
    found: Bool[np.ndarray, "row column"]
    likely: Float32[np.ndarray, "row column"]
    truth: Bool[np.ndarray, "row column"] | None
    lesions: tuple[LesionRow, ...]
    true_ml: float | None
    dice: float | None

    @property
    def load_ml(self) -> float:
        """Volume of all lesions found."""
        return sum(lesion.volume_ml for lesion in self.lesions)

    def side(self, lesion: LesionRow) -> Side:
        """On which side of the head's middle a lesion has its centre, as the scan's header places it."""
        centre = [(side.stop - side.start - 1) / 2 for side in self.viewer.box]
        offset_mm = lesion.x_mm - float(self.viewer.ras_affine[0] @ [*centre, 1])
        if abs(offset_mm) < MIDDLE_MM:
            return "middle"
        return "right" if offset_mm > 0 else "left"


def look_at(name: str, scan: Image, findings: Findings, note: str = "") -> FoundScan:
    """Take the axial slice in which most is truly lesion, or else marked; the middle one where nothing is.

    Raises:
        GeometryError: A mask or the map has another shape than the scan.
    """
    viewer, truth = view(scan), findings.truth
    found = viewer.turn(findings.mask)
    true = None if truth is None else viewer.turn(truth)
    index = busiest_slice(found if true is None or not true.any() else true)
    return FoundScan(
        name=name,
        note=note,
        viewer=viewer,
        index=index,
        grey=cut(viewer.turn(scan.voxels), index),
        found=cut(found, index),
        likely=cut(viewer.turn(findings.probability), index),
        truth=None if true is None else cut(true, index),
        lesions=findings.lesions,
        true_ml=None if truth is None else np.count_nonzero(truth) * scan.voxel_volume_mm3 / 1000,
        dice=None if truth is None else dice(findings.mask, truth),
    )


def draw_overview(rows: Sequence[FoundScan], path: Path) -> None:
    """Draw a row for each scan: its slice, the same with what was found (and the truth) outlined, and P(lesion).

    Args:
        rows: From top to bottom; at least one.
        path: PNG to write.
    """
    heights = [TILE_IN * row.viewer.pixel_aspect * row.grey.shape[0] / row.grey.shape[1] for row in rows]
    figure = new_figure(3 * TILE_IN + TEXT_IN, sum(heights) + 0.1 * len(rows) + 1.0, dark=True)
    grid = figure.subplots(
        len(rows), 4, squeeze=False, height_ratios=heights, width_ratios=[TILE_IN, TILE_IN, TILE_IN, TEXT_IN]
    )
    for (plain, outlined, coloured, words), row in zip(grid, rows, strict=True):
        for axes in (plain, outlined, coloured):
            show_slice(axes, row.grey, row.viewer)
        if row.truth is not None:
            outline(outlined, row.truth, TRUTH, 2.4)  # wider: it is seen below a border that is the same
        outline(outlined, row.found, OUTLINE, 1.0)
        show_probability(coloured, row.likely, row.viewer)
        _write_words(words, row)
    for axes, title in zip(grid[0], ("T1w scan", "Lesions found", "P(lesion)"), strict=False):
        axes.set_title(title, fontsize=10, color=PALE, fontweight="bold")
    _draw_scale(grid[-1, -1])
    handles = [Patch(facecolor=DARK, edgecolor=OUTLINE, label="lesion found")]
    if any(row.truth is not None for row in rows):
        handles.append(Patch(facecolor=DARK, edgecolor=TRUTH, label="true lesion, where it is known"))
    legend_below(figure, handles, f"{CONVENTION} {NOT_CLINICAL}")
    save_png(figure, path)


def _write_words(axes: Axes, row: FoundScan) -> None:
    axes.set_axis_off()
    found = (
        f"{counted(len(row.lesions), 'lesion')} found, {load_words(row.load_ml)}" if row.lesions else "No lesion found"
    )
    table = [["", "volume", "side", "mean P"]] if row.lesions else []
    for lesion in row.lesions[:LISTED]:
        volume, certainty = load_words(lesion.volume_ml), f"{lesion.mean_probability:.2f}"
        table.append([str(lesion.lesion), volume, row.side(lesion), certainty])
    lines = aligned(table) if table else []
    if len(row.lesions) > LISTED:
        lines.append(f"and {len(row.lesions) - LISTED} smaller")
    if row.true_ml is not None:
        lines += ["", f"truth: {load_words(row.true_ml)}, Dice {row.dice:.2f}"]
    lines += ["", f"slice at z = {row.viewer.z_mm(row.index):.0f} mm"]
    words = ((0.97, short_id(row.name), 10.5, "bold"), (0.88, row.note, 8.0, "normal"), (0.77, found, 9.5, "bold"))
    for height, text, size, weight in words:
        axes.text(0.06, height, text, transform=axes.transAxes, va="top", fontsize=size, color=PALE, fontweight=weight)
    axes.text(
        0.06, 0.67, "\n".join(lines), transform=axes.transAxes, va="top", fontsize=8, color=PALE, family="monospace"
    )


def _draw_scale(axes: Axes) -> None:
    """The colours of P(lesion), below the words of the last row."""
    bar = axes.inset_axes((0.06, 0.07, 0.7, 0.035))
    show_scale(bar)
    bar.set_title(f"P(lesion); below {FAINT:g} not shown", fontsize=7.5, color=PALE, loc="left")
