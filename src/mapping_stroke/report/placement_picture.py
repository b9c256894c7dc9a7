"""How scans were placed in MNI152 space, to be checked by eye: sections with the template's outlines, brains alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from mapping_stroke.dataset.grid import ATLAS_GRID, Grid
from mapping_stroke.report.style import DARK, PALE, legend_below, new_figure, row_label, save_png
from mapping_stroke.space.placed import PlacedScan
from mapping_stroke.space.resample import resample
from mapping_stroke.space.template import read_template

WINDOW = (1.0, 99.5)
"""Percentiles of the brain's intensities that are shown black and white."""
BRAIN_COLOUR, WHITE_COLOUR = "#ffb000", "#00c8ff"
LINE_WIDTH = 0.6
WHITE_LEVEL = 0.72
"""Of the template's intensities, its brightest as 1: between grey and white matter."""
MARGIN_MM = 6.0
"""Around the template's brain; nothing farther out can be brain."""
ROW_IN = 1.75
LEGEND_IN = 0.5
CONVENTION = "The patient's right (R), or front, is at the left. Brains only. The lines should follow the anatomy."
LEGEND = (
    Line2D([], [], color=BRAIN_COLOUR, label="surface of the template's brain"),
    Line2D([], [], color=WHITE_COLOUR, label="its white matter"),
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


def draw_placements(placed: Mapping[str, PlacedScan], path: Path) -> None:
    """Draw a row of sections for each scan: its brain in MNI152 space, with the outlines of the template on it.

    What was not found to be brain is left out, so that no face is seen.

    Args:
        placed: Scans by what is to be written beside them; at least one.
        path: PNG to write.
    """
    widths = [np.ptp(_limits(section)[0]) for section in SECTIONS]
    height_mm = max(float(np.ptp(_limits(section)[1])) for section in SECTIONS)
    width_in = ROW_IN * sum(widths) / height_mm + 0.3
    figure = new_figure(width_in, ROW_IN * len(placed) + LEGEND_IN, dark=True)
    grid = figure.subplots(len(placed), len(SECTIONS), squeeze=False, width_ratios=widths)
    for row, (label, scan) in zip(grid, placed.items(), strict=True):
        _draw_row(list(row), scan)
        row_label(row[0], label, 7.5)
    for axes, section in zip(grid[0], SECTIONS, strict=True):
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
        for volume, colour in zip(_template_on(section), (BRAIN_COLOUR, WHITE_COLOUR), strict=True):
            axes.contour(across, up, volume.squeeze(section.axis).T, [0.5], colors=[colour], linewidths=LINE_WIDTH)
        (left, right), (bottom, top) = _limits(section)
        axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
        axes.set_axis_off()
        if section.axis != 0:
            mark = axes.text(0.02, 0.98, "R", transform=axes.transAxes, fontsize=7.5, color=PALE, ha="left", va="top")
            mark.set_path_effects([withStroke(linewidth=1.5, foreground=DARK)])


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
