"""Dice by kind of case: lesion load, number of lesions, hemisphere, site."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mapping_stroke.dataset.cases import Case
from mapping_stroke.evaluation.cohorts import Estimate
from mapping_stroke.evaluation.tables import CaseScore, order_methods
from mapping_stroke.files import none_if_nan
from mapping_stroke.report.distributions import load_label, load_labels
from mapping_stroke.report.publication import estimate_scores

SMALL_SHARE = 0.05
"""A side with a smaller share of the load does not count: a lesion next to the midplane is not one on both sides."""
NO_LESION = "no lesion"
LESION_GROUPS = ((1, 1, "1"), (2, 2, "2"), (3, 5, "3 to 5"))
MANY_LESIONS = "6 and more"
SIDES = (NO_LESION, "left", "right", "both")


@dataclass(frozen=True)
class Stratum:
    """Dice of each method over the cases of one kind.

    Attributes:
        label: The kind, such as `left`.
        cases: Number of cases.
        people: Number of people.
        dice: Method to its mean, with the 95 % interval by bootstrap over people.
    """

    label: str
    cases: int
    people: int
    dice: Mapping[str, Estimate]


@dataclass(frozen=True)
class Strata:
    """All cases split by one property; cases of which it is unknown are left out.

    Attributes:
        key: The property in files.
        title: The property in words.
        strata: Its values that occur, in a fixed order.
        unknown: Number of cases left out.
    """

    key: str
    title: str
    strata: tuple[Stratum, ...]
    unknown: int


def load_of(case: Case) -> str:
    """The range of a case's load; empty if it is unknown."""
    return "" if case.load_ml is None else load_label(case.load_ml)


def lesions_of(case: Case) -> str:
    """The range of the number of lesions of a case; empty if it is unknown."""
    if case.components is None:
        return ""
    if case.components == 0:
        return NO_LESION
    groups = (label for low, high, label in LESION_GROUPS if low <= case.components <= high)
    return next(groups, MANY_LESIONS)


def side_of(case: Case) -> str:
    """`left` or `right` of the plane x = 0, `both` if each side holds 5 % of the load; empty if it is unknown."""
    if case.left_ml is None or case.right_ml is None:
        return ""
    load_ml = case.left_ml + case.right_ml
    if load_ml == 0:
        return NO_LESION
    if min(case.left_ml, case.right_ml) >= SMALL_SHARE * load_ml:
        return "both"
    return "left" if case.left_ml > case.right_ml else "right"


def site_of(case: Case) -> str:
    """The site of a case; empty if it is unknown."""
    return case.site


@dataclass(frozen=True)
class Property:
    """A property of cases, and its values in order; those that are not listed follow by name."""

    key: str
    title: str
    value: Callable[[Case], str]
    order: tuple[str, ...] = ()


PROPERTIES = (
    Property("load", "Lesion load", load_of, load_labels()),
    Property("lesions", "Number of lesions", lesions_of, (NO_LESION, *(g[2] for g in LESION_GROUPS), MANY_LESIONS)),
    Property("side", "Hemisphere", side_of, SIDES),
    Property("site", "Site", site_of),
)


def stratify(scores: Sequence[CaseScore], cases: Sequence[Case]) -> list[Strata]:
    """Dice by each property that is known of at least one scored case.

    Args:
        scores: In any order; scores of other cases are skipped.
        cases: The run's cases.
    """
    scored = {score.case_id for score in scores}
    own = [case for case in cases if case.case_id in scored]
    found = [_split(scores, own, each) for each in PROPERTIES]
    return [strata for strata in found if strata.strata]


def _split(scores: Sequence[CaseScore], cases: Sequence[Case], each: Property) -> Strata:
    values = {case.case_id: each.value(case) for case in cases}
    people = {case.case_id: case.subject for case in cases}
    methods = order_methods(score.method for score in scores)
    place = {label: number for number, label in enumerate(each.order)}
    strata = []
    for label in sorted(set(values.values()) - {""}, key=lambda label: (place.get(label, len(place)), label)):
        inside = [score for score in scores if values.get(score.case_id) == label]
        ids = {score.case_id for score in inside}
        dice = {m: estimate_scores([s for s in inside if s.method == m], "dice", people) for m in methods}
        strata.append(Stratum(label, len(ids), len({people[case_id] or case_id for case_id in ids}), dice))
    return Strata(each.key, each.title, tuple(strata), sum(not value for value in values.values()))


STRATA_COLUMNS = ("by", "stratum", "method", "cases", "people", "dice_mean", "dice_low", "dice_high")


def strata_rows(strata: Sequence[Strata]) -> list[dict[str, object]]:
    """Rows of `strata.csv`; undefined values are None."""
    return [
        {
            "by": split.key,
            "stratum": stratum.label,
            "method": method,
            "cases": stratum.cases,
            "people": stratum.people,
            **{f"dice_{name}": none_if_nan(getattr(estimate, name)) for name in ("mean", "low", "high")},
        }
        for split in strata
        for stratum in split.strata
        for method, estimate in stratum.dice.items()
    ]
