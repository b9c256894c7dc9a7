"""The brains that were found in scans, and where they lie in MNI152 space, to be checked by eye: no faces."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from mapping_stroke.dataset.grid import ATLAS_GRID, Grid
from mapping_stroke.image import Image, Mask
from mapping_stroke.report.native_sections import (
    LESION_COLOUR,
    SCAN_BRAIN_COLOUR,
    draw_native,
    mark_right,
    turn_to_ras,
)
from mapping_stroke.report.style import PALE, legend_below, new_figure, row_label, save_png
from mapping_stroke.space.brain import BrainSource
from mapping_stroke.space.placed import PlacedScan
from mapping_stroke.space.resample import resample
from mapping_stroke.space.template import read_template

WINDOW = (1.0, 99.5)
"""Percentiles of the brain's intensities that are shown black and white."""
TEMPLATE_BRAIN_COLOUR, TEMPLATE_WHITE_COLOUR = "#ff7ad9", "#e8e24a"
LINE_WIDTH = 0.6
WHITE_LEVEL = 0.72
"""Of the template's intensities, its brightest as 1: between grey and white matter."""
MARGIN_MM = 6.0
"""Around the template's brain; nothing farther out can be brain."""
ROW_IN = 1.95
LEGEND_IN = 0.75
LABEL_SIZE = 7.5
CONVENTION = (
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
"""What says where the brain is."""


@dataclass(frozen=True, eq=False)
class PlacedRow:
    """A scan of the picture.

    Attributes:
        name: What to call it; may be empty.
        placed: Its brain and place.
        shown: The scan as its file has it, its face hidden: see `hide_head`.
        lesion: Its lesions, on its grid; None if none are known.
    """

    name: str
    placed: PlacedScan
    shown: Image
    lesion: Mask | None = None

    @property
    def native_label(self) -> str:
        """What is written beside its own grid."""
        brain = self.placed.brain
        return "\n".join(
            [*filter(None, [self.name]), f"brain {OUTLINED[brain.source]}", f"{brain.volume_ml(self.shown):.0f} mL"]
        )


@dataclass(frozen=True)
class Section:
    """A plane of MNI152 space: the axis across it (0 x, 1 y, 2 z), and where that is cut."""

    axis: int
    place_mm: float

    @property
    def grid(self) -> Grid:
        """One layer of voxels of 1 mm, the sides as of the ATLAS grid."""
        shape, origin_mm = list(ATLAS_GRID.shape), list(ATLAS_GRID.origin_mm)
        shape[self.axis], origin_mm[self.axis] = 1, self.place_mm
        return Grid((shape[0], shape[1], shape[2]), 1.0, (origin_mm[0], origin_mm[1], origin_mm[2]))

    @property
    def title(self) -> str:
        """Where it is."""
        return f"{'xyz'[self.axis]} = {self.place_mm:.0f} mm"


SECTIONS = (Section(2, -30.0), Section(2, 5.0), Section(2, 35.0), Section(1, -20.0), Section(0, 10.0))


def draw_placements(scans: Sequence[PlacedRow], path: Path) -> None:
    """Draw two rows of sections for each scan: on its own grid, and in MNI152 space with the template's outlines on it.

    On its own grid the outlines of its brain and lesions are seen, and of what is around the brain what `shown` still
    has; in MNI152 space the brain alone.

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
        draw_native(list(native), turn_to_ras(scan.shown, scan.placed.brain.mask, scan.lesion))
        row_label(native[0], scan.native_label, LABEL_SIZE)
        _draw_row(list(in_mni), scan.placed)
        row_label(in_mni[0], "\n".join(["MNI152", *scan.placed.quality.lines()]), LABEL_SIZE)
        for axes, section in zip(in_mni, SECTIONS, strict=True):
            axes.set_title(section.title, fontsize=8, color=PALE)
    legend_below(figure, LEGEND, CONVENTION)
    save_png(figure, path)


def _draw_row(row: Sequence[Axes], scan: PlacedScan) -> None:
    shown = [scan.on_atlas(section.grid, brain_only=True).voxels for section in SECTIONS]
    inside = np.concatenate([values[values != 0] for values in shown])
    low, high = np.percentile(inside, WINDOW) if inside.size else (0.0, 1.0)
    for axes, section, values in zip(row, SECTIONS, shown, strict=True):
        across, up = _sides(section)
        extent = (across[0] - 0.5, across[-1] + 0.5, up[0] - 0.5, up[-1] + 0.5)
        picture = np.where(values == 0, low, values).squeeze(section.axis).T
        axes.imshow(picture, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), origin="lower", extent=extent)
        for volume, colour in zip(_template_on(section), (TEMPLATE_BRAIN_COLOUR, TEMPLATE_WHITE_COLOUR), strict=True):
            axes.contour(across, up, volume.squeeze(section.axis).T, [0.5], colors=[colour], linewidths=LINE_WIDTH)
        (left, right), (bottom, top) = _limits(section)
        axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
        axes.set_axis_off()
        if section.axis != 0:
            mark_right(axes)


def _sides(section: Section) -> tuple[np.ndarray, np.ndarray]:
    """Millimetres of the voxels along the two axes within a section."""
    first, second = (
        origin + np.arange(length, dtype=np.float64)
        for axis, (origin, length) in enumerate(zip(ATLAS_GRID.origin_mm, ATLAS_GRID.shape, strict=True))
        if axis != section.axis
    )
    return first, second


def _limits(section: Section) -> tuple[tuple[float, float], tuple[float, float]]:
    """What is shown of a section: from left to right, where millimetres fall, and from bottom to top."""
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
    """The template's brain, and its white matter, above 0.5 each."""
    template, grid = read_template(), section.grid
    to_template = np.linalg.inv(template.affine) @ grid.affine
    brain, t1 = (resample(part, to_template, grid.shape) for part in (template.brain, template.t1))
    level = WHITE_LEVEL * float(np.quantile(template.t1[template.brain > 0.5], 0.95))
    return brain, 0.5 * t1 / np.float32(level)
