"""Where a scan lies in MNI152 space: rough places from several starts, the best ones refined, the result judged."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from operator import itemgetter

import numpy as np
from scipy.spatial.transform import Rotation

from mapping_stroke.dataset.mni152 import tissue_points
from mapping_stroke.dataset.template_fit import UPRIGHT, Turn, find_places, fit_at
from mapping_stroke.errors import RegistrationError
from mapping_stroke.image import Affine, Image
from mapping_stroke.space.affine import COARSE, FINE, refine_place
from mapping_stroke.space.bias import divide_bias, find_bias
from mapping_stroke.space.brain import FoundBrain, find_brain
from mapping_stroke.space.quality import Quality, judge
from mapping_stroke.space.resample import shrink
from mapping_stroke.space.template import read_template

CELL_MM = 2.0
"""Scans are averaged to about this voxel size first: the template's."""
TURN_DEG, TWICE_DEG, FAR_DEG = 30.0, 25.0, 75.0
"""Starts: about one axis, about two axes, and about one axis far."""
MOST_REFINED = 3
"""Of the rough places of a wave of starts."""
STAYS_MM = 3.0
"""A scan that another program has put into MNI152 space lies nearer than this to where the template fits it best, mean
over the brain: eight real ones 1.4 to 1.7 mm."""
APART_MM = 8.0
"""Rough places nearer to each other, on average over the brain's box, are one."""


@dataclass(frozen=True, eq=False)
class Found:
    """A place, and what is seen there.

    Attributes:
        place: Template's millimetres to the scan's.
        quality: How well it fits.
        brain: The scan's brain, on the template's grid.
        bias: The bias field, on a coarse grid in the scan's space; None where none was found.
        starts: Rough places that were refined until this one would do.
    """

    place: Affine
    quality: Quality
    brain: FoundBrain
    bias: Image | None
    starts: int


def waves() -> Iterator[Sequence[Turn]]:
    """Turns of the head to begin with, the likely ones first."""
    yield [UPRIGHT, *_turns_about_one(TURN_DEG)]
    pairs = [
        TWICE_DEG * (sign * axis + other_sign * other)
        for axis, other in combinations(np.eye(3), 2)
        for sign, other_sign in product((-1, 1), repeat=2)
    ]
    yield [Rotation.from_rotvec(pair, degrees=True).as_matrix() for pair in pairs]
    yield _turns_about_one(FAR_DEG)


def search(scan: Image) -> Found:
    """Register a scan that may lie anywhere.

    Raises:
        RegistrationError: Nothing that was found from any start is good enough.
    """
    small = shrink(scan, CELL_MM)
    starts = 0
    best: Found | None = None
    for turns in waves():
        places = distinct([place for place, _ in find_places(small, turns)])[:MOST_REFINED]
        starts += len(places)
        refined = [refine_place(small, place, COARSE) for place in places]
        for place, _ in sorted(refined, key=itemgetter(1), reverse=True):
            found = look_at(scan, refine_place(small, place, FINE)[0], starts)
            if not found.quality.complaints():
                return found
            best = max(best or found, found, key=lambda one: one.quality.similarity)
    why = "; ".join(best.quality.complaints()) if best else "the template fits nowhere"
    raise RegistrationError(
        f"could not be registered to MNI152 from {starts} starts ({why}): look whether it is a T1w scan of a whole "
        "brain with the right header; where it lies in MNI152 space already, say --space mni"
    )


def stays_there(scan: Image) -> bool:
    """Whether the template fits a scan nowhere nearby better than where its header puts it, in MNI152 space."""
    there: Affine = np.eye(4)
    place, information = refine_place(shrink(scan, CELL_MM), there, FINE)
    return information > 0 and displacement_mm(place, there) < STAYS_MM


def displacement_mm(place: Affine, other: Affine) -> float:
    """How far apart two places put the brain, mean over it, in the scan's millimetres."""
    points = np.c_[tissue_points().places_mm, np.ones(len(tissue_points().places_mm))].T
    return float(np.linalg.norm(((place - other) @ points)[:3], axis=0).mean())


def look_at(scan: Image, place: Affine, starts: int = 0, *, unbiased: bool = False) -> Found:
    """What a scan shows where the template lies at a place: its bias, its brain, and how well the template fits.

    Args:
        scan: The scan.
        place: Template's millimetres to the scan's.
        starts: See `Found`.
        unbiased: No bias is looked for, which is what takes most of the time.
    """
    template = read_template()
    bias = None if unbiased else find_bias(scan, Image(template.brain, place @ template.affine))
    small = divide_bias(shrink(scan, CELL_MM), bias)
    brain = find_brain(small, place)
    return Found(place, judge(place, fit_at(small, place), brain.overlap), brain, bias, starts)


def distinct(places: Sequence[Affine]) -> list[Affine]:
    """The places without those that are nearly one that comes before."""
    template = read_template()
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(template.t1.shape) - 1)
    corners_mm = template.affine @ np.c_[corners, np.ones(8)].T
    kept: list[Affine] = []
    for place in places:
        apart = [np.linalg.norm((place - other) @ corners_mm, axis=0).mean() for other in kept]
        if all(distance > APART_MM for distance in apart):
            kept.append(place)
    return kept


def _turns_about_one(angle_deg: float) -> list[Turn]:
    return [
        Rotation.from_rotvec(sign * angle_deg * axis, degrees=True).as_matrix()
        for axis, sign in product(np.eye(3), (-1, 1))
    ]
