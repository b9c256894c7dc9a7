"""What methods mark where there is no lesion: outside the lesions of labelled cases, and anywhere in healthy scans."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from mapping_stroke.image import Mask
from mapping_stroke.lesions import find_lesions

LIMITS_ML = (0.3, 1.0, 3.0)
"""How many scans lie above each is told."""

BESIDE, WITHOUT, HEALTHY, HEADS, HARD = (
    "labelled cases, outside their lesions",
    "labelled cases without lesion",
    "healthy scans",
    "whole heads",
    "hard scans",
)
"""The groups of scans that are told apart."""


@dataclass(frozen=True)
class Marked:
    """What one method marks falsely in one scan.

    Attributes:
        volume_mm3: Volume of the voxels that are marked and in no lesion.
        lesions: Marked lesions that touch none; in a healthy scan all.
    """

    volume_mm3: float
    lesions: int


@dataclass(frozen=True)
class MarkedScan:
    """What every method marks falsely in a scan, by the key of the method, and which scans it belongs to."""

    name: str
    group: str
    marked: Mapping[str, Marked]


@dataclass(frozen=True)
class FalsePositives:
    """What one method marks falsely in some scans; at least one.

    Attributes:
        scans: How many scans.
        empty: In how many nothing is marked falsely.
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


def find_false(mask: Mask, reference: Mask, voxel_volume_mm3: float) -> Marked:
    """What of a mask lies in no lesion of the reference, which is empty for a healthy scan."""
    lesions = find_lesions(mask)
    touching = np.unique(lesions.labels[reference[lesions.box] & mask[lesions.box]])
    false_vox = np.count_nonzero(mask & ~reference)
    return Marked(float(false_vox * voxel_volume_mm3), lesions.count - len(touching))


def volumes_ml(scans: Sequence[MarkedScan], method: str) -> Float64[np.ndarray, " n"]:
    """False volume of each scan in millilitres."""
    return np.array([scan.marked[method].volume_mm3 / 1000 for scan in scans], np.float64)


def count_false_positives(scans: Sequence[MarkedScan], method: str) -> FalsePositives:
    """Summarise what a method marks falsely in scans."""
    false_ml = volumes_ml(scans, method)
    return FalsePositives(
        scans=len(scans),
        empty=int(np.count_nonzero(false_ml == 0)),
        median_ml=float(np.median(false_ml)),
        largest_ml=float(false_ml.max()),
        mean_lesions=float(np.mean([scan.marked[method].lesions for scan in scans])),
        over={limit: int(np.count_nonzero(false_ml > limit)) for limit in LIMITS_ML},
    )
