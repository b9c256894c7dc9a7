"""Register a brain to MNI152 space: a few rough starts, the best of them refined, and the quality of the fit."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from operator import itemgetter

import numpy as np
from scipy.spatial.transform import Rotation

from mapping_stroke.dataset.template_fit import UPRIGHT, Turn, find_places, fit_at, tissue_points
from mapping_stroke.errors import RegistrationError
from mapping_stroke.images.image import Image
from mapping_stroke.images.nifti import Affine
from mapping_stroke.space.affine import COARSE, FINE, refine_place
from mapping_stroke.space.template import read_template

LEAST_SIMILARITY = 0.15
LEAST_OVERLAP = 0.60
SMALLEST_SIZE, LARGEST_SIZE = 0.70, 1.25
"""Limits, measured in `benchmarks/results/registration.md`; see decision 46."""
SHEAR_DEG = 15.0
"""The template's axes stay within this angle of orthogonal."""


@dataclass(frozen=True)
class Quality:
    """Quality of a registration.

    Attributes:
        similarity: Share of the intensity variance explained by the template's tissues, in the whole brain or in the
            hemisphere with the larger share, in [0, 1].
        overlap: Dice of the template's brain and the brain found in the scan, in [0, 1].
        size: Extent of the scan's brain along the template's axes (right, anterior, superior), template as 1.
        shear_deg: Largest deviation of the template's axes from orthogonal in the scan.
    """

    similarity: float
    overlap: float
    size: tuple[float, float, float]
    shear_deg: float

    def lines(self) -> list[str]:
        """The values for people, one line each."""
        sizes = " x ".join(f"{size:.2f}" for size in self.size)
        return [
            f"similarity {self.similarity:.2f}",
            f"overlap {self.overlap:.2f}",
            f"size {sizes}",
            f"shear {self.shear_deg:.0f} deg",
        ]

    def complaints(self) -> list[str]:
        """Values beyond their limits, one phrase each, or none if the registration is acceptable."""
        found = []
        if not self.similarity >= LEAST_SIMILARITY:  # `not`, so that NaN is refused
            found.append(f"similarity {self.similarity:.2f} is below {LEAST_SIMILARITY}")
        if not self.overlap >= LEAST_OVERLAP:
            found.append(f"the brains overlap by {self.overlap:.2f}, less than {LEAST_OVERLAP}")
        if not all(SMALLEST_SIZE <= size <= LARGEST_SIZE for size in self.size):
            sizes = " x ".join(f"{size:.2f}" for size in self.size)
            found.append(f"the brain's size is {sizes} of the template's, not {SMALLEST_SIZE} to {LARGEST_SIZE}")
        if not self.shear_deg <= SHEAR_DEG:
            found.append(f"the axes are sheared by {self.shear_deg:.0f} degrees, more than {SHEAR_DEG:.0f}")
        return found


def rate(place: Affine, similarity: float, overlap: float) -> Quality:
    """The quality of a place (template's millimetres to the scan's), with size and shear derived from it."""
    size = np.linalg.norm(place[:3, :3], axis=0)
    axes = place[:3, :3] / size
    # orthogonal axes have cosines of 0 with each other
    cosines = np.abs((axes.T @ axes)[np.triu_indices(3, 1)])
    x, y, z = (float(length) for length in size)
    return Quality(similarity, overlap, (x, y, z), float(np.degrees(np.arcsin(np.clip(cosines.max(), 0, 1)))))


TURN_DEG, TWICE_DEG, FAR_DEG = 30.0, 25.0, 75.0
"""Rotations of the starts: about one axis, about two axes, and far about one axis."""
MOST_REFINED = 3
"""Number of rough places that are refined per wave of starts; only the best of the first wave."""
STAYS_MM = 3.0
"""A scan registered to MNI152 by another program is closer than this to the template's best fit, mean over the brain;
eight real ones were 1.4 to 1.7 mm away."""
APART_MM = 8.0
"""Rough places closer together than this, on average over the brain's box, count as one."""
SURE_SIMILARITY = 0.33
"""A place with more is accepted at once; with less, the next wave may find a better one. Fifteen real scans had 0.35 to
0.54 at their correct place; a simulated head had 0.29 when placed 10 mm off and 0.52 at its correct place."""
WORTH_REFINING = 0.5
"""Fraction of the least similarity; a place with less after the coarse refinement is not refined further."""


@dataclass(frozen=True, eq=False)
class Registration:
    """A place and its quality.

    Attributes:
        place: Template's millimetres to the scan's.
        quality: Quality of the fit.
        starts: Number of rough places refined until this one was accepted; 0 without a search.
    """

    place: Affine
    quality: Quality
    starts: int


def waves() -> Iterator[Sequence[Turn]]:
    """Rotations of the head to start from, the likely ones first."""
    yield [UPRIGHT]
    yield _turns_about_one(TURN_DEG)
    pairs = [
        TWICE_DEG * (sign * axis + other_sign * other)
        for axis, other in combinations(np.eye(3), 2)
        for sign, other_sign in product((-1, 1), repeat=2)
    ]
    yield [Rotation.from_rotvec(pair, degrees=True).as_matrix() for pair in pairs]
    yield _turns_about_one(FAR_DEG)


def search(small: Image, overlap_at: Callable[[Affine], float]) -> Registration:
    """Register a scan that may lie anywhere. The result is deterministic on any number of threads.

    Args:
        small: A brain cut out of a scan, or a whole head, with voxels of about the template's size.
        overlap_at: Dice of the scan's and the template's brain at a place.

    Raises:
        RegistrationError: No start leads to an acceptable place.
    """
    starts = 0
    best: Registration | None = None
    good: Registration | None = None
    for turns in waves():
        most = MOST_REFINED if starts else 1
        places = distinct([place for place, _ in find_places(small, turns)])[:most]
        starts += len(places)
        refined = [refine_place(small, place, COARSE) for place in places]
        # by mutual information, so that the likeliest is rated first
        for coarse_place, _ in sorted(refined, key=itemgetter(1), reverse=True):
            similarity = fit_at(small, coarse_place)
            place = coarse_place
            # the fine level is slow, and cannot rescue a start in the wrong basin
            if similarity >= WORTH_REFINING * LEAST_SIMILARITY:
                place, _ = refine_place(small, coarse_place, FINE)
                similarity = fit_at(small, place)
            found = Registration(place, rate(place, similarity, overlap_at(place)), starts)
            if found.quality.complaints():
                best = _better(best, found)
                continue
            good = _better(good, found)
            if found.quality.similarity >= SURE_SIMILARITY:
                return found
        if good and good.starts < starts:  # a whole wave has found nothing better
            return good
    if good:
        return good
    why = "; ".join(best.quality.complaints()) if best else "the template fits nowhere"
    raise RegistrationError(
        f"could not be registered to MNI152 from {starts} starts ({why}): check that it is a T1w scan of a whole "
        "brain with a correct header; if it already lies in MNI152 space, use --space mni"
    )


def _better(one: Registration | None, other: Registration) -> Registration:
    return max(one or other, other, key=lambda each: each.quality.similarity)


def stays_there(small: Image) -> bool:
    """Whether no place nearby fits the template better than the one in the scan's header, in MNI152 space."""
    there: Affine = np.eye(4)
    place, information = refine_place(small, there, FINE)
    return information > 0 and displacement_mm(place, there) < STAYS_MM


def displacement_mm(place: Affine, other: Affine) -> float:
    """Mean distance between the brain at two places, in the scan's millimetres."""
    points = np.c_[tissue_points().places_mm, np.ones(len(tissue_points().places_mm))].T
    return float(np.linalg.norm(((place - other) @ points)[:3], axis=0).mean())


def distinct(places: Sequence[Affine]) -> list[Affine]:
    """The places without those that nearly repeat an earlier one."""
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
