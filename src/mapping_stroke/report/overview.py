"""Pictures of several scans: their lesions, or their brains and placement in MNI152 space."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from mapping_stroke.console import aligned, counted
from mapping_stroke.dataset.grid import ATLAS_GRID, Grid
from mapping_stroke.evaluation.metrics import dice
from mapping_stroke.images.image import Image, Mask, Probability
from mapping_stroke.inference.segmentation import LesionRow
from mapping_stroke.report.slices import (
    CONVENTION,
    FAINT,
    LESION_COLOUR,
    SCAN_BRAIN_COLOUR,
    Viewer,
    busiest_slice,
    cut,
    draw_native,
    mark_right,
    outline,
    reorient_to_ras,
    show_probability,
    show_scale,
    show_slice,
    view,
)
from mapping_stroke.report.style import (
    DARK,
    HUES,
    NOT_CLINICAL,
    OUTLINE,
    PALE,
    bare,
    legend_below,
    load_words,
    new_figure,
    row_label,
    save_png,
    short_id,
)
from mapping_stroke.space.brain import BrainSource
from mapping_stroke.space.placement import PlacedScan
from mapping_stroke.space.resample import resample
from mapping_stroke.space.template import read_template

Side = Literal["right", "left", "middle"]

TRUTH = HUES[5]
"""Colour of true lesions."""
TILE_IN, TEXT_IN = 2.3, 2.9
"""Widths of a slice and of the text next to it."""
LISTED = 6
MIDDLE_MM = 5.0
"""Lesions whose centre is closer to the middle of the head are on neither side."""


@dataclass(frozen=True, eq=False)
class Findings:
    """Results for a scan, on its grid.

    Attributes:
        mask: Lesion mask.
        probability: P(lesion).
        lesions: Lesions of the mask, largest first.
        truth: True lesions; None if unknown.
    """

    mask: Mask
    probability: Probability
    lesions: tuple[LesionRow, ...]
    truth: Mask | None = None


@dataclass(frozen=True, eq=False)
class FoundScan:
    """A row of the picture: one slice of a segmented scan, and the results for the scan.

    Attributes:
        name: Title of the row.
        note: Text below the title; may be empty.
        viewer: Display settings of the scan.
        index: Index of the axial slice.
        grey: Its anatomy.
        found: Its lesion mask.
        likely: Its P(lesion).
        truth: Its true lesions; None if unknown.
        lesions: All lesions found in the scan, largest first.
        true_ml: Volume of all true lesions; None if unknown.
        dice: Dice of the scan; None if unknown.
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
        """The side of a lesion's centre relative to the middle of the head, by the scan's header."""
        centre = [(side.stop - side.start - 1) / 2 for side in self.viewer.box]
        offset_mm = lesion.x_mm - float(self.viewer.ras_affine[0] @ [*centre, 1])
        if abs(offset_mm) < MIDDLE_MM:  # RAS: x increases to the right
            return "middle"
        return "right" if offset_mm > 0 else "left"


def look_at(name: str, scan: Image, findings: Findings, note: str = "") -> FoundScan:
    """Choose the axial slice with the largest area of true lesions, or else of marked ones, or else the middle one.

    Raises:
        GeometryError: A mask or the map has another shape than the scan.
    """
    viewer, truth = view(scan), findings.truth
    found = viewer.reorient(findings.mask)
    true = None if truth is None else viewer.reorient(truth)
    index = busiest_slice(found if true is None or not true.any() else true)
    return FoundScan(
        name=name,
        note=note,
        viewer=viewer,
        index=index,
        grey=cut(viewer.reorient(scan.voxels), index),
        found=cut(found, index),
        likely=cut(viewer.reorient(findings.probability), index),
        truth=None if true is None else cut(true, index),
        lesions=findings.lesions,
        true_ml=None if truth is None else np.count_nonzero(truth) * scan.voxel_volume_mm3 / 1000,
        dice=None if truth is None else dice(findings.mask, truth),
    )


def draw_overview(rows: Sequence[FoundScan], path: Path) -> None:
    """Draw a row for each scan: its slice, the slice with outlines of found (and true) lesions, and with P(lesion).

    Args:
        rows: At least one, from top to bottom.
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
            outline(outlined, row.truth, TRUTH, 2.4)  # wider, to stay visible below an equal border
        outline(outlined, row.found, OUTLINE, 1.0)
        show_probability(coloured, row.likely, row.viewer)
        _write_words(words, row)
    for axes, title in zip(grid[0], ("T1w scan", "Lesions found", "P(lesion)"), strict=False):
        axes.set_title(title, fontsize=10, color=PALE, fontweight="bold")
    _draw_scale(grid[-1, -1])
    handles = [Patch(facecolor=DARK, edgecolor=OUTLINE, label="lesion found")]
    if any(row.truth is not None for row in rows):
        handles.append(Patch(facecolor=DARK, edgecolor=TRUTH, label="true lesion, if known"))
    legend_below(figure, handles, f"{CONVENTION} {NOT_CLINICAL}")
    save_png(figure, path)


def _write_words(axes: Axes, row: FoundScan) -> None:
    bare(axes)
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
    """Draw the colours of P(lesion), below the text of the last row."""
    bar = axes.inset_axes((0.06, 0.07, 0.7, 0.035))
    show_scale(bar)
    bar.set_title(f"P(lesion); below {FAINT:g} not shown", fontsize=7.5, color=PALE, loc="left")


WINDOW = (1.0, 99.5)
"""Percentiles of the brain's intensities for black and white."""
TEMPLATE_BRAIN_COLOUR, TEMPLATE_WHITE_COLOUR = "#ff7ad9", "#e8e24a"
LINE_WIDTH = 0.6
WHITE_LEVEL = 0.72
"""Intensity of the template between grey and white matter, relative to its brightest."""
MARGIN_MM = 6.0
"""Margin around the template's brain."""
ROW_IN = 1.95
LEGEND_IN = 0.75
LABEL_SIZE = 7.5
PLACEMENT_CONVENTION = (
    "Upper row: the scan on its own grid, with its brain and lesions: no lesion may be cut off. Lower row: that brain "
    "in MNI152 space: the lines should follow the anatomy.\nThe patient's right (R), or front, is at the left."
)
LEGEND = (
    Line2D([], [], color=SCAN_BRAIN_COLOUR, label="brain of the scan, as extracted"),
    Line2D([], [], color=LESION_COLOUR, label="segmented lesion"),
    Line2D([], [], color=TEMPLATE_BRAIN_COLOUR, label="surface of the template's brain"),
    Line2D([], [], color=TEMPLATE_WHITE_COLOUR, label="its white matter"),
)
OUTLINED: Mapping[BrainSource, str] = {
    "network": "found by the network",
    "shown": "of a stripped scan",
    "template": "found by the template",
    "given": "as given",
}
"""Labels of the sources of brain masks."""


@dataclass(frozen=True, eq=False)
class PlacedRow:
    """A scan in the picture of placements.

    Attributes:
        name: Its label; may be empty.
        placed: Its brain and placement.
        shown: The scan on its own grid, defaced.
        lesion: Lesion mask on its grid; None if unknown.
    """

    name: str
    placed: PlacedScan
    shown: Image
    lesion: Mask | None = None

    @property
    def native_label(self) -> str:
        """Label of the row on its own grid."""
        brain = self.placed.brain
        return "\n".join(
            [*filter(None, [self.name]), f"brain {OUTLINED[brain.source]}", f"{brain.volume_ml(self.shown):.0f} mL"]
        )


@dataclass(frozen=True)
class Section:
    """A plane of MNI152 space: the axis across it (0 x, 1 y, 2 z), and its position along that."""

    axis: int
    place_mm: float

    @property
    def grid(self) -> Grid:
        """One layer of 1 mm voxels, with the extent of the ATLAS grid."""
        shape, origin_mm = list(ATLAS_GRID.shape), list(ATLAS_GRID.origin_mm)
        shape[self.axis], origin_mm[self.axis] = 1, self.place_mm
        return Grid((shape[0], shape[1], shape[2]), 1.0, (origin_mm[0], origin_mm[1], origin_mm[2]))

    @property
    def title(self) -> str:
        """Its position."""
        return f"{'xyz'[self.axis]} = {self.place_mm:.0f} mm"


SECTIONS = (Section(2, -30.0), Section(2, 5.0), Section(2, 35.0), Section(1, -20.0), Section(0, 10.0))


def draw_placements(scans: Sequence[PlacedRow], path: Path) -> None:
    """Draw two rows of sections for each scan: on its own grid, and in MNI152 space with the template's outlines.

    On its own grid, the brain and the lesions are outlined; in MNI152 space, only the brain is shown.

    Args:
        scans: At least one.
        path: PNG to write.
    """
    widths = [np.ptp(_limits(section)[0]) for section in SECTIONS]
    height_mm = max(float(np.ptp(_limits(section)[1])) for section in SECTIONS)
    width_in = ROW_IN * sum(widths) / height_mm + 0.5
    figure = new_figure(width_in, 2 * ROW_IN * len(scans) + LEGEND_IN, dark=True)
    grid = figure.subplots(2 * len(scans), len(SECTIONS), squeeze=False, width_ratios=widths)
    for native, in_mni, scan in zip(grid[::2], grid[1::2], scans, strict=True):
        draw_native(list(native), reorient_to_ras(scan.shown, scan.placed.brain.mask, scan.lesion))
        row_label(native[0], scan.native_label, LABEL_SIZE)
        _draw_row(list(in_mni), scan.placed)
        row_label(in_mni[0], "\n".join(["MNI152", *scan.placed.quality.lines()]), LABEL_SIZE)
        for axes, section in zip(in_mni, SECTIONS, strict=True):
            axes.set_title(section.title, fontsize=8, color=PALE)
    legend_below(figure, LEGEND, PLACEMENT_CONVENTION)
    save_png(figure, path)


def _draw_row(row: Sequence[Axes], scan: PlacedScan) -> None:
    shown = [scan.on_atlas(section.grid, brain_only=True).voxels for section in SECTIONS]
    # one window for all sections of a scan
    inside = np.concatenate([values[values != 0] for values in shown])
    low, high = np.percentile(inside, WINDOW) if inside.size else (0.0, 1.0)
    for axes, section, values in zip(row, SECTIONS, shown, strict=True):
        across, up = _sides(section)
        extent = (across[0] - 0.5, across[-1] + 0.5, up[0] - 0.5, up[-1] + 0.5)
        picture = np.where(values == 0, low, values).squeeze(section.axis).T  # black around the brain
        axes.imshow(picture, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), origin="lower", extent=extent)
        for volume, colour in zip(_template_on(section), (TEMPLATE_BRAIN_COLOUR, TEMPLATE_WHITE_COLOUR), strict=True):
            axes.contour(across, up, volume.squeeze(section.axis).T, [0.5], colors=[colour], linewidths=LINE_WIDTH)
        (left, right), (bottom, top) = _limits(section)
        axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
        bare(axes)
        if section.axis != 0:
            mark_right(axes)


def _sides(section: Section) -> tuple[np.ndarray, np.ndarray]:
    """Positions in millimetres of the voxels along the two axes within a section."""
    first, second = (
        origin + np.arange(length, dtype=np.float64)
        for axis, (origin, length) in enumerate(zip(ATLAS_GRID.origin_mm, ATLAS_GRID.shape, strict=True))
        if axis != section.axis
    )
    return first, second


def _limits(section: Section) -> tuple[tuple[float, float], tuple[float, float]]:
    """Limits of a section's picture: from left to right (millimetres decrease), and from bottom to top."""
    template = read_template()
    index = np.argwhere(template.brain > 0.5)
    low, high = (
        template.affine[:3, :3] @ edge + template.affine[:3, 3] + sign * MARGIN_MM
        for edge, sign in ((index.min(axis=0), -1), (index.max(axis=0), 1))
    )
    across, up = (axis for axis in range(3) if axis != section.axis)
    return (float(high[across]), float(low[across])), (float(low[up]), float(high[up]))


@cache
def _template_on(section: Section) -> tuple[Float32[np.ndarray, "x y z"], Float32[np.ndarray, "x y z"]]:
    """The template's brain and white matter, each above 0.5."""
    template, grid = read_template(), section.grid
    to_template = np.linalg.inv(template.affine) @ grid.affine
    brain, t1 = (resample(part, to_template, grid.shape) for part in (template.brain, template.t1))
    # the 95th percentile is the brightest tissue, without single bright voxels
    level = WHITE_LEVEL * float(np.quantile(template.t1[template.brain > 0.5], 0.95))
    return brain, 0.5 * t1 / np.float32(level)
