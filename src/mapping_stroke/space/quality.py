"""How well a scan was registered, in numbers, and whether that will do."""

from dataclasses import dataclass

import numpy as np

from mapping_stroke.image import Affine

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
