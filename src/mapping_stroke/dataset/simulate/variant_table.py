"""Where brains are unusual without being ill: the rows that normal variants are drawn from."""

import math
from dataclasses import dataclass
from typing import Literal

from mapping_stroke.dataset.simulate.anatomy import CSF_LEVEL

Point = tuple[float, float, float]
Range = tuple[float, float]


@dataclass(frozen=True)
class Variant:
    """A row of the table of variants: where, how often, how large. Right side, MNI, mm; intensities of `anatomy`.

    Attributes:
        name: What it is.
        probability: How often, for a person of middle age; twice as often in the oldest where `ages`.
        centre_mm: Its usual centre.
        spread_mm: Standard deviation of the centre along each axis.
        half_axes_mm: Smallest and largest half axis along x, y, z.
        level: Its intensity, at least and at most.
        push: Share of the tissue's way aside; what is not pushed aside is replaced.
        sides: `one`, `both`, or `middle`.
        count: How many at most on a side; 1 to so many.
        wavy: How uneven its edge is.
        ages: Whether it is more frequent in old people.
    """

    name: str
    probability: float
    centre_mm: Point
    spread_mm: Point
    half_axes_mm: tuple[Range, Range, Range]
    level: Range = (CSF_LEVEL, CSF_LEVEL)
    push: Range = (0.0, 0.0)
    sides: Literal["one", "both", "middle"] = "one"
    count: int = 1
    wavy: float = 0.12
    ages: bool = False

    def share(self, age: float) -> float:
        """How often people of this age (0 young to 1 old) have it."""
        return self.probability * (0.5 + 1.5 * age if self.ages else 1.0)

    @property
    def largest_mm3(self) -> float:
        """Volume of the largest single one."""
        a, b, c = (high for _, high in self.half_axes_mm)
        return 4 / 3 * math.pi * a * b * c


FLUID, PUSHED = (0.23, 0.30), (0.5, 0.95)
# fmt: off
VARIANTS = (
    Variant("wide Sylvian fissure", 0.05, (46, 4, 0), (4, 9, 5),
            ((4, 10), (10, 24), (4, 11)), FLUID, wavy=0.3, ages=True),
    Variant("wide Sylvian fissures", 0.05, (46, 2, 2), (4, 7, 4),
            ((3, 8), (8, 20), (3, 9)), FLUID, (0, 0), "both", 1, 0.3),
    Variant("wide temporal pole", 0.05, (38, 20, -30), (5, 5, 5),
            ((6, 13), (4, 11), (6, 14)), FLUID, wavy=0.25, ages=True),
    Variant("wide temporal poles", 0.04, (38, 20, -30), (4, 4, 4),
            ((5, 11), (4, 8), (5, 12)), FLUID, (0, 0), "both", 1, 0.25),
    Variant("cyst of the middle fossa", 0.02, (42, 16, -28), (6, 7, 6), ((8, 20), (8, 22), (8, 20)), FLUID, PUSHED),
    Variant("cyst of the Sylvian fissure", 0.015, (50, 6, 0), (5, 10, 6),
            ((6, 14), (9, 22), (6, 15)), FLUID, PUSHED),
    Variant("cyst of the convexity", 0.015, (40, -12, 50), (10, 34, 12), ((6, 16), (8, 22), (6, 16)), FLUID, PUSHED),
    Variant("retrocerebellar cyst", 0.02, (6, -84, -40), (8, 5, 6), ((10, 26), (6, 16), (8, 20)), FLUID, PUSHED),
    Variant("large cisterna magna", 0.07, (0, -80, -46), (4, 5, 5),
            ((9, 24), (6, 15), (7, 18)), FLUID, (0, 0.4), "middle"),
    Variant("wide quadrigeminal cistern", 0.04, (0, -42, -2), (2, 4, 4),
            ((4, 9), (5, 11), (5, 10)), FLUID, PUSHED, "middle"),
    Variant("wide cerebellopontine cistern", 0.05, (24, -36, -36), (5, 5, 5),
            ((4, 10), (5, 12), (4, 10)), FLUID, (0.2, 0.8)),
    Variant("cavum septi pellucidi", 0.05, (0, 10, 13), (0.5, 4, 2),
            ((1.5, 5), (7, 14), (4, 9)), FLUID, (0.8, 1), "middle", 1, 0.05),
    Variant("cavum vergae", 0.02, (0, -8, 17), (0.5, 4, 2),
            ((2, 5), (12, 26), (3, 6)), FLUID, (0.8, 1), "middle", 1, 0.05),
    Variant("wide temporal horn", 0.10, (32, -20, -16), (2, 4, 2),
            ((2.5, 6), (8, 18), (2.5, 6)), FLUID, (0, 0.6), ages=True),
    Variant("wide temporal horns", 0.07, (32, -20, -16), (2, 4, 2),
            ((2, 5), (7, 16), (2, 5)), FLUID, (0, 0.6), "both", ages=True),
    Variant("wide occipital horn", 0.06, (24, -76, 4), (3, 6, 3), ((2.5, 7), (8, 16), (3, 7)), FLUID, (0, 0.6)),
    Variant("vessel spaces below the putamen", 0.22, (24, 4, -8), (3, 5, 3),
            ((1.0, 3.0), (1.2, 4.0), (1.0, 3.2)), (0.25, 0.42), (0.2, 0.8), "both", 6, ages=True),
    Variant("vessel spaces of the midbrain", 0.04, (10, -16, -10), (4, 4, 4),
            ((1.5, 4), (1.5, 4), (1.5, 5)), FLUID, PUSHED, count=4),
    Variant("wide vessel space", 0.02, (26, 2, -6), (4, 6, 4), ((3, 9), (4, 10), (3, 8)), FLUID, PUSHED, count=3),
    Variant("fissure of the hippocampus", 0.08, (28, -24, -12), (3, 5, 2),
            ((1, 2.5), (1.5, 5), (1, 2.5)), (0.25, 0.4), sides="both", count=3),
    Variant("choroid plexus", 0.30, (24, -42, 8), (3, 4, 4), ((2, 5), (3, 8), (3, 7)), (0.40, 0.62), sides="both"),
    Variant("calcified choroid plexus", 0.10, (24, -42, 8), (3, 4, 4),
            ((2, 5), (2, 6), (2, 6)), (0.05, 0.2), sides="both", ages=True),
    Variant("cyst of the choroid plexus", 0.05, (25, -44, 8), (3, 3, 4), ((4, 8), (5, 10), (5, 9)), FLUID, PUSHED),
    Variant("calcified pineal body", 0.10, (0, -27, 4), (1, 2, 2),
            ((1.5, 4), (2, 5), (2, 4)), (0.05, 0.3), sides="middle"),
    Variant("cyst of the pineal body", 0.04, (0, -28, 3), (1, 2, 2),
            ((3, 6), (3, 7), (3, 6)), FLUID, PUSHED, "middle"),
    Variant("dark globus pallidus", 0.08, (20, -4, -2), (1, 2, 1),
            ((3, 5), (5, 8), (4, 6)), (0.35, 0.6), sides="both", ages=True),
    Variant("cleft of the vertex", 0.05, (8, -20, 66), (6, 24, 5),
            ((2, 6), (6, 18), (4, 12)), FLUID, wavy=0.3, ages=True),
    Variant("wide frontal sulci", 0.05, (26, 48, 30), (10, 8, 10),
            ((4, 10), (5, 12), (5, 14)), FLUID, wavy=0.4, ages=True),
    Variant("pit of a granulation", 0.06, (24, -50, 62), (16, 30, 6),
            ((2, 4), (2, 4), (2, 4)), (0.2, 0.3), PUSHED, count=3),
)
# fmt: on
"""All variants that fill a place with something else."""


@dataclass(frozen=True)
class Shade:
    """A row of the table of dim patches with soft borders, and what is drawn of it.

    Attributes:
        name: Where.
        probability: How often.
        centre_mm: Its usual centre, right side, MNI.
        radius_mm: Least and most.
        loss: Share of the signal that is lost in its middle, least and most; below 0 it is brighter.
    """

    name: str
    probability: float
    centre_mm: Point
    radius_mm: Range
    loss: Range


SHADES = (
    Shade("cerebellum", 0.14, (26, -68, -32), (10, 26), (0.08, 0.42)),
    Shade("cerebellum, both sides", 0.10, (0, -66, -38), (22, 45), (0.08, 0.40)),
    Shade("occipital pole", 0.06, (16, -92, 0), (12, 28), (0.06, 0.35)),
    Shade("temporal pole", 0.08, (38, 8, -36), (10, 24), (0.08, 0.40)),
    Shade("frontal base", 0.08, (6, 36, -22), (9, 22), (0.10, 0.50)),
    Shade("ear", 0.06, (56, -24, -28), (8, 18), (0.10, 0.45)),
    Shade("one side", 0.05, (60, -20, 10), (35, 60), (0.08, 0.30)),
    Shade("anywhere", 0.06, (30, -20, 30), (10, 30), (-0.15, 0.20)),
)
