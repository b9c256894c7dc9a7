"""Paired tests between methods on the same cases, corrected for their number."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from jaxtyping import Float64

from mapping_stroke.evaluation.cohorts import Estimate, estimate_mean
from mapping_stroke.evaluation.profiles import Metric
from mapping_stroke.evaluation.tables import CaseScore, order_methods
from mapping_stroke.files import none_if_nan

SIGNIFICANT = 0.05
SAME = 1e-9
"""Values that differ by less are equal."""
RANKS_AND_MEANS = (
    "The test compares ranks and the interval describes a mean, so the two may disagree: a few large differences move "
    "a mean, many small ones the ranks."
)


@dataclass(frozen=True)
class PairedTest:
    """Two methods compared in one metric, over the cases in which both have a defined value.

    Attributes:
        metric: Key of the metric.
        method, other: The methods; differences are `method` minus `other`.
        difference: Mean difference over the cases, with its interval; `undefined` counts the cases left out.
        people: Number of people, the pairs of the test.
        better, worse: Number of people for whom `method` is better, or worse; the rest are equal.
        p: Two-sided p-value; NaN without a pair.
        p_holm: The same, corrected for the number of comparisons; at least `p`, at most 1.
        comparisons: Number of tests in this metric.
    """

    metric: str
    method: str
    other: str
    difference: Estimate
    people: int
    better: int
    worse: int
    p: float
    p_holm: float = math.nan
    comparisons: int = 0

    @property
    def significant(self) -> bool:
        """Whether the corrected p-value is below 0.05."""
        return self.p_holm < SIGNIFICANT


def compare_methods(
    scores: Sequence[CaseScore], metrics: Sequence[Metric], people: Mapping[str, str]
) -> list[PairedTest]:
    """Test each pair of methods in each metric: Wilcoxon's signed-rank test, with Holm's correction within a metric.

    Args:
        scores: In any order.
        metrics: Metrics to compare.
        people: Case to person; cases that are not in it are people of their own.

    Returns:
        By metric, then in the order of tables; empty for fewer than two methods.

    Source: Wilcoxon 1945, Biometrics Bulletin 1:80; Pratt 1959, JASA 54:655 (zeros); Holm 1979, Scand J Stat 6:65.
    """
    methods = order_methods(score.method for score in scores)
    cases = sorted({score.case_id for score in scores})
    persons = [people.get(case_id) or case_id for case_id in cases]
    tests = []
    for metric in metrics:
        found = {(score.method, score.case_id): score.values[metric.key] for score in scores}
        values = {m: np.array([found.get((m, case_id), math.nan) for case_id in cases], np.float64) for m in methods}
        of_metric = [
            _compare(metric, (method, other), values[method] - values[other], persons)
            for method, other in combinations(methods, 2)
        ]
        tests += _correct(of_metric)
    return tests


def signed_rank_p(differences: Float64[np.ndarray, " n"]) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test; NaN without differences, 1 if all are 0.

    Differences of 0 are ranked but not counted (Pratt), since two methods often score a case alike.
    """
    if len(differences) == 0:
        return math.nan
    from scipy.stats import wilcoxon  # slow to import

    differences = np.where(np.abs(differences) < SAME, 0.0, differences)
    return float(wilcoxon(differences, zero_method="pratt").pvalue) if differences.any() else 1.0


def mean_by_person(values: Float64[np.ndarray, " n"], people: Sequence[str]) -> Float64[np.ndarray, " people"]:
    """The mean over the defined values of each person; people without any are left out."""
    found: dict[str, list[float]] = {}
    for value, person in zip(values.tolist(), people, strict=True):
        if not math.isnan(value):
            found.setdefault(person, []).append(value)
    return np.array([np.mean(its) for its in found.values()], np.float64)


def _compare(
    metric: Metric, methods: tuple[str, str], differences: Float64[np.ndarray, " n"], people: Sequence[str]
) -> PairedTest:
    by_person = mean_by_person(differences, people)
    better, worse = int((by_person > 0).sum()), int((by_person < 0).sum())
    if not metric.higher_is_better:
        better, worse = worse, better
    estimate = estimate_mean(differences, people)
    return PairedTest(metric.key, *methods, estimate, len(by_person), better, worse, signed_rank_p(by_person))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values corrected for their number by Holm's method; NaN stays NaN and is not counted.

    The smallest of n values is multiplied by n, the next by n - 1, and so on; none becomes smaller than the one before
    it, or larger than 1. Source: Holm 1979, Scand J Stat 6:65.
    """
    corrected = np.array(p_values, np.float64)
    order = np.argsort(corrected)[: np.count_nonzero(~np.isnan(corrected))]  # NaN comes last
    raised = corrected[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(raised), 1)
    values: list[float] = corrected.tolist()
    return values


def _correct(tests: Sequence[PairedTest]) -> list[PairedTest]:
    count = sum(not math.isnan(test.p) for test in tests)
    corrected = holm([test.p for test in tests])
    return [replace(test, p_holm=p, comparisons=count) for test, p in zip(tests, corrected, strict=True)]


TEST_COLUMNS = (
    "metric",
    "method",
    "other",
    "cases",
    "people",
    "better",
    "worse",
    "difference",
    "difference_low",
    "difference_high",
    "p",
    "p_holm",
    "comparisons",
)


def paired_row(test: PairedTest) -> dict[str, object]:
    """The test as a row of `tests.csv`; undefined values are None."""
    mean = test.difference
    numbers = {
        "difference": mean.mean,
        "difference_low": mean.low,
        "difference_high": mean.high,
        "p": test.p,
        "p_holm": test.p_holm,
    }
    return {
        **{name: getattr(test, name) for name in TEST_COLUMNS if hasattr(test, name)},
        "cases": mean.cases - mean.undefined,
        **{name: none_if_nan(value) for name, value in numbers.items()},
    }
