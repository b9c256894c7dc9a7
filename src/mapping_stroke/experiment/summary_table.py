"""The summary of scores as a table for the terminal."""

import math
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from mapping_stroke.console import out
from mapping_stroke.evaluation.profiles import Profile
from mapping_stroke.evaluation.tables import ALL_FOLDS, Summary

LOG_WIDTH = 140
"""Columns of the table where the output is no terminal: enough for one line a method."""


def show_summary(summaries: Sequence[Summary], profile: Profile) -> None:
    """Print methods as rows and metrics as columns: mean ± standard deviation over all cases, two decimals.

    Beside a metric that can be undefined stands the number of cases left out of its mean.
    """
    over_all = [summary for summary in summaries if summary.fold == ALL_FOLDS]
    cases = max((summary.cases for summary in over_all), default=0)
    table = Table(title=f"Mean ± standard deviation over {cases} cases ({profile.name})", box=box.SIMPLE_HEAD)
    table.add_column("Method", no_wrap=True)
    for metric in profile.metrics:
        table.add_column(f"{metric.label} ({metric.unit})" if metric.unit else metric.label, justify="right")
        if metric.undefined:
            table.add_column("Undefined", justify="right")
    for method in dict.fromkeys(summary.method for summary in over_all):
        table.add_row(method, *_cells([summary for summary in over_all if summary.method == method], profile))
    notes = [f"{metric.label} is undefined where {metric.undefined}" for metric in profile.metrics if metric.undefined]
    table.caption = "; ".join(notes)
    console = out if out.is_terminal else Console(file=out.file, width=LOG_WIDTH)
    console.print(table)


def _cells(summaries: Sequence[Summary], profile: Profile) -> list[str]:
    by_key = {summary.metric: summary for summary in summaries}
    cells = []
    for metric in profile.metrics:
        summary = by_key[metric.key]
        mean = "-" if math.isnan(summary.mean) else f"{summary.mean:.2f}"
        cells.append(mean if math.isnan(summary.std) else f"{mean} ± {summary.std:.2f}")
        if metric.undefined:
            cells.append(str(summary.undefined))
    return cells
