"""How well lesions of each size are found: small loads decide the challenge, large ones look good in a mean."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mapping_stroke.evaluation.profiles import Metric
from mapping_stroke.evaluation.tables import CaseScore, order_methods
from mapping_stroke.report.names import method_label
from mapping_stroke.report.style import HUES, new_figure, no_data, plain_axes, save_png, side_note

UPPER_ML = (1.0, 5.0, 20.0, math.inf)
"""Upper end of each group of loads, included; more than half of ATLAS R2.0's cases lie in the first two."""

METRICS = ("dice", "lesion_f1", "matched_lesion_f1")
"""Shown by size where they were scored."""


@dataclass(frozen=True)
class SizeGroup:
    """Means over the cases of one range of loads.

    Attributes:
        label: The range, such as `1 to 5 mL`.
        cases: Number of cases.
        means: Method to mean over the cases where the metric is defined, NaN where it is nowhere.
    """

    label: str
    cases: int
    means: Mapping[str, float]


def group_by_load(scores: Sequence[CaseScore], loads_ml: Mapping[str, float], metric: Metric) -> list[SizeGroup]:
    """Mean of a metric for every method and range of loads, smallest first; ranges without a case are left out.

    Args:
        scores: Any order; cases without a known load are passed over.
        loads_ml: Case to load in millilitres; 0 (no lesion) makes a group of its own.
        metric: What to average.
    """
    methods = order_methods(score.method for score in scores)
    parts: dict[int, list[CaseScore]] = {}
    for score in scores:
        if score.case_id in loads_ml:
            parts.setdefault(_group(loads_ml[score.case_id]), []).append(score)
    return [
        SizeGroup(
            _label(number),
            len({score.case_id for score in part}),
            {
                method: _mean([score.values[metric.key] for score in part if score.method == method])
                for method in methods
            },
        )
        for number, part in sorted(parts.items())
    ]


def draw_by_load(scores: Sequence[CaseScore], loads_ml: Mapping[str, float], method: str, path: Path) -> None:
    """Draw the Dice of every case over its load, and the mean of each range of loads.

    Args:
        scores: Those of other methods are passed over, as are cases without lesion.
        loads_ml: Case to load in millilitres.
        method: Whose scores.
        path: PNG to write; it says so where there is nothing to draw.
    """
    own = [score for score in scores if score.method == method and loads_ml.get(score.case_id, 0) > 0]
    figure = new_figure(7.2, 3.4)
    axes = figure.subplots()
    plain_axes(axes, f"{method_label(method)}: Dice by lesion load", "lesion load of a case (mL, logarithmic)", "Dice")
    if own:
        loads = np.array([loads_ml[score.case_id] for score in own])
        dice = np.array([score.values["dice"] for score in own])
        axes.plot(loads, dice, "o", color=HUES[0], markersize=5, alpha=0.55, markeredgewidth=0)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        groups = np.array([_group(load) for load in loads])
        for number in np.unique(groups):
            inside = groups == number
            ends = [loads[inside].min() / 1.1, loads[inside].max() * 1.1]
            axes.plot(ends, [dice[inside].mean()] * 2, color=HUES[1], linewidth=2.5)
        axes.set_ylim(-0.03, 1.03)
        side_note(axes, f"{len(own)} cases; bars: mean of each range of loads")
    else:
        no_data(axes, "no case with a lesion")
    save_png(figure, path)


def _group(load_ml: float) -> int:
    """0 without lesion, then 1.. for the ranges of `UPPER_ML`."""
    return 0 if load_ml <= 0 else 1 + next(number for number, upper in enumerate(UPPER_ML) if load_ml <= upper)


def _label(number: int) -> str:
    if number == 0:
        return "no lesion"
    lower, upper = (0.0, *UPPER_ML)[number - 1 : number + 1]
    if number == 1:
        return f"up to {upper:g} mL"
    return f"above {lower:g} mL" if math.isinf(upper) else f"{lower:g} to {upper:g} mL"


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan
