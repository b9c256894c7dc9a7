"""Fitting of the post-processing rule: a search for the rule with the largest mean gain."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float64

from mapping_stroke.evaluation.profiles import ATLAS2022
from mapping_stroke.rules import ALL_LOADS_MM3, PostprocessConfig, Thresholds


def _pairs(cores: Iterable[float], edges: Iterable[float]) -> tuple[Thresholds, ...]:
    edges = tuple(edges)  # iterated once for every core
    return tuple(Thresholds(core, edge) for core in cores for edge in edges if edge <= core)


SPACE: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {
        "least_peak": (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95),
        "small": _pairs((0.3, 0.4, 0.5, 0.6, 0.7, 0.8), (0.1, 0.2, 0.3, 0.4, 0.5)),
        "smallest_mm3": (0.0, 10.0, 30.0, 100.0, 300.0),
    }
)
"""Setting of a rule to the values that are tried for it, in the order of the search. More settings, such as levels of
their own for large loads, were not better on cases that no fit had seen."""
UNLIMITED = 1000
"""Number of lesions from which on the smallest one is dropped, in fitted rules: never."""


def start_rule(rule: PostprocessConfig) -> PostprocessConfig:
    """Start of the search: the rule with its levels for small loads at every load, and without a limit of lesions."""
    return replace(rule, manner="grow", load_unit="mm3", small_load=ALL_LOADS_MM3, many_lesions=UNLIMITED)


def variants(rule: PostprocessConfig, setting: str) -> Iterator[PostprocessConfig]:
    """The rule itself, then the rule with every other value of a setting."""
    yield rule
    for value in SPACE[setting]:
        changed = replace(rule, **{setting: value})
        if changed != rule:
            yield changed


def as_applied(
    rule: PostprocessConfig, peak: float, load_vox: int, voxel_volume_mm3: float
) -> PostprocessConfig | None:
    """The settings of a rule that affect a map: rules that agree in them give the same mask; None for an empty mask.

    Args:
        rule: Any rule.
        peak: Maximum of the map.
        load_vox: Number of its voxels at P > 0.5.
        voxel_volume_mm3: Volume of one voxel.
    """
    if peak <= rule.least_peak:
        return None
    load = load_vox * (voxel_volume_mm3 if rule.load_unit == "mm3" else 1)
    if load < rule.small_load:
        # everything that a small load does not use gets a fixed value; likewise below
        return replace(rule, large=rule.small, small_load=1e300, load_unit="mm3", least_peak=0.0)
    return replace(rule, small=rule.large, small_load=0.0, load_unit="mm3", many_lesions=0, least_peak=0.0)


FALSE_VOLUME = "false_volume_mm3"
"""Column of the volume marked in a scan without lesion, healthy or labelled; lower is better."""
MARKED = "marked_without_lesion"
"""Column of the same scans: 1 if anything is marked, 0 if nothing is; lower is better."""
ROUNDS = 3
"""Largest number of passes over all settings."""
PARTS = 5
"""Number of parts for cross-fitting."""

Row = Mapping[str, float]
ScoreRules = Callable[[str, Sequence[PostprocessConfig]], Sequence[Row]]
"""From the id of a case or healthy scan and some rules to the values of each: the metrics, or the false volume."""


@dataclass(frozen=True)
class FitCases:
    """The cases that rules are fitted on.

    Attributes:
        people: Id of a labelled case or healthy scan to its person.
        score: Scores rules on one of them.
    """

    people: Mapping[str, str]
    score: ScoreRules


@dataclass(frozen=True)
class Fit:
    """A fitted rule.

    Attributes:
        rule: Fitted on all cases.
        held_out: Id of each case to its values under a rule fitted on other people's cases.
        tried: Largest number of rules tried for the final one.
    """

    rule: PostprocessConfig
    held_out: Mapping[str, Row]
    tried: int


def fit_rule(
    cases: FitCases, start: PostprocessConfig, show: Callable[[float, str], None] = lambda done, name: None
) -> Fit:
    """Search on all cases, and, for each part of them, on the other parts.

    Args:
        cases: Cases of at least two people.
        start: Start of the search; it is kept unless another rule is better.
        show: Called with the number of searches done (of `count_searches`) and the name of the current one.
    """
    held_out: dict[str, Row] = {}
    rule, tried = search_rule(cases, start, list(cases.people), lambda share: show(share, "all cases"))
    for number, part in enumerate(deal_parts(cases.people), start=1):
        others = [name for name in cases.people if name not in part]
        # fitted on other people only, so its values for this part are unbiased
        found, _ = search_rule(cases, start, others, partial(_show_part, show, number))
        for name in part:
            held_out[name] = cases.score(name, [found])[0]
    return Fit(rule, held_out, tried)


def search_rule(
    cases: FitCases, start: PostprocessConfig, names: Sequence[str], show: Callable[[float], None] = lambda share: None
) -> tuple[PostprocessConfig, int]:
    """Change one setting after another to its best value, until nothing changes; also return the number of rules tried.

    Rules that differ in one setting are compared with the present one (`mean_gains`), which wins ties. At the end, the
    rule found is compared with `start`, which wins ties.
    """
    rule, tried = start, {start}
    steps = ROUNDS * len(SPACE)
    for number in range(ROUNDS):
        before = rule
        for place, setting in enumerate(SPACE):
            candidates = list(variants(rule, setting))
            tried.update(candidates)
            rule = _best(cases, candidates, names)
            show((number * len(SPACE) + place + 1) / steps)
        if rule == before:
            break
    show(1.0)
    # spreads depend on the rules compared, so single steps may gain and lead to a worse rule
    return _best(cases, [start, rule], names), len(tried)


def mean_gains(rules: Sequence[Sequence[Row]]) -> Float64[np.ndarray, " n"]:
    """How much better than the first each rule is: the mean over all columns of its gain in standard deviations.

    Ranks would weigh a third decimal in one metric like half the healthy scans in another.

    Args:
        rules: The values of each rule on the same scans.

    Returns:
        For each column, the difference of the means, positive if better, is divided by the standard deviation over all
        scans and rules; a column without any spread counts 0.
    """
    higher_is_better = {metric.key: metric.higher_is_better for metric in ATLAS2022.metrics}
    means = [mean_row(rows) for rows in rules]
    gains = []
    for column in means[0]:
        values = np.array([row[column] for rows in rules for row in rows if column in row], np.float64)
        spread = float(np.nanstd(values))
        difference = np.array([mean[column] - means[0][column] for mean in means], np.float64)
        better = difference if higher_is_better.get(column, False) else -difference
        gains.append(better / spread if spread > 0 else np.zeros(len(rules)))
    return np.asarray(np.mean(gains, axis=0), np.float64)


def mean_row(rows: Sequence[Row]) -> Row:
    """Mean of every column over the rows that have it, without NaN; columns without numbers are left out."""
    columns = dict.fromkeys(column for row in rows for column in row)
    values = {column: np.array([row[column] for row in rows if column in row], np.float64) for column in columns}
    defined = {column: each[~np.isnan(each)] for column, each in values.items()}
    return {column: float(each.mean()) for column, each in defined.items() if len(each)}


def deal_parts(people: Mapping[str, str]) -> list[list[str]]:
    """The ids of each of at most `PARTS` parts, into which people are dealt with all of their scans."""
    order = list(dict.fromkeys(people.values()))
    number = min(PARTS, len(order))
    return [[name for name, person in people.items() if order.index(person) % number == part] for part in range(number)]


def count_searches(people: Mapping[str, str]) -> int:
    """Number of searches of `fit_rule`."""
    return 1 + len(deal_parts(people))


def _show_part(show: Callable[[float, str], None], number: int, share: float) -> None:
    show(number + share, f"part {number}")


def _best(cases: FitCases, rules: Sequence[PostprocessConfig], names: Sequence[str]) -> PostprocessConfig:
    scored = [cases.score(name, rules) for name in names]
    gains = mean_gains(list(zip(*scored, strict=True)))
    return rules[int(np.argmax(np.round(gains, 9)))]  # rounding of means must not decide ties
