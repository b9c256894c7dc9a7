"""Find the rule with the best mean rank over the metrics, and how well such rules do on cases they have not seen."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float64
from scipy.stats import rankdata

from mapping_stroke.evaluation.profiles import ATLAS2022
from mapping_stroke.evaluation.rule_space import SPACE, variants
from mapping_stroke.postprocess import PostprocessConfig

FALSE_VOLUME = "false_volume_mm3"
"""Column of what is marked in a healthy scan; lower is better."""
ROUNDS = 3
"""How often all settings are gone through, at most."""
PARTS = 5
"""The cases are dealt into so many parts for cross-fitting."""

Row = Mapping[str, float]
ScoreRules = Callable[[str, Sequence[PostprocessConfig]], Sequence[Row]]
"""From a case's or healthy scan's id and some rules to the values of each: the metrics, or the false volume."""


@dataclass(frozen=True)
class Judged:
    """What rules are judged on.

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
        start: Where the search begins; it is kept unless another rule ranks better.
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
