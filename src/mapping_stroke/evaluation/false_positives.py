"""What methods mark in healthy scans: every voxel of it is false."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

LIMITS_ML = (0.3, 1.0, 3.0)
"""How many scans lie above each is told."""


@dataclass(frozen=True)
class Marked:
    """What one method marks in one healthy scan."""

    volume_mm3: float
    lesions: int


@dataclass(frozen=True)
class HealthyScan:
    """What every method marks in a healthy scan, by the key of the method."""

    name: str
    marked: Mapping[str, Marked]


@dataclass(frozen=True)
class FalsePositives:
    """What one method marks in some healthy scans; at least one.

    Attributes:
        scans: How many scans.
        empty: Of how many the mask is empty.
        median_ml: Of the false volumes.
        largest_ml: Of the false volumes.
        mean_lesions: False lesions a scan.
        over: Limit in mL to the number of scans above it.
    """

    scans: int
    empty: int
    median_ml: float
    largest_ml: float
    mean_lesions: float
    over: Mapping[float, int]


def volumes_ml(scans: Sequence[HealthyScan], method: str) -> Float64[np.ndarray, " n"]:
    """False volume of each scan in millilitres."""
    return np.array([scan.marked[method].volume_mm3 / 1000 for scan in scans], np.float64)


def count_false_positives(scans: Sequence[HealthyScan], method: str) -> FalsePositives:
    """Summarise what a method marks in healthy scans."""
    false_ml = volumes_ml(scans, method)
    return FalsePositives(
        scans=len(scans),
        empty=int(np.count_nonzero(false_ml == 0)),
        median_ml=float(np.median(false_ml)),
        largest_ml=float(false_ml.max()),
        mean_lesions=float(np.mean([scan.marked[method].lesions for scan in scans])),
        over={limit: int(np.count_nonzero(false_ml > limit)) for limit in LIMITS_ML},
    )
