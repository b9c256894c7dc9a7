"""Two sets of scores of the same cases: paired differences with intervals and tests."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mapping_stroke.console import counted
from mapping_stroke.errors import ScoreError
from mapping_stroke.evaluation.cohorts import estimate_mean
from mapping_stroke.evaluation.paired_tests import SAME, holm, mean_by_person, signed_rank_p
from mapping_stroke.evaluation.profiles import Metric, profile_of
from mapping_stroke.evaluation.tables import CaseScore, order_methods


@dataclass(frozen=True)
class Pair:
    """The scores of one method on one case in two runs, A and B."""

    a: CaseScore
    b: CaseScore

    def change(self, metric: str) -> float:
        """B minus A; NaN if the metric is undefined in one of them, 0 if they are equal up to rounding."""
        change = self.b.values[metric] - self.a.values[metric]
        return 0.0 if abs(change) < SAME else change


@dataclass(frozen=True)
class PairedScores:
    """The scores that two runs share.

    Attributes:
        metrics: The metrics of both.
        pairs: At least one, by method in the order of tables, then by case.
        only_a, only_b: Scored cases that the other run has not scored.
        methods_only_a, methods_only_b: Methods that the other run has not scored on any common case.
    """

    metrics: tuple[Metric, ...]
    pairs: tuple[Pair, ...]
    only_a: tuple[str, ...] = ()
    only_b: tuple[str, ...] = ()
    methods_only_a: tuple[str, ...] = ()
    methods_only_b: tuple[str, ...] = ()

    @property
    def methods(self) -> list[str]:
        """The methods of both runs, in the order of tables."""
        return list(dict.fromkeys(pair.a.method for pair in self.pairs))

    @property
    def case_ids(self) -> list[str]:
        """The cases of both runs."""
        return sorted({pair.a.case_id for pair in self.pairs})

    @property
    def final(self) -> str:
        """The last of the common methods: the result of the pipeline, if both runs have it."""
        return self.methods[-1]

    def of(self, method: str) -> list[Pair]:
        """The pairs of one method."""
        return [pair for pair in self.pairs if pair.a.method == method]

    def by_change(self, method: str) -> list[Pair]:
        """The pairs of a method by the change of Dice, the lowest first; undefined changes come last."""

        def place(pair: Pair) -> tuple[bool, float, str]:
            change = pair.change("dice")
            return math.isnan(change), 0.0 if math.isnan(change) else change, pair.a.case_id

        return sorted(self.of(method), key=place)


@dataclass(frozen=True)
class Difference:
    """One metric of one method in two runs, over the cases where it is defined in both.

    Attributes:
        method: The method.
        metric: Key of the metric.
        cases: Number of cases compared.
        people: Number of people they are of.
        undefined: Number of common cases left out because the metric is undefined in at least one run.
        mean_a, mean_b: Means of the runs; NaN without cases.
        difference: Mean of B minus A; NaN without cases.
        low, high: Ends of its 95 % interval; NaN for fewer than five people.
        p: Of the signed-rank test, in (0, 1]; NaN without cases.
        p_holm: The same, corrected for the number of comparisons.
        better, worse, equal: Number of cases in which B is better than A, worse, or equal.
    """

    method: str
    metric: str
    cases: int
    people: int
    undefined: int
    mean_a: float
    mean_b: float
    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    better: int
    worse: int
    equal: int


def pair_scores(
    a: Sequence[CaseScore], b: Sequence[CaseScore], metrics: Sequence[Metric], names: tuple[str, str]
) -> PairedScores:
    """Pair the scores of the cases and methods that two runs share.

    Args:
        a: Scores of the first run, at least one, all with the same metrics.
        b: Those of the second run.
        metrics: The metrics of A.
        names: Names of the runs in errors.

    Raises:
        ScoreError: The runs were scored with different profiles, or share no case or no method.
    """
    if set(a[0].values) != set(b[0].values):
        profiles = " and ".join(map(_profile_words, names, (a[0].values, b[0].values)))
        raise ScoreError(
            f"scored with different profiles: {profiles}; run `mapping evaluate` on one of them with the other's"
        )
    cases_a, cases_b = ({score.case_id for score in scores} for scores in (a, b))
    if not cases_a & cases_b:
        raise ScoreError(
            f"no common case: {names[0]} scored {counted(len(cases_a), 'case')} (such as {min(cases_a)}), {names[1]} "
            f"{len(cases_b)} (such as {min(cases_b)}); compare runs on the same data set"
        )
    of_a, of_b = ({(score.method, score.case_id): score for score in scores} for scores in (a, b))
    common = of_a.keys() & of_b.keys()
    methods = order_methods(method for method, _ in common)
    if not methods:
        theirs = [", ".join(order_methods(score.method for score in scores)) for scores in (a, b)]
        raise ScoreError(
            f"no common method on a common case: {names[0]} has {theirs[0]}, {names[1]} has {theirs[1]}; "
            "compare runs that have a scheme or the ensemble in common"
        )
    keys = sorted(common, key=lambda key: (methods.index(key[0]), key[1]))
    return PairedScores(
        tuple(metrics),
        tuple(Pair(of_a[key], of_b[key]) for key in keys),
        only_a=tuple(sorted(cases_a - cases_b)),
        only_b=tuple(sorted(cases_b - cases_a)),
        methods_only_a=_others(a, methods),
        methods_only_b=_others(b, methods),
    )


def measure_differences(paired: PairedScores, people: Mapping[str, str]) -> list[Difference]:
    """Compare two runs in every method and metric.

    People are the independent units: the interval resamples people with all their cases (percentile bootstrap, seeded),
    and the test is Wilcoxon's signed-rank test of the people's mean differences. Its p values are corrected by Holm's
    method over all comparisons of the result.

    Args:
        paired: The scores of both runs.
        people: Case to person; a case that is missing is a person of its own.

    Source: Efron and Tibshirani 1993, chapter 13; Wilcoxon 1945, as in scipy; Holm 1979.
    """
    found = [_compare(paired.of(method), metric, people) for method in paired.methods for metric in paired.metrics]
    corrected = holm([one.p for one in found])
    return [replace(one, p_holm=p) for one, p in zip(found, corrected, strict=True)]


def _compare(pairs: Sequence[Pair], metric: Metric, people: Mapping[str, str]) -> Difference:
    changes = np.array([pair.change(metric.key) for pair in pairs], np.float64)
    persons = [people.get(pair.a.case_id) or pair.a.case_id for pair in pairs]
    estimate, by_person = estimate_mean(changes, persons), mean_by_person(changes, persons)
    defined = ~np.isnan(changes)
    kept = [pair for pair, inside in zip(pairs, defined, strict=True) if inside]
    signs = np.sign(changes[defined]) * (1 if metric.higher_is_better else -1)
    return Difference(
        method=pairs[0].a.method,
        metric=metric.key,
        cases=len(kept),
        people=len(by_person),
        undefined=estimate.undefined,
        mean_a=_mean([pair.a.values[metric.key] for pair in kept]),
        mean_b=_mean([pair.b.values[metric.key] for pair in kept]),
        difference=estimate.mean,
        low=estimate.low,
        high=estimate.high,
        p=signed_rank_p(by_person),
        p_holm=math.nan,
        better=int((signs > 0).sum()),
        worse=int((signs < 0).sum()),
        equal=int((signs == 0).sum()),
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else math.nan


def _others(scores: Sequence[CaseScore], methods: Sequence[str]) -> tuple[str, ...]:
    return tuple(method for method in order_methods(score.method for score in scores) if method not in methods)


def _profile_words(name: str, keys: Iterable[str]) -> str:
    profile = profile_of(keys)
    return f"{name} with {profile.name if profile else 'the metrics ' + ', '.join(sorted(keys))}"
