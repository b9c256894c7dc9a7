"""The paper's Table 1: a row for every method, a column for every metric, the best of each column marked."""

import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mapping_stroke.console import aligned
from mapping_stroke.errors import ScoreError
from mapping_stroke.evaluation.profiles import PROFILES, Metric
from mapping_stroke.evaluation.tables import ALL_FOLDS, Summary, order_methods
from mapping_stroke.report.names import method_label

NONE = "n/a"
"""Stands where a value is not defined."""


@dataclass(frozen=True)
class Cell:
    """Mean and standard deviation of one metric of one method.

    Attributes:
        mean: Over the cases where the metric is defined; NaN where it is nowhere defined or not known.
        std: Over the same cases; NaN for fewer than two of them.
        undefined: Cases that were left out because the metric is undefined there; None where it never is, or where the
            number is not known.
        best: No other method of the table has a better mean; equal ones are all best.
    """

    mean: float
    std: float
    undefined: int | None = None
    best: bool = False

    @property
    def text(self) -> str:
        """Both numbers with two decimals, as in the paper."""
        if math.isnan(self.mean):
            return NONE
        return f"{self.mean:.2f} ± {NONE if math.isnan(self.std) else format(self.std, '.2f')}"

    @property
    def note(self) -> str:
        """How many cases were left out; empty for a metric that is always defined."""
        return "" if self.undefined is None else f"{self.undefined} undefined"


@dataclass(frozen=True)
class Row:
    """One method: its cells in the order of the table's metrics."""

    method: str
    cases: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """Methods by metrics, over some set of cases."""

    title: str
    metrics: tuple[Metric, ...]
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        if any(len(row.cells) != len(self.metrics) for row in self.rows):
            raise AssertionError(f"{self.title}: a row needs one cell for each of {len(self.metrics)} metrics")

    @property
    def heads(self) -> tuple[str, ...]:
        """Column heads: name, unit, and which way is better."""
        return tuple(metric_head(metric) for metric in self.metrics)


def metric_head(metric: Metric) -> str:
    """A metric as a column head, such as `95HD (mm) ↓`."""
    unit = f" ({metric.unit})" if metric.unit else ""
    return f"{metric.label}{unit}\N{NO-BREAK SPACE}{'↑' if metric.higher_is_better else '↓'}"


def find_metrics(keys: Iterable[str]) -> tuple[Metric, ...]:
    """The metrics of these keys, in the same order; raises `ScoreError` for a key that no profile has."""
    known = {metric.key: metric for profile in PROFILES.values() for metric in profile.metrics}
    keys = tuple(keys)
    unknown = [key for key in keys if key not in known]
    if unknown:
        raise ScoreError(f"unknown metric {unknown[0]!r}; expected some of {', '.join(known)}")
    return tuple(known[key] for key in keys)


def make_table(title: str, summaries: Sequence[Summary], fold: str = ALL_FOLDS) -> Table:
    """Lay out the summaries of one fold (or of all), and mark the best mean of every metric.

    Args:
        title: Of the table.
        summaries: From `evaluation.tables.summarise`, any order.
        fold: Number of a fold, or `all`.

    Returns:
        The table; without rows where nothing was summarised for the fold.
    """
    chosen = {(row.method, row.metric): row for row in summaries if row.fold == fold}
    metrics = find_metrics(dict.fromkeys(metric for _, metric in chosen))
    rows = []
    for method in order_methods(method for method, _ in chosen):
        parts = [chosen.get((method, metric.key)) for metric in metrics]
        cells = tuple(_cell(part, metric) for part, metric in zip(parts, metrics, strict=True))
        rows.append(Row(method, max(part.cases for part in parts if part), cells))
    return mark_best(Table(title, metrics, tuple(rows)))


def mark_best(table: Table) -> Table:
    """The same table with the best mean of every column marked; none where fewer than two methods have one."""
    columns = [_mark(metric, [row.cells[i] for row in table.rows]) for i, metric in enumerate(table.metrics)]
    rows = (Row(row.method, row.cases, tuple(cells[i] for cells in columns)) for i, row in enumerate(table.rows))
    return Table(table.title, table.metrics, tuple(rows))


def explain(table: Table) -> str:
    """What follows the word or sign that marks the best: what the numbers are, and which metrics can be undefined."""
    return " ".join(
        [
            "best of the column. Mean ± standard deviation over the cases where the metric is defined.",
            *(
                f"{metric.label} is undefined where {metric.undefined}; those cases are left out of its mean, so "
                "methods may be averaged over different cases."
                for metric in table.metrics
                if metric.undefined
            ),
        ]
    )


def format_text(table: Table) -> str:
    """The table as aligned plain text for a terminal or a log; `*` marks the best of each column."""
    heads = [["", "", "method"], ["", "", "cases"], *(_stacked(head) for head in table.heads)]
    lines = [list(line) for line in zip(*heads, strict=True)]
    for row in table.rows:
        cells = [f"{cell.text}{'*' if cell.best else ' '}{_bracketed(cell)}" for cell in row.cells]
        lines.append([method_label(row.method), str(row.cases), *cells])
    return "\n".join([table.title, *(line for line in aligned(lines) if line), f"* {explain(table)}"])


def format_markdown(table: Table) -> str:
    """The table in Markdown; the best of each column is bold."""
    lines = [["Method", "Cases", *table.heads], ["---", *["---:"] * (len(table.heads) + 1)]]
    for row in table.rows:
        stars = ["**" if cell.best else "" for cell in row.cells]
        cells = [f"{star}{cell.text}{star}{_bracketed(cell)}" for star, cell in zip(stars, row.cells, strict=True)]
        lines.append([method_label(row.method), str(row.cases), *cells])
    return "\n".join(
        [table.title, "", *(f"| {' | '.join(line)} |" for line in lines), "", f"Bold: {explain(table)}", ""]
    )


def table_rows(table: Table) -> list[dict[str, object]]:
    """The table as plain values, one row a method, at full precision; what is not defined is None."""
    rows = []
    for row in table.rows:
        values: dict[str, object] = {"method": row.method, "cases": row.cases}
        for metric, cell in zip(table.metrics, row.cells, strict=True):
            values[f"{metric.key}_mean"] = None if math.isnan(cell.mean) else cell.mean
            values[f"{metric.key}_std"] = None if math.isnan(cell.std) else cell.std
            values[f"{metric.key}_undefined"] = cell.undefined
            values[f"{metric.key}_best"] = int(cell.best)
        rows.append(values)
    return rows


def _cell(summary: Summary | None, metric: Metric) -> Cell:
    if summary is None:
        return Cell(math.nan, math.nan)
    return Cell(summary.mean, summary.std, summary.undefined if metric.undefined or summary.undefined else None)


def _mark(metric: Metric, cells: Sequence[Cell]) -> list[Cell]:
    means = [cell.mean for cell in cells if not math.isnan(cell.mean)]
    if len(means) < 2:
        return list(cells)
    best = max(means) if metric.higher_is_better else min(means)
    return [Cell(cell.mean, cell.std, cell.undefined, math.isclose(cell.mean, best, rel_tol=1e-12)) for cell in cells]


def _bracketed(cell: Cell) -> str:
    return f" ({cell.note})" if cell.note else ""


def _stacked(head: str) -> list[str]:
    """A column head in three short lines, the last ones filled first."""
    lines = textwrap.wrap(head, 13, break_long_words=False)
    *first, last = [*[""] * (3 - len(lines)), *lines]
    return [*first[:1], " ".join(first[1:]), last]
