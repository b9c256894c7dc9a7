"""The paper's Table 1, the effect of each rule, and numbers with intervals in Markdown."""

import json
import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.resources import files

import numpy as np
from jaxtyping import Float64

from mapping_stroke.console import aligned
from mapping_stroke.errors import ScoreError
from mapping_stroke.evaluation.cohorts import Estimate, estimate_mean
from mapping_stroke.evaluation.profiles import ATLAS2022, PROFILES, Metric
from mapping_stroke.evaluation.rule_fit import FALSE_VOLUME, MARKED, Row, mean_gains
from mapping_stroke.evaluation.tables import ALL_FOLDS, Summary, order_methods
from mapping_stroke.files import none_if_nan
from mapping_stroke.networks.typed_json import plain_json
from mapping_stroke.report.style import method_label

NONE = "n/a"
"""Shown for undefined values."""


@dataclass(frozen=True)
class Cell:
    """Mean and standard deviation of one metric of one method.

    Attributes:
        mean: Over the cases where the metric is defined; NaN if it is defined nowhere or not known.
        std: Over the same cases; NaN for fewer than two of them.
        undefined: Cases that were left out because the metric is undefined there; None if it never is, or where the
            number is not known.
        best: No other method that is averaged over the most cases has a better mean, see `mark_best`; equal ones are
            all best.
        low, high: Ends of the 95 % interval of the mean; NaN if there is none.
    """

    mean: float
    std: float
    undefined: int | None = None
    best: bool = False
    low: float = math.nan
    high: float = math.nan

    @property
    def text(self) -> str:
        """Both numbers with two decimals, as in the paper."""
        if math.isnan(self.mean):
            return NONE
        return f"{self.mean:.2f} ± {NONE if math.isnan(self.std) else format(self.std, '.2f')}"

    @property
    def interval(self) -> str:
        """The 95 % interval of the mean; empty if there is none."""
        return "" if math.isnan(self.low) else f"[{self.low:.2f}, {self.high:.2f}]"

    @property
    def note(self) -> str:
        """How many cases were left out; empty for a metric that is always defined."""
        return "" if self.undefined is None else f"{self.undefined} undefined"


@dataclass(frozen=True)
class TableRow:
    """One method: its cells in the order of the table's metrics."""

    method: str
    cases: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """Methods by metrics, over some set of cases."""

    title: str
    metrics: tuple[Metric, ...]
    rows: tuple[TableRow, ...]

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
        The table; without rows if nothing was summarised for the fold.
    """
    chosen = {(row.method, row.metric): row for row in summaries if row.fold == fold}
    metrics = find_metrics(dict.fromkeys(metric for _, metric in chosen))
    rows = []
    for method in order_methods(method for method, _ in chosen):
        parts = [chosen.get((method, metric.key)) for metric in metrics]
        cells = tuple(_cell(part, metric) for part, metric in zip(parts, metrics, strict=True))
        rows.append(TableRow(method, max(part.cases for part in parts if part), cells))
    return mark_best(Table(title, metrics, tuple(rows)))


def mark_best(table: Table) -> Table:
    """The same table with the best mean of every column marked.

    Only methods that are averaged over the most cases are compared: a metric is often undefined in the hard ones, so
    that a mean over fewer cases may look better than it is. None is marked if fewer than two methods are left.
    """
    columns = [
        _mark(metric, [(row.cells[i], row.cases) for row in table.rows]) for i, metric in enumerate(table.metrics)
    ]
    rows = (TableRow(row.method, row.cases, tuple(cells[i] for cells in columns)) for i, row in enumerate(table.rows))
    return Table(table.title, table.metrics, tuple(rows))


def explain(table: Table) -> str:
    """What follows the word or sign that marks the best: what the numbers are, and which metrics can be undefined."""
    undefined = [metric for metric in table.metrics if metric.undefined]
    parts = [
        "best of the column. Mean ± standard deviation over the cases where the metric is defined.",
        *(
            f"{metric.label} is undefined where {metric.undefined}; those cases are left out of its mean, so "
            "methods may be averaged over different cases."
            for metric in undefined
        ),
    ]
    if undefined or len({row.cases for row in table.rows}) > 1:
        parts.append(
            "The best is sought only among the methods that are averaged over the most cases; none is marked if "
            "only one method is left."
        )
    return " ".join(parts)


def format_text(table: Table) -> str:
    """The table as aligned plain text for a terminal or a log; `*` marks the best of each column."""
    heads = [["", "", "method"], ["", "", "cases"], *(stacked_head(head) for head in table.heads)]
    lines = [list(line) for line in zip(*heads, strict=True)]
    for row in table.rows:
        cells = [f"{cell.text}{'*' if cell.best else ' '}{bracketed(cell)}" for cell in row.cells]
        lines.append([method_label(row.method), str(row.cases), *cells])
    return "\n".join([table.title, *(line for line in aligned(lines) if line), f"* {explain(table)}"])


def table_rows(table: Table) -> list[dict[str, object]]:
    """The table as plain values, one row per method, at full precision; undefined values are None."""
    rows = []
    for row in table.rows:
        values: dict[str, object] = {"method": row.method, "cases": row.cases}
        for metric, cell in zip(table.metrics, row.cells, strict=True):
            values[f"{metric.key}_mean"] = none_if_nan(cell.mean)
            values[f"{metric.key}_std"] = none_if_nan(cell.std)
            values[f"{metric.key}_undefined"] = cell.undefined
            values[f"{metric.key}_best"] = int(cell.best)
        rows.append(values)
    return rows


def _cell(summary: Summary | None, metric: Metric) -> Cell:
    if summary is None:
        return Cell(math.nan, math.nan)
    return Cell(summary.mean, summary.std, summary.undefined if metric.undefined or summary.undefined else None)


def _mark(metric: Metric, column: Sequence[tuple[Cell, int]]) -> list[Cell]:
    """Mark the best of a column of cells, each with the number of its method's cases."""
    averaged = [0 if math.isnan(cell.mean) else cases - (cell.undefined or 0) for cell, cases in column]
    compared = [count == max(averaged) > 0 for count in averaged]
    means = [cell.mean for (cell, _), inside in zip(column, compared, strict=True) if inside]
    if len(means) < 2:
        return [cell for cell, _ in column]
    best = max(means) if metric.higher_is_better else min(means)
    return [
        replace(cell, best=inside and math.isclose(cell.mean, best, rel_tol=1e-12))
        for (cell, _), inside in zip(column, compared, strict=True)
    ]


def bracketed(cell: Cell) -> str:
    """The note of a cell in parentheses, after a space; empty without a note."""
    return f" ({cell.note})" if cell.note else ""


def stacked_head(head: str) -> list[str]:
    """A column head in three short lines, the last ones filled first."""
    lines = textwrap.wrap(head, 13, break_long_words=False)
    *first, last = [*[""] * (3 - len(lines)), *lines]
    return [*first[:1], " ".join(first[1:]), last]


DECIMALS = {"dice": 3, "lesion_f1": 3, "volume_difference_vox": 0, "simple_lesion_count": 2, "hd95_mm": 1}


def number(metric: str, value: float, sign: str = "") -> str:
    """A value of a metric with as many decimals as mean something; `sign` may be `+`."""
    return NONE if math.isnan(value) else f"{value:{sign}.{DECIMALS[metric]}f}"


def mean_and_interval(metric: str, estimate: Estimate, sign: str = "") -> str:
    """A mean with its 95 % interval, and in parentheses the number of cases where the metric is undefined."""
    note = f" ({estimate.undefined})" if estimate.undefined else ""
    if math.isnan(estimate.low):
        return number(metric, estimate.mean, sign) + note
    ends = ", ".join(number(metric, end, sign) for end in (estimate.low, estimate.high))
    return f"{number(metric, estimate.mean, sign)} [{ends}]{note}"


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is text and whose others are numbers."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def read_paper_tables() -> list[Table]:
    """Table 1 (cross-validation on 655 training cases) and Table 2 (300 public test scans) of the paper, on ATLAS R2.0.

    If the paper gives no number, the mean is NaN.

    Source: Huo et al. 2022, arXiv:2211.15486, and the table of folds published with the authors' container.
    """
    stored = json.loads(files(__package__).joinpath("paper_tables.json").read_text(encoding="utf-8"))
    return [_table(part) for part in stored["tables"]]


def _table(part: dict) -> Table:
    methods = part["methods"]
    metrics = find_metrics(dict.fromkeys(key for values in methods.values() for key in values))
    unknown = (math.nan, math.nan)
    rows = (
        TableRow(method, part["cases"], tuple(Cell(*values.get(metric.key, unknown)) for metric in metrics))
        for method, values in methods.items()
    )
    return mark_best(Table(part["title"], metrics, tuple(rows)))


EXPLANATION = (
    "Mean ± standard deviation. Gain: how much better a rule is than the first, the mean over all columns in standard "
    "deviations. A case with lesions in which nothing is marked counts 100 mm in 95HD. Without lesion: the volume "
    "marked in healthy scans and in labelled cases without lesion, all of it false, and the share of them in which "
    "anything is marked. The fitted rule is cross-fitted: the cases are dealt "
    "into five parts by person, and each part is scored by the rule that was fitted on the others."
)


FALSE_HEADS = {FALSE_VOLUME: "Without lesion (mL) ↓", MARKED: "Without lesion, marked ↓"}


@dataclass(frozen=True)
class RuleRow:
    """One rule: its values on every labelled case (the metrics) and every scan without lesion (what is marked)."""

    label: str
    values: tuple[Row, ...]


@dataclass(frozen=True)
class RuleTable:
    """Rules on the same maps, in the same order."""

    rows: tuple[RuleRow, ...]

    @property
    def healthy(self) -> int:
        """Number of healthy scans."""
        return sum(ATLAS2022.keys[0] not in values for values in self.rows[0].values)

    @property
    def cases(self) -> int:
        """Number of labelled cases."""
        return len(self.rows[0].values) - self.healthy

    @property
    def columns(self) -> tuple[str, ...]:
        """The metrics, and what is marked in scans without lesion, if there are any."""
        known = {column for values in self.rows[0].values for column in values}
        return (*ATLAS2022.keys, *(column for column in FALSE_HEADS if column in known))

    def estimate(self, label: str, column: str) -> Estimate:
        """One column of a rule, with its interval."""
        return estimate_mean(np.array([row[column] for row in self._values(label) if column in row], np.float64))

    def mean(self, label: str, column: str) -> float:
        """The mean of a column of a rule."""
        return self.estimate(label, column).mean

    def gains(self, labels: Sequence[str]) -> Float64[np.ndarray, " n"]:
        """The mean gains of some rules over the first of them."""
        return mean_gains([self._values(label) for label in labels])

    def _values(self, label: str) -> tuple[Row, ...]:
        return next(row.values for row in self.rows if row.label == label)


def rule_text(table: RuleTable) -> str:
    """The table as aligned text for a terminal."""
    return "\n".join([_heading(table), *aligned(_lines(table)), EXPLANATION])


def rule_page(table: RuleTable, facts: Mapping[str, object], rules: Mapping[str, str]) -> str:
    """The table and the rules, by their labels in words, in Markdown."""
    heads, *rows = _lines(table)
    end = (
        "the model brings the fitted rule"
        if facts["stored"]
        else "the fitted rule is no better, the model keeps its own"
    )
    told = [f"- {label}: {rule}" for label, rule in rules.items()]
    parts = [
        f"# {facts['model']}: the effect of each rule",
        _heading(table),
        markdown_table(heads, rows),
        EXPLANATION,
        f"Outcome: {end}.",
    ]
    return "\n\n".join([*parts, "\n".join(told)]) + "\n"


def rule_values(table: RuleTable, facts: Mapping[str, object]) -> dict[str, object]:
    """The table as plain values."""
    labels = [row.label for row in table.rows]
    found = {label: {column: asdict(table.estimate(label, column)) for column in table.columns} for label in labels}
    gains = dict(zip(labels, table.gains(labels).tolist(), strict=True))
    values: dict[str, object] = plain_json(
        {**facts, "cases": table.cases, "healthy_scans": table.healthy, "scores": found, "mean_gain": gains}
    )
    return values


def _heading(table: RuleTable) -> str:
    return f"Rules on {table.cases} labelled cases and {table.healthy} healthy scans, the same maps"


def _lines(table: RuleTable) -> list[list[str]]:
    heads = [metric_head(metric) for metric in ATLAS2022.metrics]
    false = [head for column, head in FALSE_HEADS.items() if column in table.columns]
    labels = [row.label for row in table.rows]
    lines = [["Rule", *heads, *false, "Gain ↑"]]
    for label, gain in zip(labels, table.gains(labels), strict=True):
        cells = [_rule_cell(column, table.estimate(label, column)) for column in table.columns]
        lines.append([label, *cells, f"{gain:+z.2f}"])
    return lines


def _rule_cell(column: str, estimate: Estimate) -> str:
    if column == FALSE_VOLUME:
        return f"{estimate.mean / 1000:.2f} ± {estimate.std / 1000:.2f}"
    if column == MARKED:
        return f"{estimate.mean:.1%}".replace("%", " %")
    decimals = DECIMALS[column]
    return f"{estimate.mean:.{decimals}f} ± {estimate.std:.{decimals}f}"
