"""The effect of each post-processing rule on the same maps, in one table."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float64

from mapping_stroke.console import aligned
from mapping_stroke.evaluation.intervals import Estimate, estimate_mean
from mapping_stroke.evaluation.profiles import ATLAS2022
from mapping_stroke.evaluation.rule_fit import FALSE_VOLUME, Row, mean_ranks, mean_row
from mapping_stroke.networks.typed_json import plain_json
from mapping_stroke.report.estimates import DECIMALS, markdown_table
from mapping_stroke.report.tables import metric_head

EXPLANATION = (
    "Mean ± standard deviation. Rank: the mean over all columns of the rules' places in each, 1 the best. A case with "
    "lesions in which nothing is marked counts 100 mm in 95HD. Healthy: the volume "
    "marked in healthy scans, all of it false. The fitted rule is cross-fitted: the cases are dealt "
    "into five parts by person, and each part is scored by the rule that was fitted on the others."
)


@dataclass(frozen=True)
class RuleRow:
    """One rule: its values on every labelled case (the metrics) and healthy scan (the false volume)."""

    label: str
    values: tuple[Row, ...]


@dataclass(frozen=True)
class RuleTable:
    """Rules on the same maps, in the same order."""

    rows: tuple[RuleRow, ...]

    @property
    def healthy(self) -> int:
        """Number of healthy scans."""
        return sum(FALSE_VOLUME in values for values in self.rows[0].values)

    @property
    def cases(self) -> int:
        """Number of labelled cases."""
        return len(self.rows[0].values) - self.healthy

    @property
    def columns(self) -> tuple[str, ...]:
        """The metrics, and the false volume where there are healthy scans."""
        return (*ATLAS2022.keys, *((FALSE_VOLUME,) if self.healthy else ()))

    def estimate(self, label: str, column: str) -> Estimate:
        """One column of a rule, with its interval."""
        return estimate_mean(np.array([row[column] for row in self._values(label) if column in row], np.float64))

    def mean(self, label: str, column: str) -> float:
        """The mean of a column of a rule."""
        return self.estimate(label, column).mean

    def ranks(self, labels: Sequence[str]) -> Float64[np.ndarray, " n"]:
        """The mean ranks of some rules against one another."""
        return mean_ranks([mean_row(self._values(label)) for label in labels])

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
    ranks = dict(zip(labels, table.ranks(labels).tolist(), strict=True))
    values: dict[str, object] = plain_json(
        {**facts, "cases": table.cases, "healthy_scans": table.healthy, "scores": found, "mean_rank": ranks}
    )
    return values


def _heading(table: RuleTable) -> str:
    return f"Rules on {table.cases} labelled cases and {table.healthy} healthy scans, the same maps"


def _lines(table: RuleTable) -> list[list[str]]:
    heads = [metric_head(metric) for metric in ATLAS2022.metrics]
    false = ["Healthy (mL) ↓"] if table.healthy else []
    labels = [row.label for row in table.rows]
    lines = [["Rule", *heads, *false, "Rank ↓"]]
    for label, rank in zip(labels, table.ranks(labels), strict=True):
        cells = [_cell(column, table.estimate(label, column)) for column in table.columns]
        lines.append([label, *cells, f"{rank:.2f}"])
    return lines


def _cell(column: str, estimate: Estimate) -> str:
    if column == FALSE_VOLUME:
        return f"{estimate.mean / 1000:.2f} ± {estimate.std / 1000:.2f}"
    decimals = DECIMALS[column]
    return f"{estimate.mean:.{decimals}f} ± {estimate.std:.{decimals}f}"
