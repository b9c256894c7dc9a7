"""Distributions of a data set's lesions and folds, and scores by lesion load."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from mapping_stroke.console import counted
from mapping_stroke.dataset.cases import Case
from mapping_stroke.dataset.folds import fold_distances
from mapping_stroke.errors import MappingError
from mapping_stroke.evaluation.profiles import Metric
from mapping_stroke.evaluation.tables import CaseScore, order_methods
from mapping_stroke.images.image import read_image, require_same_grid
from mapping_stroke.report.slices import CONVENTION, Viewer, busiest_slice, cut, outline, show_slice, view
from mapping_stroke.report.style import (
    DARK,
    HUES,
    INK,
    OUTLINE,
    bar_ends,
    bare,
    caption,
    legend_below,
    load_words,
    method_label,
    new_figure,
    no_data,
    plain_axes,
    row_label,
    save_png,
    short_id,
    side_note,
)
from mapping_stroke.space.model_input import deface

QUANTILES = (0.95, 0.8, 0.6, 0.45)
"""Quantiles of the Dice of typical cases: two easy ones and two average ones."""
WORST = 4


def worst_cases(scores: Sequence[CaseScore], count: int = WORST) -> list[str]:
    """The cases with the lowest Dice, worst first, ties by load (largest first) and id; NaN is skipped."""
    return [score.case_id for score in _ranked(scores)[:count]]


def typical_cases(scores: Sequence[CaseScore]) -> list[str]:
    """The distinct cases at `QUANTILES` of the Dice, best first; cases without lesion are skipped."""
    ranked = _ranked([score for score in scores if score.load_vox > 0])
    if not ranked:
        return []
    places = dict.fromkeys(round(quantile * (len(ranked) - 1)) for quantile in QUANTILES)
    return [ranked[place].case_id for place in places]


def _ranked(scores: Sequence[CaseScore]) -> list[CaseScore]:
    defined = [score for score in scores if not math.isnan(score.values["dice"])]
    return sorted(defined, key=lambda score: (score.values["dice"], -score.load_vox, score.case_id))


SMALL_LOAD_ML = 5.0
"""Limit between small and large examples, 5 000 voxels at 1 mm; more than half of ATLAS R2.0's cases are below."""

EXAMPLES = 5
"""Number of examples of each size."""

BINS_PER_DECADE = 5


@dataclass(frozen=True, eq=False)
class Example:
    """One slice of a case, or the reason why it cannot be shown."""

    title: str
    viewer: Viewer | None = None
    grey: Float32[np.ndarray, "row column"] | None = None
    lesion: Bool[np.ndarray, "row column"] | None = None
    problem: str = ""


def draw_load_distribution(loads_ml: Sequence[float], path: Path) -> None:
    """Draw the distribution of lesion loads over a logarithmic axis (the paper's Fig. 2).

    Args:
        loads_ml: Lesion load of every labelled case; cases without lesion are not drawn, but counted in the text.
        path: PNG to write, with a note if there is no load to draw.
    """
    loads = np.array([load for load in loads_ml if load > 0], dtype=np.float64)
    figure = new_figure(7.2, 3.4)
    axes = figure.subplots()
    plain_axes(axes, "Lesion load", "lesion load of a case (mL, logarithmic)", "cases")
    side_note(axes, _load_words(loads, empty=len(loads_ml) - loads.size))
    if loads.size == 0:
        no_data(axes, "no case with a lesion")
    else:
        axes.hist(loads, list(_bins(loads)), color=HUES[0], edgecolor="white", linewidth=0.8)
        axes.plot(loads, np.zeros_like(loads), "|", color=INK, markersize=8, alpha=min(1.0, 20 / loads.size))
        axes.set_xscale("log")
        axes.margins(y=0.15)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.axvline(SMALL_LOAD_ML, color=HUES[1], linestyle="--", linewidth=1.4)
        at_line = axes.get_xaxis_transform()
        axes.text(
            SMALL_LOAD_ML * 1.07,
            0.96,
            f"{SMALL_LOAD_ML:g} mL",
            transform=at_line,
            va="top",
            fontsize=8,
            color=HUES[1],
        )
    save_png(figure, path)


def draw_examples(cases: Sequence[Case], path: Path) -> None:
    """Draw small and large lesions over their scans (the paper's Fig. 1).

    Up to `EXAMPLES` of each are spread evenly over the small (up to `SMALL_LOAD_ML`) and the large loads, each in the
    axial slice with the largest lesion area. A note replaces a case whose files cannot be read.

    Args:
        cases: Any cases; those without mask or lesion are skipped.
        path: PNG to write, with a note if there is no lesion to show.
    """
    loaded = sorted((case for case in cases if (case.load_ml or 0) > 0), key=lambda case: (case.load_ml, case.case_id))
    small = [case for case in loaded if (case.load_ml or 0) <= SMALL_LOAD_ML]
    sizes = {f"up to {SMALL_LOAD_ML:g} mL": small, f"above {SMALL_LOAD_ML:g} mL": loaded[len(small) :]}
    rows = {label: [_read_example(case) for case in _spread(part)] for label, part in sizes.items() if part}
    columns = max(map(len, rows.values()), default=1)
    figure = new_figure(max(1.7 * columns + 0.3, 5.0), 2.4 * max(len(rows), 1) + 0.7, dark=True)
    grid = figure.subplots(max(len(rows), 1), columns, squeeze=False)
    for axes in grid.flat:
        bare(axes)
    if not rows:
        no_data(grid[0, 0], "no case with a lesion")
    for axes_row, (label, examples) in zip(grid, rows.items(), strict=False):
        row_label(axes_row[0], label, 9)
        for axes, example in zip(axes_row, examples, strict=False):
            _draw_example(axes, example)
    legend_below(figure, [Patch(facecolor=DARK, edgecolor=OUTLINE, label="reference lesion")], CONVENTION)
    save_png(figure, path)


def draw_fold_balance(loads: Mapping[str, int], assignment: Mapping[str, int], path: Path) -> None:
    """Draw the distribution of lesion load in every fold, with its Kolmogorov-Smirnov distance to the other folds.

    Args:
        loads: Case to its load in voxels.
        assignment: Case to its fold.
        path: PNG to write.

    Raises:
        FoldsError: There are fewer than two folds, or a case of the assignment has no load.
    """
    distances = fold_distances(loads, assignment)
    figure = new_figure(7.2, 3.4)
    axes = figure.subplots()
    plain_axes(axes, "Folds", "lesion load of a case (voxels, logarithmic)", "share of the fold's cases")
    for number, (fold, distance) in enumerate(distances.items()):
        # a logarithmic axis has no 0
        inside = [max(loads[case_id], 1) for case_id, of in assignment.items() if of == fold]
        label = f"fold {fold}: {len(inside)} case{'s' * (len(inside) != 1)}, distance {distance:.3f}"
        axes.ecdf(inside, color=HUES[number % len(HUES)], linewidth=1.6, label=label)
    axes.set_xscale("log")
    axes.set_ylim(-0.02, 1.03)
    axes.legend(fontsize=8, frameon=False, loc="upper left", labelcolor=INK)
    side_note(axes, f"largest Kolmogorov-Smirnov distance to the rest: {max(distances.values()):.3f}")
    save_png(figure, path)


def _load_words(loads: Float64[np.ndarray, " n"], empty: int) -> str:
    words = [f"{loads.size} case{'s' * (loads.size != 1)}"]
    if loads.size:
        words.append(f"median {np.median(loads):.3g} mL")
        words.append(f"{(loads <= SMALL_LOAD_ML).mean():.0%} up to {SMALL_LOAD_ML:g} mL")
    if empty:
        words.append(f"{empty} without lesion")
    return ", ".join(words)


def _bins(loads: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " edges"]:
    """Edges on a fixed logarithmic lattice through `SMALL_LOAD_ML`, which makes pictures of data sets comparable."""
    steps = np.floor(np.log10(loads / SMALL_LOAD_ML) * BINS_PER_DECADE)
    lattice = np.arange(steps.min(), steps.max() + 2)
    return np.asarray(SMALL_LOAD_ML * 10 ** (lattice / BINS_PER_DECADE), dtype=np.float64)


def _spread(cases: Sequence[Case]) -> list[Case]:
    """Up to `EXAMPLES` of the sorted cases, at evenly spaced ranks without the extremes."""
    count = min(EXAMPLES, len(cases))
    return [cases[int((number + 0.5) * len(cases) / count)] for number in range(count)]


def _read_example(case: Case) -> Example:
    title = f"{short_id(case.case_id)}\n{load_words(case.load_ml or 0)}"
    try:
        scan, mask = read_image(case.scan), read_image(case.mask or "")
        require_same_grid(mask, scan, (f"{case.case_id}: mask", "its scan"), "run `mapping prepare` again")
    except MappingError as error:
        return Example(title, problem=type(error).__name__)
    scan = deface(scan)  # pictures must not show a face
    viewer = view(scan)
    lesion = viewer.reorient(mask.voxels > 0)
    index = busiest_slice(lesion)
    return Example(title, viewer, cut(viewer.reorient(scan.voxels), index), cut(lesion, index))


def _draw_example(axes: Axes, example: Example) -> None:
    caption(axes, example.title, 7)
    if example.viewer is None or example.grey is None or example.lesion is None:
        no_data(axes, f"cannot be shown\n({example.problem})")
        return
    show_slice(axes, example.grey, example.viewer)
    outline(axes, example.lesion, OUTLINE)


UPPER_ML = (1.0, 5.0, 20.0, math.inf)
"""Inclusive upper limits of the groups of loads; the first two hold more than half of ATLAS R2.0's cases."""

METRICS = ("dice", "lesion_f1", "matched_lesion_f1")
"""Metrics to show by load, if they were scored."""


@dataclass(frozen=True)
class SizeGroup:
    """Means over the cases in one range of loads.

    Attributes:
        label: The range, such as `1 to 5 mL`.
        cases: Number of cases.
        means: Method to its mean over the cases with a defined value; NaN if there are none.
    """

    label: str
    cases: int
    means: Mapping[str, float]


def group_by_load(scores: Sequence[CaseScore], loads_ml: Mapping[str, float], metric: Metric) -> list[SizeGroup]:
    """Mean of a metric for every method and range of loads, smallest first; ranges without cases are left out.

    Args:
        scores: In any order; cases without a known load are skipped.
        loads_ml: Case to load in millilitres; cases with 0 (no lesion) are a group of their own.
        metric: Metric to average.
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
    """Draw the Dice of every case against its load, and the mean of each range of loads.

    Args:
        scores: Scores; other methods and cases without lesion are skipped.
        loads_ml: Case to load in millilitres.
        method: Method to draw.
        path: PNG to write, with a note if there is nothing to draw.
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
            ends = bar_ends(loads[inside].tolist(), _limits(int(number)), 1.1)
            axes.plot(ends, [dice[inside].mean()] * 2, color=HUES[1], linewidth=2.5, solid_capstyle="butt")
        axes.set_ylim(-0.03, 1.03)
        side_note(axes, f"{counted(len(own), 'case')}; bars: mean of each range of loads")
    else:
        no_data(axes, "no case with a lesion")
    save_png(figure, path)


def _group(load_ml: float) -> int:
    """0 without lesion, otherwise the number of the range of `UPPER_ML`, from 1."""
    return 0 if load_ml <= 0 else 1 + next(number for number, upper in enumerate(UPPER_ML) if load_ml <= upper)


def load_label(load_ml: float) -> str:
    """The range of a load, such as `1 to 5 mL`."""
    return _label(_group(load_ml))


def load_labels() -> tuple[str, ...]:
    """All ranges of loads, smallest first."""
    return tuple(map(_label, range(len(UPPER_ML) + 1)))


def _limits(number: int) -> tuple[float, float]:
    """Ends of a range with lesions."""
    lower, upper = (0.0, *UPPER_ML)[number - 1 : number + 1]
    return lower, upper


def _label(number: int) -> str:
    if number == 0:
        return "no lesion"
    lower, upper = _limits(number)
    if number == 1:
        return f"up to {upper:g} mL"
    return f"above {lower:g} mL" if math.isinf(upper) else f"{lower:g} to {upper:g} mL"


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan
