"""Tables of scores: one row per method and case, and mean and standard deviation per method and fold."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mapping_stroke.errors import ScoreError
from mapping_stroke.names import PAPER_SCHEMES
from mapping_stroke.run_folder import ENSEMBLE, FINAL

LAST_METHODS = (ENSEMBLE, FINAL)

SCORE_COLUMNS = ("method", "case_id", "fold", "load_vox")
"""Columns before the metrics in a row of scores."""
SUMMARY_COLUMNS = ("method", "fold", "metric", "mean", "std", "cases", "undefined")

ALL_FOLDS = "all"


@dataclass(frozen=True)
class CaseScore:
    """The scores of one method on one case.

    Attributes:
        method: Name of the training scheme, `ensemble` or `ensemble-pp`.
        case_id: The case.
        fold: Fold whose validation set contains the case; None outside cross-validation.
        load_vox: Lesion voxels of the reference.
        values: Metric key -> value, NaN if undefined.
    """

    method: str
    case_id: str
    fold: int | None
    load_vox: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class Summary:
    """One metric of one method over a fold or over all cases.

    Attributes:
        method: As in `CaseScore`.
        fold: Number of the fold, or `all`.
        metric: Key of the metric.
        mean: Mean over the cases with a defined value; NaN if there are none.
        std: Standard deviation over the same cases, with n - 1; NaN for fewer than two.
        cases: Number of cases scored, defined or not.
        undefined: Number of cases left out because their value is NaN.
    """

    method: str
    fold: str
    metric: str
    mean: float
    std: float
    cases: int
    undefined: int


def order_methods(methods: Iterable[str]) -> list[str]:
    """The distinct methods in the order of tables: the paper's schemes, other schemes by name, the ensembles."""
    found = set(methods)
    others = sorted(found - {*PAPER_SCHEMES, *LAST_METHODS})
    return [method for method in (*PAPER_SCHEMES, *others, *LAST_METHODS) if method in found]


def summarise(scores: Sequence[CaseScore], metrics: Sequence[str]) -> list[Summary]:
    """Mean and standard deviation of every method and metric, over all cases and then fold by fold.

    Args:
        scores: In any order; the result is ordered by method, fold (`all` first) and metric.
        metrics: Keys of the metrics, in order.
    """
    rows = []
    for method in order_methods(score.method for score in scores):
        of_method = [score for score in scores if score.method == method]
        rows += [_summarise(of_method, ALL_FOLDS, metric) for metric in metrics]
        for fold in sorted({score.fold for score in of_method if score.fold is not None}):
            of_fold = [score for score in of_method if score.fold == fold]
            rows += [_summarise(of_fold, str(fold), metric) for metric in metrics]
    return rows


def score_row(score: CaseScore) -> dict[str, object]:
    """The score as a row of `scores.csv`; NaN and no fold become empty fields."""
    values = {key: _field(value) for key, value in score.values.items()}
    fold = "" if score.fold is None else score.fold
    return {"method": score.method, "case_id": score.case_id, "fold": fold, "load_vox": score.load_vox, **values}


def summary_row(row: Summary) -> dict[str, object]:
    """The summary as a row of `summary.csv`; NaN becomes an empty field."""
    return {**vars(row), "mean": _field(row.mean), "std": _field(row.std)}


def read_score_row(row: Mapping[str, str]) -> CaseScore:
    """Read a row of `scores.csv`; raises `ScoreError` naming a missing or invalid column."""
    missing = [column for column in SCORE_COLUMNS if row.get(column) is None]
    if missing:
        raise ScoreError(f"a row of scores has no {', '.join(missing)}; run `mapping evaluate` again")
    try:
        values = {key: float(text or "nan") for key, text in row.items() if key not in SCORE_COLUMNS}
        fold = int(row["fold"]) if row["fold"] else None
        return CaseScore(row["method"], row["case_id"], fold, int(row["load_vox"]), values)
    except ValueError as error:
        raise ScoreError(
            f"scores of {row['method']}, {row['case_id']}: {error}; run `mapping evaluate` again"
        ) from error


def _summarise(scores: Sequence[CaseScore], fold: str, metric: str) -> Summary:
    values = [score.values[metric] for score in scores]
    defined = np.array([value for value in values if not math.isnan(value)])
    mean = float(defined.mean()) if len(defined) > 0 else math.nan
    std = float(defined.std(ddof=1)) if len(defined) > 1 else math.nan
    return Summary(scores[0].method, fold, metric, mean, std, len(values), len(values) - len(defined))


def _field(value: float) -> float | str:
    return "" if math.isnan(value) else value
