"""Picture of a lesion overlap map: axial slices over the template, also with both sides on one hemisphere."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt16
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure

from mapping_stroke.dataset.grid import ATLAS_GRID, Grid
from mapping_stroke.report.slices import CONVENTION, cut, mark_right
from mapping_stroke.report.style import PALE, caption, new_figure, row_label, save_png
from mapping_stroke.space.template import Template, read_template

Counts = UInt16[np.ndarray, "x y z"]
HEIGHTS_MM = (-36, -21, -6, 9, 24, 39, 54)
"""Positions of the axial slices; the nearest one moves to the slice with the largest overlap."""
MAP = "plasma"
"""Its lightness rises evenly, so it can be read without colour vision, and its hues stand out from grey anatomy."""
DARKEST = 0.12
"""Share of the colours that is left out, since it is as dark as the ventricles."""
STEPS = 12
"""Up to so many scans, each number has a colour of its own."""
OPACITY = 0.85
BRIGHTEST = 1.5
"""Intensity of the template shown as white: dimmer anatomy lets the colours stand out."""


def draw_overlap(counts: Counts, mirrored: Counts, scans: int, path: Path) -> None:
    """Draw both maps, each with the same slices and its own colour bar, as PNG.

    Args:
        counts: Number of scans with a lesion at each voxel of `ATLAS_GRID`.
        mirrored: The same with the lesions of both sides on the left.
        scans: Number of scans in the maps.
        path: The picture.
    """
    heights = _heights(counts)
    figure = new_figure(1.35 * len(heights) + 0.8, 4.3, dark=True)
    grid = figure.subplots(2, len(heights))
    for row, values, title in ((grid[0], counts, "lesion overlap"), (grid[1], mirrored, "both sides on the left")):
        most = max(int(values.max()), 1)
        colours, norm = _scale(most)
        for axes, height_mm in zip(row, heights, strict=True):
            _draw_slice(axes, values, height_mm, colours, norm)
        row_label(row[0], title, 9)
        _colour_bar(figure, row, ScalarMappable(norm, colours), most)
    words = f"Number of scans with a lesion, of {scans}, in MNI152 space. {CONVENTION}"
    figure.supxlabel(words, fontsize=9, color=PALE)
    save_png(figure, path)


def _heights(counts: Counts) -> list[int]:
    """The slices, one of them through the largest overlap; of equal ones the lowest."""
    heights = list(HEIGHTS_MM)
    if counts.any():
        areas = counts.astype(np.int64).sum(axis=(0, 1)) * (counts.max(axis=(0, 1)) == counts.max())
        through = round(ATLAS_GRID.origin_mm[2] + int(areas.argmax()) * ATLAS_GRID.spacing_mm)
        heights[int(np.argmin([abs(height - through) for height in heights]))] = through
    return sorted(heights)


def _scale(most: int) -> tuple[Colormap, Normalize]:
    """Colours for 1 to `most` scans."""
    colours = ListedColormap(colormaps[MAP](np.linspace(DARKEST, 1, 256)))
    if most == 1:
        return colours, Normalize(0, 1)
    return colours, BoundaryNorm(np.arange(0.5, most + 1), colours.N) if most <= STEPS else Normalize(1, most)


def _draw_slice(axes: Axes, counts: Counts, height_mm: int, colours: Colormap, norm: Normalize) -> None:
    template = read_template()
    grey = cut(template.t1, _index(height_mm, _grid_of(template)))
    axes.imshow(grey, cmap="gray", vmin=0, vmax=BRIGHTEST, extent=_extent(_grid_of(template)), interpolation="bilinear")
    marked = cut(counts, _index(height_mm, ATLAS_GRID))
    shown = np.ma.masked_equal(marked, 0)
    axes.imshow(shown, cmap=colours, norm=norm, alpha=OPACITY, extent=_extent(ATLAS_GRID), interpolation="nearest")
    left, right, bottom, top = _extent(ATLAS_GRID)
    axes.set(xlim=(left - 18, right + 18), ylim=(bottom + 16, top - 14), aspect="equal")
    axes.set_axis_off()
    mark_right(axes)
    caption(axes, f"z = {height_mm} mm", 9)


def _colour_bar(figure: Figure, row: np.ndarray, colours: ScalarMappable, most: int) -> None:
    bar = figure.colorbar(colours, ax=list(row), fraction=0.02, pad=0.01, aspect=16)
    ticks = _ticks(most)
    bar.set_ticks(ticks, labels=[str(tick) for tick in ticks])
    bar.ax.minorticks_off()
    bar.ax.tick_params(colors=PALE, labelsize=9)
    bar.ax.spines["outline"].set_edgecolor(PALE)


def _ticks(most: int) -> list[int]:
    """Whole numbers from 1 to `most`, at most about eight of them."""
    step = -(-most // 8)
    inner = [number for number in range(step, most, step) if most - number >= step / 2]
    return sorted({1, *inner, most} if step < 3 else {*inner, most})


def _grid_of(template: Template) -> Grid:
    x, y, z = (float(edge) for edge in template.affine[:3, 3])
    a, b, c = template.t1.shape
    return Grid((a, b, c), template.spacing_mm, (x, y, z))


def _index(height_mm: int, grid: Grid) -> int:
    """The axial slice nearest to a height, within the grid."""
    return min(max(round((height_mm - grid.origin_mm[2]) / grid.spacing_mm), 0), grid.shape[2] - 1)


def _extent(grid: Grid) -> tuple[float, float, float, float]:
    """Outer faces of a slice in mm as `imshow` wants them: the patient's right is at the left, the front at the top."""
    (x, y), edge = grid.origin_mm[:2], grid.spacing_mm
    return (
        x + (grid.shape[0] - 0.5) * edge,
        x - edge / 2,
        y - edge / 2,
        y + (grid.shape[1] - 0.5) * edge,
    )
