"""Two runs on the same cases: their table as text, CSV, Markdown and HTML, the paired plot, and the page."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup

from mapping_stroke.console import aligned, counted
from mapping_stroke.evaluation.cohorts import FEWEST_PEOPLE
from mapping_stroke.evaluation.paired import Difference, Pair, PairedScores
from mapping_stroke.evaluation.paired_tests import RANKS_AND_MEANS
from mapping_stroke.files import none_if_nan
from mapping_stroke.report.html import p_value, render
from mapping_stroke.report.pages import Picture, Section
from mapping_stroke.report.style import (
    GRID,
    HUES,
    INK,
    MUTED,
    method_label,
    new_figure,
    plain_axes,
    save_png,
    side_note,
)
from mapping_stroke.report.tables import DECIMALS, NONE, find_metrics, markdown_table, metric_head

SIGNIFICANT = 0.05
"""Differences with a smaller corrected p are marked."""
BETTER, WORSE, EQUAL = HUES[2], HUES[1], MUTED
HEADS = ("Method", "Metric", "Cases", "A", "B", "B - A [95 % interval]", "p", "p (Holm)", "Better / worse / equal")
EXPLANATION = (
    "A and B: means over the cases where the metric is defined in both runs. B - A: mean difference of the same cases, "
    "with the 95 % interval of a bootstrap over people. p: Wilcoxon's signed-rank test of the people's mean "
    "differences; p (Holm): corrected for the number of comparisons in the table. "
    f"{RANKS_AND_MEANS} No interval for fewer than {FEWEST_PEOPLE} people. Better, worse: number of cases in which B "
    "is better or worse than A."
)


@dataclass(frozen=True)
class SettingDifference:
    """A setting, or a fact about a run, that differs between two runs; `not given` if one of them does not have it."""

    file: str
    setting: str
    a: str
    b: str


@dataclass(frozen=True)
class RunComparison:
    """Two runs and the differences between them.

    Attributes:
        names: Names of the runs A and B.
        facts: Names and values.
        paired: The scores that they share.
        differences: For every common method and metric.
        settings: Differing settings; empty if there are none.
        notes: Things that a reader of the numbers must know, such as differing reference masks.
    """

    names: tuple[str, str]
    facts: Sequence[tuple[str, str]]
    paired: PairedScores
    differences: Sequence[Difference]
    settings: Sequence[SettingDifference]
    notes: Sequence[str]

    @property
    def lead(self) -> str:
        """The result in a sentence: the Dice of the last common method."""
        found = next(one for one in self.differences if (one.method, one.metric) == (self.paired.final, "dice"))
        if found.cases == 0:
            return f"{method_label(found.method)}: no case has a Dice in both runs."
        return (
            f"{method_label(found.method)}: mean Dice {found.mean_a:.3f} in A and {found.mean_b:.3f} in B over "
            f"{counted(found.cases, 'case')}, difference {_difference(found)}, corrected p {p_value(found.p_holm)}; "
            f"B is better in {found.better}, worse in {found.worse} and equal in {found.equal} of them."
        )


@dataclass(frozen=True)
class TableLine:
    """A row of the table in words: the cells of `HEADS`, and whether the difference is significant."""

    cells: tuple[str, ...]
    significant: bool


def table_lines(differences: Iterable[Difference]) -> list[TableLine]:
    """The differences as rows of words."""
    return [_line(one) for one in differences]


def table_values(differences: Iterable[Difference]) -> list[dict[str, object]]:
    """The differences as plain values at full precision; undefined ones are None."""
    return [
        {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in asdict(one).items()}
        for one in differences
    ]


CASE_COLUMNS = ("method", "case_id", "subject", "site", "fold_a", "fold_b", "load_vox")
"""Columns of `cases.csv` before the values of each metric in A, in B, and their change."""


def case_columns(paired: PairedScores) -> tuple[str, ...]:
    """All columns of the table of cases."""
    return (*CASE_COLUMNS, *(f"{metric.key}_{what}" for metric in paired.metrics for what in ("a", "b", "change")))


def case_values(pair: Pair, paired: PairedScores, person: tuple[str, str]) -> dict[str, object]:
    """One case of one method as a row of `cases.csv`; undefined values are None.

    Args:
        pair: Its scores.
        paired: For the metrics.
        person: Subject and site.
    """
    first = (pair.a.method, pair.a.case_id, *person, pair.a.fold, pair.b.fold, pair.b.load_vox)
    values: dict[str, object] = dict(zip(CASE_COLUMNS, first, strict=True))
    for metric in paired.metrics:
        numbers = (pair.a.values[metric.key], pair.b.values[metric.key], pair.change(metric.key))
        for what, number in zip(("a", "b", "change"), numbers, strict=True):
            values[f"{metric.key}_{what}"] = none_if_nan(number)
    return values


def format_text(differences: Sequence[Difference]) -> str:
    """The table as aligned text for a terminal; `*` marks significant differences."""
    lines = [list(HEADS)]
    for line in table_lines(differences):
        *first, p_holm, last = line.cells
        lines.append([*first, p_holm + "*" * line.significant, last])
    return "\n".join([*aligned(lines), f"* p below {SIGNIFICANT}. {EXPLANATION}"])


def format_markdown(comparison: RunComparison) -> str:
    """The comparison in Markdown."""
    rows = []
    for line in table_lines(comparison.differences):
        *first, p_holm, last = line.cells
        rows.append([*first, f"**{p_holm}**" if line.significant else p_holm, last])
    parts = [
        f"# {comparison.names[0]} (A) and {comparison.names[1]} (B)",
        comparison.lead,
        "\n".join(f"- {name}: {value}" for name, value in comparison.facts),
        *(f"**Note.** {note}" for note in comparison.notes),
        markdown_table(HEADS, rows),
        f"Bold: p below {SIGNIFICANT}. {EXPLANATION}",
        "## Differing settings",
    ]
    if comparison.settings:
        heads = ("File", "Setting", "A", "B")
        settings = [[one.file, one.setting, one.a, one.b] for one in comparison.settings]
        escaped = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in settings]
        parts.append("\n".join(f"| {' | '.join(row)} |" for row in [heads, ["---"] * len(heads), *escaped]))
    else:
        parts.append("None.")
    return "\n\n".join(parts) + "\n"


def draw_paired(paired: PairedScores, differences: Sequence[Difference], path: Path) -> None:
    """Draw the Dice of every case in A and B, and the mean difference of every method with its interval.

    Args:
        paired: The scores; the cases are those of the last common method.
        differences: As computed from them.
        path: PNG to write.
    """
    of_dice = [one for one in differences if one.metric == "dice"]
    figure = new_figure(8.6, max(3.7, 0.32 * len(of_dice) + 1.2))
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
    plain_axes(left, f"{method_label(paired.final)}: every case", "Dice in A", "Dice in B")
    left.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle="--", zorder=1)
    pairs = [pair for pair in paired.of(paired.final) if not math.isnan(pair.change("dice"))]
    changes = np.array([pair.change("dice") for pair in pairs], np.float64)
    dice = np.array([(pair.a.values["dice"], pair.b.values["dice"]) for pair in pairs], np.float64).reshape(-1, 2)
    for chosen, colour, words in (
        (changes > 0, BETTER, "better in B"),
        (changes < 0, WORSE, "worse in B"),
        (changes == 0, EQUAL, "equal"),
    ):
        label = f"{words}: {chosen.sum()}"
        left.plot(*dice[chosen].T, "o", color=colour, markersize=5, alpha=0.65, markeredgewidth=0, label=label)
    left.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
    left.legend(fontsize=8, frameon=False, loc="best", labelcolor=INK)
    plain_axes(right, "Mean difference", "Dice, B - A", "")
    side_note(right, "95 % interval")
    right.axvline(0, color=MUTED, linewidth=1, linestyle="--", zorder=1)
    for height, one in enumerate(reversed(of_dice)):
        colour = EQUAL if one.difference == 0 else BETTER if one.difference > 0 else WORSE
        right.plot([one.low, one.high], [height, height], color=colour, linewidth=2)
        right.plot([one.difference], [height], "o", color=colour, markersize=7)
    right.set_yticks(range(len(of_dice)), [method_label(one.method) for one in reversed(of_dice)], color=INK)
    right.set_ylim(-0.6, len(of_dice) - 0.4)
    right.grid(visible=False, axis="y")
    right.grid(color=GRID, axis="x")
    save_png(figure, path)


def render_comparison(comparison: RunComparison, pictures: Sequence[Picture | str]) -> str:
    """The page as HTML, with embedded pictures; a text replaces a missing one. Text from files is escaped."""
    return render("comparison.html.j2", comparison=comparison, pictures=pictures, **_words(comparison))


def render_against(comparison: RunComparison) -> Section:
    """The comparison as a section of the report of run B."""
    html = render("against.html.j2", comparison=comparison, **_words(comparison))
    return Section("against", "Against another run", Markup(html))  # escaped by the template


def _words(comparison: RunComparison) -> dict[str, object]:
    return {
        "heads": HEADS,
        "lines": table_lines(comparison.differences),
        "explanation": f"Bold: p below {SIGNIFICANT}. {EXPLANATION}",
    }


def _line(one: Difference) -> TableLine:
    metric = find_metrics([one.metric])[0]
    cases = f"{one.cases} ({one.undefined} undefined)" if one.undefined else str(one.cases)
    cells = (
        method_label(one.method),
        metric_head(metric),
        cases,
        _number(one.metric, one.mean_a),
        _number(one.metric, one.mean_b),
        _difference(one),
        p_value(one.p),
        p_value(one.p_holm),
        f"{one.better} / {one.worse} / {one.equal}",
    )
    return TableLine(cells, significant=one.p_holm < SIGNIFICANT)


def _difference(one: Difference) -> str:
    mean = _number(one.metric, one.difference, "+")
    if math.isnan(one.low):
        return mean
    return f"{mean} [{_number(one.metric, one.low, '+')}, {_number(one.metric, one.high, '+')}]"


def _number(metric: str, value: float, sign: str = "") -> str:
    return NONE if math.isnan(value) else f"{value:{sign}.{DECIMALS.get(metric, 3)}f}"
