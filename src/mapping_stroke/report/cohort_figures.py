"""Figures about all scans of a folder: the overlap maps, and the lesion loads."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt16
from markupsafe import Markup, escape
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure

from mapping_stroke.console import counted
from mapping_stroke.dataset.grid import ATLAS_GRID, Grid
from mapping_stroke.report.slices import CONVENTION, cut, mark_right
from mapping_stroke.report.style import PALE, bare, caption, new_figure, row_label, save_png
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
    bare(axes)
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


BARS_PER_DECADE = 4
LEAST_ML, MOST_ML = 0.1, 100.0
"""The axis reaches at least from here to there, so that pages can be compared."""
WIDTH, HEIGHT = 760, 230
LEFT, RIGHT, TOP, BOTTOM = 46, 24, 14, 44
"""Margins around the bars."""
NONE_WIDTH, GAP = 44, 22
"""The bar of scans without lesions, and its distance from the axis."""


@dataclass(frozen=True)
class Bar:
    """Scans with a volume of at least `low_ml` and below `high_ml`."""

    low_ml: float
    high_ml: float
    scans: int


def volume_bars(volumes_ml: Sequence[float]) -> tuple[int, list[Bar]]:
    """Number of scans without lesions, and bars of equal width on a logarithmic axis that hold all others."""
    marked = [volume for volume in volumes_ml if volume > 0]
    first = math.floor(math.log10(min([LEAST_ML, *marked])))
    last = math.floor(math.log10(max([MOST_ML / 1.001, *marked]))) + 1
    edges = np.logspace(first, last, (last - first) * BARS_PER_DECADE + 1)
    at = np.searchsorted(edges, marked, side="right") - 1
    counts = np.bincount(np.clip(at, 0, len(edges) - 2), minlength=len(edges) - 1)
    bars = [Bar(float(low), float(high), int(n)) for low, high, n in zip(edges[:-1], edges[1:], counts, strict=True)]
    return len(volumes_ml) - len(marked), bars


def draw_volumes(volumes_ml: Sequence[float]) -> Markup:
    """The histogram as SVG, whose colours are those of the page."""
    none, bars = volume_bars(volumes_ml)
    most = max([none, *(bar.scans for bar in bars), 1])
    step = _step(most)
    top = -(-most // step) * step
    start = LEFT + (NONE_WIDTH + GAP if none else 0)
    width = (WIDTH - RIGHT - start) / len(bars)
    parts = [_count_axis(top, step)]
    if none:
        parts.append(_bar(LEFT + 4, NONE_WIDTH - 4, none, top, f"{counted(none, 'scan')} without lesions"))
        parts.append(_text(LEFT + NONE_WIDTH / 2 + 2, HEIGHT - BOTTOM + 16, "none"))
    for number, bar in enumerate(bars):
        words = f"{counted(bar.scans, 'scan')} from {bar.low_ml:.3g} to {bar.high_ml:.3g} mL"
        if bar.scans:
            parts.append(_bar(start + number * width + 0.5, width - 1, bar.scans, top, words))
        if number % BARS_PER_DECADE == 0:
            parts.append(_tick(start + number * width, bar.low_ml))
    parts.append(_tick(WIDTH - RIGHT, bars[-1].high_ml))
    parts.append(_line(start, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM))
    parts.append(_text((start + WIDTH - RIGHT) / 2, HEIGHT - 8, "volume of all lesions, mL (logarithmic)"))
    label = f"Histogram of the lesion volumes of {counted(len(volumes_ml), 'scan')}"
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, HEIGHT, label, Markup("").join(parts)
    )


def _step(most: int) -> int:
    """Distance of the numbers on the axis of counts: 1, 2 or 5 times a power of ten, for at most five of them."""
    decade = 10 ** max(math.floor(math.log10(most / 5)), 0) if most > 5 else 1
    return next(step for factor in (1, 2, 5, 10) if (step := factor * decade) * 5 >= most)


def _count_axis(top: int, step: int) -> Markup:
    lines = []
    for count in range(0, top + 1, step):
        y = _y(count, top)
        lines.append(_line(LEFT, y, WIDTH - RIGHT, y, "grid"))
        lines.append(_text(LEFT - 6, y + 4, str(count), "end"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    turned = Markup('<text x="12" y="{0}" text-anchor="middle" transform="rotate(-90 12 {0})">scans</text>')
    return Markup("").join([*lines, turned.format(round(middle, 1))])


def _tick(x: float, volume_ml: float) -> Markup:
    bottom = HEIGHT - BOTTOM
    return _line(x, bottom, x, bottom + 5) + _text(x, bottom + 17, f"{volume_ml:g}")


def _bar(x: float, width: float, scans: int, top: int, words: str) -> Markup:
    y = _y(scans, top)
    shape = Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}</title></rect>')
    return shape.format(x, y, width, HEIGHT - BOTTOM - y, words)


def _y(count: int, top: int) -> float:
    return HEIGHT - BOTTOM - count / top * (HEIGHT - BOTTOM - TOP)


def _line(x1: float, y1: float, x2: float, y2: float, kind: str = "axis") -> Markup:
    return Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(kind, x1, y1, x2, y2)


def _text(x: float, y: float, words: str, anchor: str = "middle") -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, escape(words))
