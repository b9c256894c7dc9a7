"""The picture of what each scheme adds to the ensemble."""

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes

from mapping_stroke.evaluation.contributions import GREEDY, JOINS, LEFT_OUT, RANDOM, Step
from mapping_stroke.report.style import HUES, INK, MUTED, method_label, new_figure, plain_axes, save_png


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
