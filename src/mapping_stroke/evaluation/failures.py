"""Which cases and scans show best where a model fails: the worst of a few kinds, chosen by their values alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mapping_stroke.evaluation.cohort_scores import LARGE, SMALL, WITH_LESION, CohortScores, LoadGroup
from mapping_stroke.evaluation.false_positives import BESIDE, HEALTHY, WITHOUT, MarkedScan, volumes_ml

Look = Literal["wrong", "missed", "false"]


@dataclass(frozen=True)
class Kind:
    """One way of failing.

    Attributes:
        title: What to call it.
        count: How many are chosen.
        look: Where to look: at all that is wrong, at the lesions, or at what is marked falsely.
    """

    title: str
    count: int
    look: Look


LOW_LARGE = Kind("Lowest Dice, 1 mL and more", 3, "wrong")
LOW_SMALL = Kind("Lowest Dice, below 1 mL", 2, "missed")
FALSE_BESIDE = Kind("Most marked outside the lesions", 2, "false")
FALSE_WITHOUT = Kind("Most marked where there is no lesion", 2, "false")


@dataclass(frozen=True)
class Failure:
    """A case or scan with which a model had trouble.

    Attributes:
        title: Kind of failure.
        look: Where to look, as for `Kind`.
        name: The case or scan.
        group: One of the groups of `false_positives`.
        load_ml: Its lesions.
        dice: Of the whole scan; None without lesion.
        missed_ml: Volume of the lesions that is not marked.
        false_ml: Volume that is marked outside the lesions.
    """

    title: str
    look: Look
    name: str
    group: str
    load_ml: float
    dice: float | None
    missed_ml: float
    false_ml: float


def choose_failures(scores: CohortScores, healthy: Sequence[MarkedScan], method: str) -> tuple[Failure, ...]:
    """The worst of each kind, each case once, worst first; of equal ones the largest load, then by name.

    Whole heads are never chosen: faces must not come into pictures.
    """
    cases = _with_lesion(scores, method)
    without = [scan for scan in (*scores.marked, *healthy) if scan.group in (WITHOUT, HEALTHY)]
    chosen: dict[tuple[bool, str], Failure] = {}
    for kind, group in ((LOW_LARGE, LARGE), (LOW_SMALL, SMALL)):
        _take(chosen, kind, sorted(_in_group(cases, group), key=lambda case: (case[1], -case[0].load_ml)))
    beside = [case for case in cases if case[0].false_ml > 0]
    _take(chosen, FALSE_BESIDE, sorted(beside, key=lambda case: -case[0].false_ml))
    marked = [
        (Failure("", "false", scan.name, scan.group, 0.0, None, 0.0, float(false_ml)), 0.0)
        for scan, false_ml in zip(without, volumes_ml(without, method), strict=True)
        if false_ml > 0
    ]
    _take(chosen, FALSE_WITHOUT, sorted(marked, key=lambda scan: -scan[0].false_ml))
    return tuple(chosen.values())


_Candidate = tuple[Failure, float]


def _with_lesion(scores: CohortScores, method: str) -> list[_Candidate]:
    """Every case with a lesion, by name, with its Dice."""
    found = []
    dice, false_ml = scores.values(method, "dice"), volumes_ml(scores.marked, method)
    for index in np.flatnonzero(WITH_LESION.holds(scores.loads_ml)):
        case, overlap = scores.cases[index], float(dice[index])
        hit_ml = overlap * (false_ml[index] + case.load_ml) / (2 - overlap)  # Dice = 2 hit / (hit + false + load)
        missed_ml = max(case.load_ml - float(hit_ml), 0.0)
        values = (case.load_ml, overlap, missed_ml, float(false_ml[index]))
        found.append((Failure("", "wrong", case.case_id, BESIDE, *values), overlap))
    return sorted(found, key=lambda case: case[0].name)


def _in_group(cases: Sequence[_Candidate], group: LoadGroup) -> list[_Candidate]:
    held = group.holds(np.array([case.load_ml for case, _ in cases], np.float64))
    return [case for case, inside in zip(cases, held, strict=True) if inside]


def _take(chosen: dict[tuple[bool, str], Failure], kind: Kind, ordered: Sequence[_Candidate]) -> None:
    """Add the first few that are not chosen yet."""
    left = [case for case, _ in ordered if (case.group == HEALTHY, case.name) not in chosen]
    for case in left[: kind.count]:
        facts = (case.name, case.group, case.load_ml, case.dice, case.missed_ml, case.false_ml)
        chosen[case.group == HEALTHY, case.name] = Failure(kind.title, kind.look, *facts)
