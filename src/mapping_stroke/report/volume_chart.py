"""The distribution of lesion volumes as a drawing within an HTML page: a histogram on a logarithmic axis."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

from mapping_stroke.console import counted

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
