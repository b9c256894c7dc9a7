"""Scores of a cohort: by lesion load, false positives, worst cases, bootstrap intervals."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64

from mapping_stroke.images.image import Mask
from mapping_stroke.lesions import find_lesions

RESAMPLES = 2000
SEED = 0
LEVEL = 0.95
FEWEST_PEOPLE = 5
"""Fewer people have no interval: resamples of so few values say nothing about others."""


@dataclass(frozen=True)
class Estimate:
    """A mean over cases.

    Attributes:
        mean: Mean over the cases with a defined value; NaN if there are none.
        std: Standard deviation over the same cases, with n - 1; NaN for fewer than two.
        low, high: Ends of the 95 % interval of the mean; NaN for fewer than `FEWEST_PEOPLE` people with a
            defined value.
        cases: Number of cases, defined or not.
        undefined: Number of cases left out because their value is NaN.
    """

    mean: float
    std: float
    low: float
    high: float
    cases: int
    undefined: int


def estimate_mean(values: Float64[np.ndarray, " n"], people: Sequence[str] | None = None) -> Estimate:
    """Mean and 95 % percentile bootstrap interval; the same values give the same interval.

    The cases drawn depend only on their number. Arrays over the same cases are therefore resampled together, and the
    interval of a difference is that of paired cases. Source: Efron and Tibshirani 1993, chapter 13.

    Args:
        values: One for each case; NaN if undefined.
        people: The person of each case. All cases of a person are drawn together, because they are not independent
            (cluster bootstrap: Davison and Hinkley 1997, section 3.8). None if each case is another person.
    """
    known = ~np.isnan(values)
    defined = values[known]
    undefined = len(values) - len(defined)
    mean = float(defined.mean()) if len(defined) else math.nan
    std = float(defined.std(ddof=1)) if len(defined) > 1 else math.nan
    number = _number_people(people, len(values))
    if len(set(number[known].tolist())) < FEWEST_PEOPLE:
        return Estimate(mean, std, math.nan, math.nan, len(values), undefined)
    drawn = _drawn(int(number.max()) + 1)  # of all people, so that undefined values vary the number as well
    totals = drawn @ np.bincount(number, known)
    sums = drawn @ np.bincount(number, np.where(known, values, 0))
    means = sums[totals > 0] / totals[totals > 0]  # a resample may hold only undefined cases
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Estimate(mean, std, float(low), float(high), len(values), undefined)


def _number_people(people: Sequence[str] | None, cases: int) -> Int64[np.ndarray, " n"]:
    """The number of each case's person, from 0 in the order of their first case."""
    if people is None:
        return np.arange(cases)
    numbers = {person: number for number, person in enumerate(dict.fromkeys(people))}
    return np.array([numbers[person] for person in people], np.int64)


@lru_cache(maxsize=16)
def _drawn(cases: int) -> Float64[np.ndarray, "resamples n"]:
    """Number of times that each case, or person, is drawn in each resample."""
    return np.random.default_rng(SEED).multinomial(cases, np.full(cases, 1 / cases), RESAMPLES).astype(np.float64)


LIMITS_ML = (0.3, 1.0, 3.0)
"""The number of scans above each of these false volumes is reported."""

BESIDE, WITHOUT, HEALTHY, HEADS, HARD = (
    "labelled cases, outside their lesions",
    "labelled cases without lesion",
    "healthy scans",
    "whole heads",
    "hard scans",
)
"""Groups of scans that are reported separately."""


@dataclass(frozen=True)
class Marked:
    """The false positives of one method in one scan.

    Attributes:
        volume_mm3: Marked volume outside the lesions.
        lesions: Number of marked lesions that touch no true one.
    """

    volume_mm3: float
    lesions: int


@dataclass(frozen=True)
class MarkedScan:
    """The false positives in a scan, by method, and the group of the scan."""

    name: str
    group: str
    marked: Mapping[str, Marked]


@dataclass(frozen=True)
class FalsePositives:
    """The false positives of one method in one or more scans.

    Attributes:
        scans: Number of scans.
        empty: Number of scans without false positives.
        median_ml: Median false volume.
        largest_ml: Largest false volume.
        mean_lesions: Mean number of false lesions per scan.
        over: Limit in mL to the number of scans above it.
    """

    scans: int
    empty: int
    median_ml: float
    largest_ml: float
    mean_lesions: float
    over: Mapping[float, int]


def find_false(mask: Mask, reference: Mask, voxel_volume_mm3: float) -> Marked:
    """The false positives of a mask; for a healthy scan, the reference is empty."""
    lesions = find_lesions(mask)
    # labels of marked lesions that share a voxel with the reference
    touching = np.unique(lesions.labels[reference[lesions.box] & mask[lesions.box]])
    false_vox = np.count_nonzero(mask & ~reference)
    return Marked(float(false_vox * voxel_volume_mm3), lesions.count - len(touching))


def volumes_ml(scans: Sequence[MarkedScan], method: str) -> Float64[np.ndarray, " n"]:
    """False volume of each scan in millilitres."""
    return np.array([scan.marked[method].volume_mm3 / 1000 for scan in scans], np.float64)


def count_false_positives(scans: Sequence[MarkedScan], method: str) -> FalsePositives:
    """Summarise the false positives of a method."""
    false_ml = volumes_ml(scans, method)
    return FalsePositives(
        scans=len(scans),
        empty=int(np.count_nonzero(false_ml == 0)),
        median_ml=float(np.median(false_ml)),
        largest_ml=float(false_ml.max()),
        mean_lesions=float(np.mean([scan.marked[method].lesions for scan in scans])),
        over={limit: int(np.count_nonzero(false_ml > limit)) for limit in LIMITS_ML},
    )


@dataclass(frozen=True)
class LoadGroup:
    """Cases whose load is at least `lower_ml` and below `upper_ml`."""

    label: str
    lower_ml: float
    upper_ml: float

    def holds(self, loads_ml: Float64[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
        """Whether each case belongs to the group."""
        return np.asarray((loads_ml >= self.lower_ml) & (loads_ml < self.upper_ml))


NO_VOXEL_ML = 1e-9
"""Less than any voxel: a case with a smaller load has no lesion."""
ALL_LOADS = LoadGroup("all", 0.0, math.inf)
WITH_LESION = LoadGroup("with a lesion", NO_VOXEL_ML, math.inf)
LARGE, SMALL = LoadGroup("1 mL and more", 1.0, math.inf), LoadGroup("below 1 mL", NO_VOXEL_ML, 1.0)
DISJOINT_GROUPS = (
    LoadGroup("no lesion", 0.0, NO_VOXEL_ML),
    LoadGroup("below 0.1 mL", NO_VOXEL_ML, 0.1),
    LoadGroup("0.1 to 1 mL", 0.1, 1.0),
    LoadGroup("1 to 5 mL", 1.0, 5.0),
    LoadGroup("5 to 20 mL", 5.0, 20.0),
    LoadGroup("20 to 100 mL", 20.0, 100.0),
    LoadGroup("100 mL and more", 100.0, math.inf),
)
LOAD_GROUPS = (ALL_LOADS, WITH_LESION, LARGE, SMALL, *DISJOINT_GROUPS)


@dataclass(frozen=True)
class ScoredCase:
    """One labelled case.

    Attributes:
        case_id: Its name.
        load_vox: Lesion voxels of the reference.
        load_ml: Their volume.
        scores: Method to metric to value, NaN if undefined; the same methods and metrics for every case.
        marked: Method to its false positives.
    """

    case_id: str
    load_vox: int
    load_ml: float
    scores: Mapping[str, Mapping[str, float]]
    marked: Mapping[str, Marked]


@dataclass(frozen=True)
class CohortScores:
    """Scores of the same methods on at least one case.

    Attributes:
        cases: In any order.
        methods: Keys of the methods, in the order in which tables show them.
    """

    cases: tuple[ScoredCase, ...]
    methods: tuple[str, ...]

    def __post_init__(self) -> None:
        assert self.cases, "scores need a case"

    @property
    def loads_ml(self) -> Float64[np.ndarray, " n"]:
        """The load of every case."""
        return np.array([case.load_ml for case in self.cases], np.float64)

    @property
    def marked(self) -> tuple[MarkedScan, ...]:
        """The false positives of every case."""
        lesions = WITH_LESION.holds(self.loads_ml)
        groups = [BESIDE if has_lesion else WITHOUT for has_lesion in lesions]
        return tuple(
            MarkedScan(case.case_id, group, case.marked) for case, group in zip(self.cases, groups, strict=True)
        )

    def values(self, method: str, metric: str) -> Float64[np.ndarray, " n"]:
        """One metric of a method, case by case; NaN if it is undefined."""
        return np.array([case.scores[method][metric] for case in self.cases], np.float64)

    def estimate(self, method: str, metric: str, group: LoadGroup = ALL_LOADS) -> Estimate:
        """Mean of a metric over a group of cases, with its interval."""
        return estimate_mean(self.values(method, metric)[group.holds(self.loads_ml)])

    def difference(self, method: str, other: str, metric: str) -> Estimate:
        """Mean difference between two methods over all cases, paired."""
        return estimate_mean(self.values(method, metric) - self.values(other, metric))

    def best(self, methods: Sequence[str]) -> str:
        """The method with the highest mean Dice; the first of equals."""
        return max(methods, key=lambda method: self.estimate(method, "dice").mean)


Look = Literal["wrong", "missed", "false"]


@dataclass(frozen=True)
class Kind:
    """A kind of failure.

    Attributes:
        title: Its title.
        count: Number of failures to choose.
        look: Region to show: all errors, the lesions, or the false positives.
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
    """A case or scan with a poor result.

    Attributes:
        title: Kind of failure.
        look: Region to show, as for `Kind`.
        name: The case or scan.
        group: Group of the scan, such as `HEALTHY`.
        load_ml: Volume of its lesions.
        dice: Dice of the scan; None without lesion.
        missed_ml: Lesion volume that is not marked.
        false_ml: Marked volume outside the lesions.
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
    """The worst of each kind, each case only once, worst first; equal ones by load (largest first), then name.

    Whole heads are never chosen, because faces must not appear in pictures.
    """
    cases = _with_lesion(scores, method)
    without = [scan for scan in (*scores.marked, *healthy) if scan.group in (WITHOUT, HEALTHY)]
    chosen: dict[tuple[bool, str], Failure] = {}
    for kind, group in ((LOW_LARGE, LARGE), (LOW_SMALL, SMALL)):
        _take(chosen, kind, sorted(_in_group(cases, group), key=lambda case: (case.dice or 0.0, -case.load_ml)))
    outside = [case for case in cases if case.false_ml > 0]
    _take(chosen, FALSE_BESIDE, sorted(outside, key=lambda case: -case.false_ml))
    marked = [
        Failure("", "false", scan.name, scan.group, 0.0, None, 0.0, float(false_ml))
        for scan, false_ml in zip(without, volumes_ml(without, method), strict=True)
        if false_ml > 0
    ]
    _take(chosen, FALSE_WITHOUT, sorted(marked, key=lambda scan: -scan.false_ml))
    return tuple(chosen.values())


def _with_lesion(scores: CohortScores, method: str) -> list[Failure]:
    """Every case with a lesion, by name, as a possible failure."""
    found = []
    dice, false_ml = scores.values(method, "dice"), volumes_ml(scores.marked, method)
    for index in np.flatnonzero(WITH_LESION.holds(scores.loads_ml)):
        case, overlap = scores.cases[index], float(dice[index])
        # Dice = 2 hit / (hit + false + load), solved for the volume that is hit
        hit_ml = overlap * (false_ml[index] + case.load_ml) / (2 - overlap)
        missed_ml = max(case.load_ml - float(hit_ml), 0.0)
        values = (case.load_ml, overlap, missed_ml, float(false_ml[index]))
        found.append(Failure("", "wrong", case.case_id, BESIDE, *values))
    return sorted(found, key=lambda case: case.name)


def _in_group(cases: Sequence[Failure], group: LoadGroup) -> list[Failure]:
    held = group.holds(np.array([case.load_ml for case in cases], np.float64))
    return [case for case, inside in zip(cases, held, strict=True) if inside]


def _take(chosen: dict[tuple[bool, str], Failure], kind: Kind, ordered: Sequence[Failure]) -> None:
    """Add the first ones that are not chosen yet."""
    # a healthy scan may have the name of a labelled case
    left = [case for case in ordered if (case.group == HEALTHY, case.name) not in chosen]
    for case in left[: kind.count]:
        chosen[case.group == HEALTHY, case.name] = replace(case, title=kind.title, look=kind.look)
