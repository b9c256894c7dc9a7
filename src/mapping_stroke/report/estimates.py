"""Numbers with their intervals, and tables, in Markdown."""

import math
from collections.abc import Sequence

from mapping_stroke.evaluation.intervals import Estimate
from mapping_stroke.report.tables import NONE

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
