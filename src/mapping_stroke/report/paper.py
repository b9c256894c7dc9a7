"""The paper's own numbers, to stand beside a run's and be named as the paper's."""

import json
import math
from importlib.resources import files

from mapping_stroke.report.tables import Cell, Row, Table, find_metrics, mark_best


def read_paper_tables() -> list[Table]:
    """Table 1 (cross-validation on 655 training cases) and Table 2 (300 public test scans) of the paper, on ATLAS R2.0.

    Where the paper gives no number the cell's mean is NaN.

    Source: Huo et al. 2022, arXiv:2211.15486, and the table of folds published with the authors' container.
    """
    stored = json.loads(files(__package__).joinpath("paper_tables.json").read_text(encoding="utf-8"))
    return [_table(part) for part in stored["tables"]]


def _table(part: dict) -> Table:
    methods = part["methods"]
    metrics = find_metrics(dict.fromkeys(key for values in methods.values() for key in values))
    unknown = (math.nan, math.nan)
    rows = (
        Row(method, part["cases"], tuple(Cell(*values.get(metric.key, unknown)) for metric in metrics))
        for method, values in methods.items()
    )
    return mark_best(Table(part["title"], metrics, tuple(rows)))
