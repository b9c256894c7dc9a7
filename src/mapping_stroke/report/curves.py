"""Learning curves, a model's Dice over lesion load, and Dice over the number of schemes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from mapping_stroke.console import counted
from mapping_stroke.errors import CaseError
from mapping_stroke.evaluation.cohorts import BESIDE, DISJOINT_GROUPS, CohortScores, MarkedScan, volumes_ml
from mapping_stroke.evaluation.contributions import GREEDY, JOINS, LEFT_OUT, RANDOM, Step
from mapping_stroke.evaluation.tables import order_methods
from mapping_stroke.files import read_csv
from mapping_stroke.report.model_pages import FINAL, Evaluation
from mapping_stroke.report.style import (
    HUES,
    INK,
    MUTED,
    bar_ends,
    method_label,
    new_figure,
    no_data,
    plain_axes,
    save_png,
    side_note,
)

Curve = Float64[np.ndarray, " epochs"]

SMOOTH_FROM = 60
"""With this many epochs or more, the curve is pale, with its running mean over it."""


@dataclass(frozen=True, eq=False)
class Epochs:
    """The epochs of one training.

    Attributes:
        epoch: Number of each epoch.
        loss: Mean training loss.
        validation_loss: Mean loss over the fold's own cases; NaN if it was not computed.
        foreground_dice: Dice over the summed voxels of the validation patches (nnU-Net's pseudo-Dice), in [0, 1].
        learning_rate: Learning rate of each epoch.
    """

    epoch: Curve
    loss: Curve
    validation_loss: Curve
    foreground_dice: Curve
    learning_rate: Curve


def read_epochs(path: Path) -> Epochs:
    """Read `epochs.csv` of one member; an empty field is NaN.

    Raises:
        CaseError: A column is missing or a field is not a number.
    """
    rows = read_csv(path)
    try:
        columns = {
            name: np.array([float(row[name] or "nan") for row in rows], dtype=np.float64)
            for name in ("epoch", "loss", "validation_loss", "foreground_dice", "learning_rate")
        }
    except (KeyError, ValueError) as error:
        raise CaseError(f"{path}: is not a table of epochs ({error}); run `mapping train` again") from error
    return Epochs(**columns)


def draw_learning_curves(epochs: Mapping[str, Mapping[int, Epochs]], path: Path) -> None:
    """Draw loss (above) and foreground Dice (below) of every scheme (columns) and fold (colours).

    Args:
        epochs: Scheme to fold to its epochs.
        path: PNG to write, with a note if nothing was trained.
    """
    schemes = order_methods(epochs)
    figure = new_figure(max(2.6 * len(schemes) + 0.6, 6.4), 4.6)
    grid = figure.subplots(2, max(len(schemes), 1), squeeze=False, sharex=True, sharey="row")
    if not schemes:
        for axes in grid.flat:
            no_data(axes, "no training recorded")
    for column, scheme in enumerate(schemes):
        above, below = grid[:, column]
        plain_axes(above, method_label(scheme), "", "loss" if column == 0 else "")
        plain_axes(below, "", "epoch", "foreground Dice" if column == 0 else "")
        below.set_ylim(-0.03, 1.03)
        for fold, training in sorted(epochs[scheme].items()):
            hue = HUES[fold % len(HUES)]
            _draw_curve(above, training.epoch, training.loss, hue, "-")
            _draw_curve(above, training.epoch, training.validation_loss, hue, "--")
            _draw_curve(below, training.epoch, training.foreground_dice, hue, "-")
    _count_epochs(grid[0, 0], [training for members in epochs.values() for training in members.values()])
    folds = sorted({fold for members in epochs.values() for fold in members})
    handles = [Line2D([], [], color=HUES[fold % len(HUES)], linewidth=2, label=f"fold {fold}") for fold in folds]
    longest = max((training.epoch.size for members in epochs.values() for training in members.values()), default=0)
    handles.append(Line2D([], [], color=MUTED, linestyle="-", marker=_marker("-", longest), label="training"))
    handles.append(Line2D([], [], color=MUTED, linestyle="--", marker=_marker("--", longest), label="validation loss"))
    if schemes:
        figure.legend(
            handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8, frameon=False, labelcolor=INK
        )
    save_png(figure, path)


def draw_member_curves(training: Epochs, path: Path, title: str) -> None:
    """Draw one training: losses, foreground Dice with its best epoch, and learning rate, below one another.

    Args:
        training: Its epochs so far.
        path: PNG to write.
        title: Name of the member.
    """
    figure = new_figure(6.4, 6.4)
    losses, overlap, rate = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1.2))
    done = training.epoch.size
    plain_axes(losses, title, "", "loss")
    side_note(losses, f"{done} epoch{'' if done == 1 else 's'}")
    _draw_curve(losses, training.epoch, training.loss, HUES[0], "-")
    _draw_curve(losses, training.epoch, training.validation_loss, HUES[1], "--")
    handles = [
        Line2D([], [], color=HUES[0], marker=_marker("-", done), label="training"),
        Line2D([], [], color=HUES[1], linestyle="--", marker=_marker("--", done), label="validation"),
    ]
    if done:
        losses.legend(handles=handles, loc="upper right", fontsize=8, frameon=False, labelcolor=INK)
    plain_axes(overlap, "", "", "foreground Dice")
    overlap.set_ylim(-0.03, 1.03)
    _draw_curve(overlap, training.epoch, training.foreground_dice, HUES[2], "-")
    if np.isfinite(training.foreground_dice).any():
        best = int(np.nanargmax(training.foreground_dice))
        side_note(overlap, f"best {training.foreground_dice[best]:.3f}, epoch {training.epoch[best]:.0f}")
    plain_axes(rate, "", "epoch", "learning rate")
    _count_epochs(rate, [training])
    rate.plot(training.epoch, training.learning_rate, color=MUTED, linewidth=1.4, marker="." if done == 1 else "")
    rate.set_ylim(0, 1.1 * training.learning_rate.max(initial=1e-9))
    save_png(figure, path)


def _count_epochs(axes: Axes, trainings: Sequence[Epochs]) -> None:
    """Ticks only at whole epochs; a single epoch stands in the middle."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))  # two ticks would need fractions
    numbers = {number for training in trainings for number in training.epoch.tolist()}
    if len(numbers) == 1:
        (only,) = numbers
        axes.set_xlim(only - 0.5, only + 0.5)


def _draw_curve(axes: Axes, epoch: Curve, values: Curve, hue: str, style: str) -> None:
    if epoch.size < SMOOTH_FROM:
        axes.plot(epoch, values, style, color=hue, linewidth=1.4, marker=_marker(style, epoch.size))
        return
    axes.plot(epoch, values, style, color=hue, linewidth=0.6, alpha=0.25)
    axes.plot(epoch, _running_mean(values), style, color=hue, linewidth=1.5)


def _marker(style: str, epochs: int) -> str:
    """Marker of a curve: only a single epoch has one, as it makes no line."""
    return {"-": ".", "--": "x"}[style] if epochs == 1 else ""


def _running_mean(values: Curve) -> Curve:
    """Exponential mean with nnU-Net's weight of 0.9 for the past; undefined epochs do not change it."""
    mean, means = float("nan"), []
    for value in values:
        if np.isfinite(value):
            mean = value if np.isnan(mean) else 0.9 * mean + 0.1 * value
        means.append(mean)
    return np.array(means, dtype=np.float64)


SMALLEST_ML = 0.01
"""Smaller false volumes, including 0, are drawn here."""


def draw_evaluation(evaluation: Evaluation, path: Path) -> None:
    """Draw the results of the ensemble with the model's own rule.

    Args:
        evaluation: Results of the model.
        path: PNG to write, with a note if there is nothing to draw.
    """
    figure = new_figure(9.6, 3.8)
    left, right = figure.subplots(1, 2, width_ratios=(2.1, 1))
    plain_axes(left, "Dice by lesion load", "lesion load of a case (mL, logarithmic)", "Dice")
    _draw_cases(left, evaluation.scores)
    without = [scan for group, scans in evaluation.marked.items() if group != BESIDE for scan in scans]
    plain_axes(right, f"{counted(len(without), 'scan')} without lesion", "marked (mL, log); strokes: medians", "")
    _draw_without(right, evaluation, without)
    save_png(figure, path)


def _draw_cases(axes: Axes, scores: CohortScores) -> None:
    loads_ml, dice = scores.loads_ml, scores.values(FINAL, "dice")
    has_lesion = loads_ml > 0
    if not has_lesion.any():
        no_data(axes, "no case with a lesion")
        return
    axes.plot(loads_ml[has_lesion], dice[has_lesion], "o", color=HUES[0], markersize=4.5, alpha=0.55, markeredgewidth=0)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    for group in DISJOINT_GROUPS:
        inside = group.holds(loads_ml) & has_lesion
        if inside.any():
            found = scores.estimate(FINAL, "dice", group)
            # the line spans the cases, not the range, which may have no upper end
            ends = bar_ends(loads_ml[inside].tolist(), (group.lower_ml, group.upper_ml), 1.06)
            axes.plot(ends, [found.mean] * 2, color=HUES[1], linewidth=2.5, solid_capstyle="butt")
            if not math.isnan(found.low):
                axes.fill_between(ends, found.low, found.high, color=HUES[1], alpha=0.18, linewidth=0)
    axes.set_ylim(-0.03, 1.03)
    side_note(axes, f"rule mapping, {counted(int(has_lesion.sum()), 'case')}; bars: means, 95 % intervals")


def _draw_without(axes: Axes, evaluation: Evaluation, scans: Sequence[MarkedScan]) -> None:
    """Draw a row of dots for each method of the ensemble, with its median as a line."""
    methods = [method for method in evaluation.labels if method not in evaluation.members]
    if not scans:
        no_data(axes, "no scan without lesion was given")
        return
    for place, method in enumerate(reversed(methods)):
        false_ml = volumes_ml(scans, method)
        shown = np.maximum(false_ml, SMALLEST_ML)  # a logarithmic axis has no 0
        axes.plot(shown, place + _spread(shown), "o", color=HUES[0], markersize=4, alpha=0.55, markeredgewidth=0)
        median = max(float(np.median(false_ml)), SMALLEST_ML)
        axes.plot([median] * 2, [place - 0.32, place + 0.32], color=HUES[1], linewidth=2.5)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"≤ {value:g}" if value <= SMALLEST_ML else f"{value:g}")
    axes.axvline(1.0, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    labels = [evaluation.labels[method].removeprefix("ensemble, ") for method in reversed(methods)]
    axes.set_yticks(range(len(methods)), labels, color=INK)
    axes.set_ylim(-0.6, len(methods) - 0.4)


def _spread(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Small fixed offsets that separate equal dots."""
    return np.linspace(-0.2, 0.2, len(values)) if len(values) > 1 else np.zeros(len(values))


def draw_contributions(steps: Sequence[Step], path: Path) -> None:
    """Draw Dice over the number of schemes, in greedy and in random order, and the gain by each scheme.

    Args:
        steps: Of `Contributions.steps`.
        path: PNG to write.
    """
    figure = new_figure(9.2, 3.3)
    left, right = figure.subplots(1, 2, width_ratios=[1.15, 1])
    _draw_orders(left, steps)
    _draw_gains(right, steps)
    save_png(figure, path)


def _draw_orders(axes: Axes, steps: Sequence[Step]) -> None:
    plain_axes(axes, "Dice by number of schemes", "number of schemes, and which the greedy order adds", "mean Dice")
    for order, label, hue, shift in (
        (GREEDY, "greedy order", HUES[0], -0.04),
        (RANDOM, "mean over all orders", HUES[1], 0.04),
    ):
        own = [step for step in steps if step.order == order]
        places = [step.schemes + shift for step in own]
        dice = [step.dice.mean for step in own]
        axes.plot(places, dice, "o-", color=hue, markersize=5, linewidth=1.8, label=label)
        for place, step in zip(places, own, strict=True):
            if not math.isnan(step.dice.low):
                axes.plot([place] * 2, [step.dice.low, step.dice.high], color=hue, linewidth=1, alpha=0.6)
    greedy = [step for step in steps if step.order == GREEDY]
    names = [f"{'+ ' if step.schemes > 1 else ''}{method_label(step.scheme)}" for step in greedy]
    axes.set_xticks([step.schemes for step in greedy], [f"{n}\n{name}" for n, name in enumerate(names, start=1)])
    axes.margins(x=0.12)
    axes.legend(fontsize=8, frameon=False, loc="best", labelcolor=INK)


def _draw_gains(axes: Axes, steps: Sequence[Step]) -> None:
    plain_axes(axes, "Gain of Dice by adding a scheme", "difference of the mean Dice", "")
    joins = [step for step in steps if step.order == JOINS]
    for order, label, hue, shift in (
        (JOINS, "to others, mean over all orders", HUES[1], -0.12),
        (LEFT_OUT, "to all others", HUES[2], 0.12),
    ):
        for number, step in enumerate(step for step in steps if step.order == order and step.gain):
            assert step.gain is not None
            axes.plot(
                step.gain.mean, number + shift, "o", color=hue, markersize=5, label=label if number == 0 else None
            )
            if not math.isnan(step.gain.low):
                axes.plot([step.gain.low, step.gain.high], [number + shift] * 2, color=hue, linewidth=1.2, alpha=0.7)
    axes.axvline(0, color=MUTED, linewidth=1)
    axes.set_yticks(range(len(joins)), [method_label(step.scheme) for step in joins])
    axes.set_ylim(len(joins) - 0.5, -0.6)
    axes.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2, labelcolor=INK)
