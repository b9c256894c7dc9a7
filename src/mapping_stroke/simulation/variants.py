"""Normal variants that mimic strokes: cysts, wide fissures and cisterns, perivascular spaces, signal loss."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mapping_stroke.dataset.grid import Box
from mapping_stroke.simulation.brain import CSF_LEVEL, GREY_LEVEL, Brain
from mapping_stroke.simulation.volume import Volume, look_up, smooth_field

Point = tuple[float, float, float]
Range = tuple[float, float]


@dataclass(frozen=True)
class Variant:
    """A normal variant: location, frequency and size. Right hemisphere, MNI, mm. CSF 0.25, grey 0.65, white 1.

    Attributes:
        name: Name of the variant.
        probability: Frequency in middle age; with `ages`, up to twice as high in the oldest.
        centre_mm: Mean centre.
        spread_mm: Standard deviation of the centre along each axis.
        half_axes_mm: Range of the semi-axes along x, y, z.
        level: Range of its intensity.
        push: Range of the share of tissue that is displaced; the rest is replaced.
        sides: `one`, `both`, or `middle`.
        count: Largest number per side.
        wavy: Irregularity of its edge.
        ages: Whether its frequency increases with age.
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
        """Frequency at this age (0 young to 1 old)."""
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
"""All variants that fill a region with another intensity."""


@dataclass(frozen=True)
class Shade:
    """A patch of signal loss with soft borders.

    Attributes:
        name: Location.
        probability: Frequency.
        centre_mm: Mean centre, right hemisphere, MNI.
        radius_mm: Range of the radius.
        loss: Range of the share of signal lost at its centre; negative for a gain.
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


SHELL_MM = 2.5
"""Thickness of white matter that becomes cortex around a pool that displaces no tissue."""
REACH = 1.9
"""Reach of the displacement around a pool, in units of its semi-axes."""
EDGE_MM = 0.6
"""Half-width of a pool's edge."""
WAVES_MM = 9.0
"""Knot spacing of the irregularity of a pool's edge."""


@dataclass(frozen=True)
class Pool:
    """A drawn variant: an ellipsoid of another intensity.

    Attributes:
        centre_mm: Centre, MNI.
        half_axes_mm: Semi-axes along x, y, z.
        level: Intensity.
        push: Share of tissue that is displaced, in [0, 1].
        wavy: Irregularity of the edge.
    """

    centre_mm: Point
    half_axes_mm: Point
    level: float
    push: float
    wavy: float


@dataclass(frozen=True)
class Dimness:
    """A drawn patch of signal loss: a Gaussian bump.

    Attributes:
        centre_mm: Centre, MNI.
        radius_mm: Standard deviation of the bump.
        loss: Share of the signal lost at its centre.
    """

    centre_mm: Point
    radius_mm: float
    loss: float


@dataclass(frozen=True)
class Variants:
    """The normal variants of a person.

    Attributes:
        pools: Filled regions, in the order of filling.
        dim: Patches of signal loss.
    """

    pools: tuple[Pool, ...] = ()
    dim: tuple[Dimness, ...] = ()


NO_VARIANTS = Variants()


def draw_variants(age: float, rng: np.random.Generator) -> Variants:
    """Draw each variant independently.

    Args:
        age: 0 young to 1 old.
        rng: Source of the numbers.
    """
    pools: list[Pool] = []
    for row, chance in zip(VARIANTS, rng.random(len(VARIANTS)), strict=True):
        if chance < row.share(age):
            pools += _draw_pools(row, rng)
    dim = [
        _draw_dimness(row, rng)
        for row, chance in zip(SHADES, rng.random(len(SHADES)), strict=True)
        if chance < row.probability
    ]
    return Variants(tuple(pools), tuple(dim))


def make_variants(pools: Sequence[Variant], dim: Sequence[Shade], rng: np.random.Generator) -> Variants:
    """Draw all of the given variants, however rare they are."""
    drawn = [pool for row in pools for pool in _draw_pools(row, rng)]
    return Variants(tuple(drawn), tuple(_draw_dimness(row, rng) for row in dim))


def apply_variants(t1: Volume, brain: Brain, variants: Variants, rng: np.random.Generator) -> Volume:
    """Add the variants to the intensities. Without any, return `t1` itself.

    Args:
        t1: Intensities of the brain; 0 outside.
        brain: The brain they belong to.
        variants: Its variants.
        rng: Source of the irregular edges.
    """
    if variants == NO_VARIANTS:
        return t1
    t1 = t1.clone()
    for pool in variants.pools:
        _fill(t1, brain, pool, rng)
    for patch in variants.dim:
        box = _box(brain, patch.centre_mm, [2.5 * patch.radius_mm] * 3)
        if _holds(box):
            x, y, z = (
                torch.exp(-0.5 * (axis / patch.radius_mm) ** 2) for axis in _offsets(brain, box, patch.centre_mm)
            )
            t1[box] *= 1 - patch.loss * ((x * y) * z)
    return t1


def _draw_pools(row: Variant, rng: np.random.Generator) -> list[Pool]:
    """Draw the pools of one variant on its sides."""
    sides = {"one": (rng.choice((-1, 1)),), "both": (-1, 1), "middle": (1,)}[row.sides]
    return [_draw_pool(row, int(side), rng) for side in sides for _ in range(int(rng.integers(row.count)) + 1)]


def _draw_pool(row: Variant, side: int, rng: np.random.Generator) -> Pool:
    x, y, z = (
        float(c + s * np.clip(n, -2, 2))
        for c, s, n in zip(row.centre_mm, row.spread_mm, rng.standard_normal(3), strict=True)
    )
    size = rng.random() ** 1.4  # small ones are more frequent; the axes are correlated
    a, b, c = (
        float(low + (high - low) * np.clip(size + 0.15 * n, 0, 1))
        for (low, high), n in zip(row.half_axes_mm, rng.standard_normal(3), strict=True)
    )
    return Pool((side * x, y, z), (a, b, c), float(rng.uniform(*row.level)), float(rng.uniform(*row.push)), row.wavy)


def _draw_dimness(row: Shade, rng: np.random.Generator) -> Dimness:
    x, y, z = (float(c + 6 * n) for c, n in zip(row.centre_mm, rng.standard_normal(3), strict=True))
    side = 1 if rng.random() < 0.5 else -1
    return Dimness((side * x, y, z), float(rng.uniform(*row.radius_mm)) / 1.5, float(rng.uniform(*row.loss)))


def _fill(t1: Volume, brain: Brain, pool: Pool, rng: np.random.Generator) -> None:
    """Put one pool into `t1`."""
    box = _box(brain, pool.centre_mm, [REACH * half + 2 * SHELL_MM for half in pool.half_axes_mm])
    if not _holds(box):
        return
    offsets = [axis / half for axis, half in zip(_offsets(brain, box, pool.centre_mm), pool.half_axes_mm, strict=True)]
    inside = brain.inside[box]
    tissue = torch.where(inside, t1[box], CSF_LEVEL)
    distance = torch.sqrt(offsets[0] ** 2 + offsets[1] ** 2 + offsets[2] ** 2)
    if pool.wavy:
        knots = max(brain.vox(min(WAVES_MM, 1.5 * min(pool.half_axes_mm))), 1.5)
        # waves no wider than the pool, so that small ones are irregular too
        distance = distance * (1 + pool.wavy * smooth_field(distance.shape, knots, rng, t1.device)).clamp(0.5, 1.6)
    if pool.push > 0:
        tissue = _push(tissue, offsets, distance, pool, brain)
    radius_mm = float(np.prod(pool.half_axes_mm)) ** (1 / 3)
    out_mm = (distance - 1) * radius_mm
    # a pool that only replaces tissue would border on white matter: line it with cortex
    if pool.level < GREY_LEVEL and radius_mm > SHELL_MM:
        cortex = torch.sigmoid((SHELL_MM - out_mm) * 2) * (1 - pool.push)
        tissue = tissue - cortex * (tissue - GREY_LEVEL).clamp(min=0)
    # a soft edge of partial volume
    share = torch.sigmoid(-out_mm / EDGE_MM * 1.5)
    t1[box] = torch.where(inside, tissue + share * (pool.level - tissue), t1[box])


def _push(tissue: Volume, offsets: Sequence[Tensor], distance: Volume, pool: Pool, brain: Brain) -> Volume:
    """Displace the tissue inside a pool into the shell around it, by sampling closer to the centre."""
    beyond = ((distance - 1) / (REACH - 1)).clamp(0, 1)
    nearer = 1 - pool.push * (1 - beyond)  # full displacement at the edge, none at the reach
    nearer = torch.where(distance < 1, torch.full_like(nearer, 1 - pool.push), nearer)
    places = []
    for axis, (offset, half) in enumerate(zip(offsets, pool.half_axes_mm, strict=True)):
        here = torch.arange(tissue.shape[axis], device=tissue.device, dtype=torch.float32)
        here = here.view([-1 if other == axis else 1 for other in range(3)])
        places.append(here + brain.vox(half) * offset * (nearer - 1))
    return look_up(tissue[None], places)[0]


def _box(brain: Brain, centre_mm: Point, reach_mm: Sequence[float]) -> Box:
    sides = []
    for middle, reach, origin, length in zip(centre_mm, reach_mm, brain.grid.origin_mm, brain.grid.shape, strict=True):
        low, high = (brain.vox(middle + sign * reach - origin) for sign in (-1, 1))
        start = min(max(int(low), 0), length)
        sides.append(slice(start, max(min(int(high) + 2, length), start)))
    return sides[0], sides[1], sides[2]


def _holds(box: Box) -> bool:
    """Whether a box has more than two voxels along each axis."""
    return all(side.stop - side.start > 2 for side in box)


def _offsets(brain: Brain, box: Box, centre_mm: Point) -> list[Tensor]:
    axes = brain.grid.crop(box).axes_mm(brain.device)
    return [axis - middle for axis, middle in zip(axes, centre_mm, strict=True)]
