"""The summary of scores as a table for the terminal."""

import math
from collections.abc import Sequence

from rich.table import Table

from mapping_stroke.evaluation.profiles import Metric, Profile
from mapping_stroke.evaluation.tables import ALL_FOLDS, Summary


def summary_table(summaries: Sequence[Summary], profile: Profile) -> Table:
    """Methods as rows, metrics as columns: mean ± standard deviation over all cases, two decimals as in the paper.

    Beside a metric that can be undefined stands the number of cases left out of its mean.
    """
    over_all = [summary for summary in summaries if summary.fold == ALL_FOLDS]
    cases = max((summary.cases for summary in over_all), default=0)
    can_be_undefined = [metric for metric in profile.metrics if metric.undefined]
    caption = "; ".join(f"{metric.label} is undefined where {metric.undefined}" for metric in can_be_undefined)
    table = Table(title=f"Mean ± standard deviation over {cases} cases ({profile.name})", caption=caption)
    table.add_column("Method")
    for metric in profile.metrics:
        table.add_column(f"{metric.label} ({metric.unit})" if metric.unit else metric.label, justify="right")
    for method in dict.fromkeys(summary.method for summary in over_all):
        by_key = {summary.metric: summary for summary in over_all if summary.method == method}
        table.add_row(method, *(_cell(by_key[metric.key], metric) for metric in profile.metrics))
    return table


def _cell(summary: Summary, metric: Metric) -> str:
    mean = "-" if math.isnan(summary.mean) else f"{summary.mean:.2f}"
    std = "" if math.isnan(summary.std) else f" ± {summary.std:.2f}"
    return f"{mean}{std}" + (f" ({summary.undefined} undefined)" if metric.undefined else "")
