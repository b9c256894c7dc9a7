"""Scores of several methods on the same cases, and the ranges of lesion load by which they are told."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from mapping_stroke.evaluation.false_positives import BESIDE, WITHOUT, Marked, MarkedScan
from mapping_stroke.evaluation.intervals import Estimate, estimate_mean
from mapping_stroke.evaluation.profiles import ATLAS2022


@dataclass(frozen=True)
class LoadGroup:
    """Cases whose load is at least `lower_ml` and below `upper_ml`."""

    label: str
    lower_ml: float
    upper_ml: float

    def holds(self, loads_ml: Float64[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
        """Which of the cases belong to it."""
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
class JudgedCase:
    """One labelled case.

    Attributes:
        case_id: Its name.
        load_vox: Lesion voxels of the reference.
        load_ml: Their volume.
        scores: Method to metric to value, NaN where undefined; the same methods and metrics for every case.
        marked: Method to what it marks outside the lesions.
    """

    case_id: str
    load_vox: int
    load_ml: float
    scores: Mapping[str, Mapping[str, float]]
    marked: Mapping[str, Marked]


@dataclass(frozen=True)
class CohortScores:
    """Cases that the same methods segmented; at least one.

    Attributes:
        cases: In any order.
        methods: Keys of the methods, in the order in which tables show them.
    """

    cases: tuple[JudgedCase, ...]
    methods: tuple[str, ...]

    def __post_init__(self) -> None:
        assert self.cases, "scores need a case"

    @property
    def loads_ml(self) -> Float64[np.ndarray, " n"]:
        """The load of every case."""
        return np.array([case.load_ml for case in self.cases], np.float64)

    @property
    def marked(self) -> tuple[MarkedScan, ...]:
        """What is marked outside the lesions of every case."""
        lesions = WITH_LESION.holds(self.loads_ml)
        groups = [BESIDE if has_lesion else WITHOUT for has_lesion in lesions]
        return tuple(
            MarkedScan(case.case_id, group, case.marked) for case, group in zip(self.cases, groups, strict=True)
        )

    def values(self, method: str, metric: str) -> Float64[np.ndarray, " n"]:
        """One metric of a method, case by case; NaN where it is undefined."""
        return np.array([case.scores[method][metric] for case in self.cases], np.float64)

    def estimate(self, method: str, metric: str, group: LoadGroup = ALL_LOADS) -> Estimate:
        """The mean of a metric over a range of loads, with its interval."""
        return estimate_mean(self.values(method, metric)[group.holds(self.loads_ml)])

    def difference(self, method: str, other: str, metric: str) -> Estimate:
        """Mean of one method less that of another over all cases, paired."""
        return estimate_mean(self.values(method, metric) - self.values(other, metric))

    def best(self, methods: Sequence[str], metric: str = "dice") -> str:
        """Of some methods that with the best mean of a metric; the first of equal ones."""
        sign = 1 if next(row for row in ATLAS2022.metrics if row.key == metric).higher_is_better else -1
        return max(methods, key=lambda method: sign * self.estimate(method, metric).mean)
