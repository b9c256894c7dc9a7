"""The place of a brain in MNI152 space: few rough starts, the best refined, and how good the fit is."""

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
"""Limits, measured in `benchmarks/results/registration.md`: see decision 46."""
SHEAR_DEG = 15.0
"""The axes of the template stay this near to right angles."""


@dataclass(frozen=True)
class Quality:
    """What speaks for a registration.

    Attributes:
        similarity: Share of the variation of intensities that the template's tissues explain, in the whole brain or on
            that side where it is larger, in [0, 1].
        overlap: Dice of the template's brain and the brain found in the scan, in [0, 1].
        size: Extent of the scan's brain along the template's axes (right, anterior, superior), template as 1.
        shear_deg: How far the template's axes are from right angles in the scan.
    """

    similarity: float
    overlap: float
    size: tuple[float, float, float]
    shear_deg: float

    def lines(self) -> list[str]:
        """The figures as a person reads them, a line each."""
        sizes = " x ".join(f"{size:.2f}" for size in self.size)
        return [
            f"similarity {self.similarity:.2f}",
            f"overlap {self.overlap:.2f}",
            f"size {sizes}",
            f"shear {self.shear_deg:.0f} deg",
        ]

    def complaints(self) -> list[str]:
        """What is beyond its limit, a phrase each; empty where the registration will do."""
        found = []
        if not self.similarity >= LEAST_SIMILARITY:
            found.append(f"similarity {self.similarity:.2f} is below {LEAST_SIMILARITY}")
        if not self.overlap >= LEAST_OVERLAP:
            found.append(f"the brains overlap by {self.overlap:.2f}, less than {LEAST_OVERLAP}")
        if not all(SMALLEST_SIZE <= size <= LARGEST_SIZE for size in self.size):
            sizes = " x ".join(f"{size:.2f}" for size in self.size)
            found.append(f"the brain's size is {sizes} of the template's, not {SMALLEST_SIZE} to {LARGEST_SIZE}")
        if not self.shear_deg <= SHEAR_DEG:
            found.append(f"the axes are sheared by {self.shear_deg:.0f} degrees, more than {SHEAR_DEG:.0f}")
        return found


def judge(place: Affine, similarity: float, overlap: float) -> Quality:
    """The quality of a place (template's millimetres to the scan's), whose size and shear are read from it."""
    size = np.linalg.norm(place[:3, :3], axis=0)
    axes = place[:3, :3] / size
    cosines = np.abs((axes.T @ axes)[np.triu_indices(3, 1)])
    x, y, z = (float(length) for length in size)
    return Quality(similarity, overlap, (x, y, z), float(np.degrees(np.arcsin(np.clip(cosines.max(), 0, 1)))))


TURN_DEG, TWICE_DEG, FAR_DEG = 30.0, 25.0, 75.0
"""Starts: about one axis, about two axes, and about one axis far."""
MOST_REFINED = 3
"""Of the rough places of a wave of starts; of the first wave only the best."""
STAYS_MM = 3.0
"""A scan that another program has put into MNI152 space lies nearer than this to where the template fits it best, mean
over the brain: eight real ones 1.4 to 1.7 mm."""
APART_MM = 8.0
"""Rough places nearer to each other, on average over the brain's box, are one."""
SURE_SIMILARITY = 0.33
"""A place with more is taken at once; if one that will do has less, the next wave may know a better one. Fifteen
real scans had 0.35 to 0.54 at their place; a simulated head that was placed 10 mm off had 0.29, and 0.52 where it
lies."""
WORTH_REFINING = 0.5
"""Of the least similarity: a place that has less after the coarse refinement is not the brain's."""


@dataclass(frozen=True, eq=False)
class Registration:
    """A place, and how good it is.

    Attributes:
        place: Template's millimetres to the scan's.
        quality: How well it fits.
        starts: Rough places that were refined until this one would do; 0 if nothing was looked for.
    """

    place: Affine
    quality: Quality
    starts: int


def waves() -> Iterator[Sequence[Turn]]:
    """Turns of the head to begin with, the likely ones first."""
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
    """Register a scan that may lie anywhere; the same place each time, on any number of threads.

    Args:
        small: A brain cut out of a scan, or a whole head, with voxels of about the template's size.
        overlap_at: Dice of the scan's brain and the template's at a place.

    Raises:
        RegistrationError: Nothing that was found from any start is good enough.
    """
    starts = 0
    best: Registration | None = None
    good: Registration | None = None
    for turns in waves():
        most = MOST_REFINED if starts else 1
        places = distinct([place for place, _ in find_places(small, turns)])[:most]
        starts += len(places)
        refined = [refine_place(small, place, COARSE) for place in places]
        for coarse_place, _ in sorted(refined, key=itemgetter(1), reverse=True):
            similarity = fit_at(small, coarse_place)
            place = coarse_place
            if similarity >= WORTH_REFINING * LEAST_SIMILARITY:
                place, _ = refine_place(small, coarse_place, FINE)
                similarity = fit_at(small, place)
            found = Registration(place, judge(place, similarity, overlap_at(place)), starts)
            if found.quality.complaints():
                best = _better(best, found)
                continue
            good = _better(good, found)
            if found.quality.similarity >= SURE_SIMILARITY:
                return found
        if good and good.starts < starts:  # a whole wave has not known a better one
            return good
    if good:
        return good
    why = "; ".join(best.quality.complaints()) if best else "the template fits nowhere"
    raise RegistrationError(
        f"could not be registered to MNI152 from {starts} starts ({why}): look whether it is a T1w scan of a whole "
        "brain with the right header; if it lies in MNI152 space already, say --space mni"
    )


def _better(one: Registration | None, other: Registration) -> Registration:
    return max(one or other, other, key=lambda each: each.quality.similarity)


def stays_there(small: Image) -> bool:
    """Whether the template fits a scan nowhere nearby better than where its header puts it, in MNI152 space."""
    there: Affine = np.eye(4)
    place, information = refine_place(small, there, FINE)
    return information > 0 and displacement_mm(place, there) < STAYS_MM


def displacement_mm(place: Affine, other: Affine) -> float:
    """How far apart two places put the brain, mean over it, in the scan's millimetres."""
    points = np.c_[tissue_points().places_mm, np.ones(len(tissue_points().places_mm))].T
    return float(np.linalg.norm(((place - other) @ points)[:3], axis=0).mean())


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
