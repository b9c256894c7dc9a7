"""Fit the post-processing rule: which rules are tried, and which has the best mean rank."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float64
from scipy.stats import rankdata

from mapping_stroke.evaluation.profiles import ATLAS2022
from mapping_stroke.rules import PostprocessConfig, Thresholds


def _pairs(cores: Iterable[float], edges: Iterable[float]) -> tuple[Thresholds, ...]:
    edges = tuple(edges)
    return tuple(Thresholds(core, edge) for core in cores for edge in edges if edge <= core)


SPACE: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {
        "least_peak": (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
        "small": _pairs((0.3, 0.4, 0.5, 0.6, 0.7, 0.8), (0.3, 0.4, 0.5)),
        "large": _pairs((0.4, 0.5, 0.55, 0.6, 0.7), (0.3, 0.4, 0.5)),
        "smallest_mm3": (0.0, 10.0, 30.0, 100.0, 300.0),
        "small_load": (500.0, 1000.0, 3000.0, 10000.0),
        "many_lesions": (4, 1000),
    }
)
"""Setting of a rule to the values that are tried for it, in the order in which settings are changed. A voxel of 1 mm
has 1 mm3; the load ends of 500 and 10000 mm3 halve the small and the large half of ATLAS R2.0's cases."""


def start_rule(rule: PostprocessConfig) -> PostprocessConfig:
    """Start of the search: the rule in mm3; if its load is in voxels, the number is used as mm3."""
    return replace(rule, manner="grow", load_unit="mm3")


def variants(rule: PostprocessConfig, setting: str) -> Iterator[PostprocessConfig]:
    """The rule itself, then with every other value of a setting."""
    yield rule
    for value in SPACE[setting]:
        changed = replace(rule, **{setting: value})
        if changed != rule:
            yield changed


def as_applied(
    rule: PostprocessConfig, peak: float, load_vox: int, voxel_volume_mm3: float
) -> PostprocessConfig | None:
    """The settings of a rule that affect a map: rules that agree in them give the same mask; None for an empty one.

    Args:
        rule: Any rule.
        peak: The map's maximum.
        load_vox: Its voxels at P > 0.5.
        voxel_volume_mm3: Volume of one voxel.
    """
    if peak <= rule.least_peak:
        return None
    load = load_vox * (voxel_volume_mm3 if rule.load_unit == "mm3" else 1)
    if load < rule.small_load:
        return replace(rule, large=rule.small, small_load=1e300, load_unit="mm3", least_peak=0.0)
    return replace(rule, small=rule.large, small_load=0.0, load_unit="mm3", many_lesions=0, least_peak=0.0)


FALSE_VOLUME = "false_volume_mm3"
"""Column of what is marked in a healthy scan; lower is better."""
ROUNDS = 3
"""How often all settings are gone through, at most."""
PARTS = 5
"""Number of parts of the cases for cross-fitting."""

Row = Mapping[str, float]
ScoreRules = Callable[[str, Sequence[PostprocessConfig]], Sequence[Row]]
"""From a case's or healthy scan's id and some rules to the values of each: the metrics, or the false volume."""


@dataclass(frozen=True)
class Judged:
    """The cases that rules are evaluated on.

    Attributes:
        people: Id of a labelled case or healthy scan to the person it is of.
        score: Scores rules on one of them.
    """

    people: Mapping[str, str]
    score: ScoreRules


@dataclass(frozen=True)
class Fit:
    """A fitted rule.

    Attributes:
        rule: Fitted on all cases.
        held_out: Id of each case to its values by a rule that was fitted on other people's cases.
        tried: How many rules were looked at, at most, for the final one.
    """

    rule: PostprocessConfig
    held_out: Mapping[str, Row]
    tried: int


def fit_rule(
    judged: Judged, start: PostprocessConfig, show: Callable[[float, str], None] = lambda done, name: None
) -> Fit:
    """Search on all cases, and once more for each part of them on the other parts.

    Args:
        judged: Cases of at least two people.
        start: Start of the search; it is kept unless another rule ranks better.
        show: Told how many of the searches (`count_searches`) are done.
    """
    held_out: dict[str, Row] = {}
    rule, tried = search_rule(judged, start, list(judged.people), lambda share: show(share, "all cases"))
    for number, part in enumerate(deal_parts(judged.people), start=1):
        others = [name for name in judged.people if name not in part]
        found, _ = search_rule(judged, start, others, partial(_show_part, show, number))
        for name in part:
            held_out[name] = judged.score(name, [found])[0]
    return Fit(rule, held_out, tried)


def search_rule(
    judged: Judged, start: PostprocessConfig, names: Sequence[str], show: Callable[[float], None] = lambda share: None
) -> tuple[PostprocessConfig, int]:
    """Change one setting after another to its best value, until nothing changes; also how many rules were tried.

    The rules that differ in one setting are ranked against one another (`mean_ranks`); of equally good ones the rule as
    it was stays. At the end the found rule is ranked against `start`, which stays unless it is worse.
    """
    rule, tried = start, {start}
    steps = ROUNDS * len(SPACE)
    for number in range(ROUNDS):
        before = rule
        for place, setting in enumerate(SPACE):
            candidates = list(variants(rule, setting))
            tried.update(candidates)
            rule = _best(judged, candidates, names)
            show((number * len(SPACE) + place + 1) / steps)
        if rule == before:
            break
    show(1.0)
    return _best(judged, [start, rule], names), len(tried)


def mean_ranks(means: Sequence[Row]) -> Float64[np.ndarray, " n"]:
    """The mean over all columns of the ranks (1 the best, equal ones share theirs) of rows of mean values."""
    higher_is_better = {metric.key: metric.higher_is_better for metric in ATLAS2022.metrics}
    signs = np.array([-1.0 if higher_is_better.get(column, False) else 1.0 for column in means[0]])
    values = np.array([[row[column] for column in means[0]] for row in means], np.float64)
    return np.asarray(rankdata(np.round(values * signs, 9), method="average", axis=0).mean(axis=1))


def mean_row(rows: Sequence[Row]) -> Row:
    """The mean of every column over the rows that have it; NaN are left out, and so is a column without numbers."""
    columns = dict.fromkeys(column for row in rows for column in row)
    values = {column: np.array([row[column] for row in rows if column in row], np.float64) for column in columns}
    defined = {column: each[~np.isnan(each)] for column, each in values.items()}
    return {column: float(each.mean()) for column, each in defined.items() if len(each)}


def deal_parts(people: Mapping[str, str]) -> list[list[str]]:
    """Deal the people into at most `PARTS` parts; the ids of each part. A person's scans stay together."""
    order = list(dict.fromkeys(people.values()))
    number = min(PARTS, len(order))
    return [[name for name, person in people.items() if order.index(person) % number == part] for part in range(number)]


def count_searches(people: Mapping[str, str]) -> int:
    """How many searches `fit_rule` makes."""
    return 1 + len(deal_parts(people))


def _show_part(show: Callable[[float, str], None], number: int, share: float) -> None:
    show(number + share, f"part {number}")


def _best(judged: Judged, rules: Sequence[PostprocessConfig], names: Sequence[str]) -> PostprocessConfig:
    scored = [judged.score(name, rules) for name in names]
    ranks = mean_ranks([mean_row(rows) for rows in zip(*scored, strict=True)])
    return rules[int(np.argmin(np.round(ranks, 9)))]  # rounding of means decides no tie
