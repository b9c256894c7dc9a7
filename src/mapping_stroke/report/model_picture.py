"""A model in one picture: Dice of every case over its lesion load, and what is marked where there is none."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from mapping_stroke.evaluation.cohort_scores import DISJOINT_GROUPS, CohortScores
from mapping_stroke.evaluation.false_positives import BESIDE, MarkedScan, volumes_ml
from mapping_stroke.report.model_page import FINAL, Judgement
from mapping_stroke.report.style import HUES, INK, MUTED, new_figure, no_data, plain_axes, save_png, side_note

FEWEST = 3
"""No interval is drawn for fewer cases."""
SMALLEST_ML = 0.01
"""Smaller false volumes, 0 too, are drawn here."""


def draw_evaluation(judgement: Judgement, path: Path) -> None:
    """Draw the ensemble with the model's own rule; it says so where there is nothing to draw.

    Args:
        judgement: What the model did.
        path: PNG to write.
    """
    figure = new_figure(9.6, 3.8)
    left, right = figure.subplots(1, 2, width_ratios=(2.1, 1))
    plain_axes(left, "Dice by lesion load", "lesion load of a case (mL, logarithmic)", "Dice")
    _draw_cases(left, judgement.scores)
    without = [scan for group, scans in judgement.marked.items() if group != BESIDE for scan in scans]
    plain_axes(right, f"{len(without)} scans without lesion", "marked (mL, logarithmic)", "")
    _draw_without(right, judgement, without)
    save_png(figure, path)


def _draw_cases(axes: Axes, scores: CohortScores) -> None:
    loads_ml, dice = scores.loads_ml, scores.values(FINAL, "dice")
    seen = loads_ml > 0
    if not seen.any():
        no_data(axes, "no case with a lesion")
        return
    axes.plot(loads_ml[seen], dice[seen], "o", color=HUES[0], markersize=4.5, alpha=0.55, markeredgewidth=0)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    for group in DISJOINT_GROUPS:
        inside = group.holds(loads_ml) & seen
        if inside.any():
            found = scores.estimate(FINAL, "dice", group)
            ends = [loads_ml[inside].min() / 1.06, loads_ml[inside].max() * 1.06]
            axes.plot(ends, [found.mean] * 2, color=HUES[1], linewidth=2.5)
            if inside.sum() >= FEWEST:
                axes.fill_between(ends, found.low, found.high, color=HUES[1], alpha=0.18, linewidth=0)
    axes.set_ylim(-0.03, 1.03)
    side_note(axes, f"rule mapping, {seen.sum()} cases; bars: means, 95 % intervals")


def _draw_without(axes: Axes, judgement: Judgement, scans: Sequence[MarkedScan]) -> None:
    """One line of dots for each method of the ensemble, its median as a stroke."""
    methods = [method for method in judgement.labels if method not in judgement.members]
    if not scans:
        no_data(axes, "no scan without lesion was given")
        return
    for place, method in enumerate(reversed(methods)):
        false_ml = volumes_ml(scans, method)
        shown = np.maximum(false_ml, SMALLEST_ML)
        axes.plot(shown, place + _spread(shown), "o", color=HUES[0], markersize=4, alpha=0.55, markeredgewidth=0)
        median = max(float(np.median(false_ml)), SMALLEST_ML)
        axes.plot([median] * 2, [place - 0.32, place + 0.32], color=HUES[1], linewidth=2.5)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"≤ {value:g}" if value <= SMALLEST_ML else f"{value:g}")
    axes.axvline(1.0, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    labels = [judgement.labels[method].removeprefix("ensemble, ") for method in reversed(methods)]
    axes.set_yticks(range(len(methods)), labels, color=INK)
    axes.set_ylim(-0.6, len(methods) - 0.4)
    side_note(axes, "strokes: medians")


def _spread(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Small shifts that let equal dots be told apart, always the same."""
    return np.linspace(-0.2, 0.2, len(values)) if len(values) > 1 else np.zeros(len(values))
