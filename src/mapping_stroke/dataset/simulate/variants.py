"""Normal variants: cysts, wide fissures and cisterns, odd vessel spaces, dim patches. None of it is a stroke."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mapping_stroke.dataset.grid import Box
from mapping_stroke.dataset.simulate.anatomy import CSF_LEVEL, GREY_LEVEL, Brain
from mapping_stroke.dataset.simulate.variant_table import SHADES, VARIANTS, Point, Shade, Variant
from mapping_stroke.dataset.simulate.volume import Volume, look_up, smooth_field

SHELL_MM = 2.5
"""White matter so near to a pool that opens without pushing becomes cortex, so that the pool has its own."""
REACH = 1.9
"""A pool that pushes moves tissue up to so many times its half axes."""
EDGE_MM = 0.6
"""Half width of a pool's edge."""
WAVES_MM = 9.0
"""Distance of the knots of the waves of a pool's edge."""


@dataclass(frozen=True)
class Pool:
    """One variant as it was drawn: an ellipsoid of another intensity.

    Attributes:
        centre_mm: MNI.
        half_axes_mm: Along x, y, z.
        level: Its intensity.
        push: Share of the tissue's way aside, 0 to 1.
        wavy: How uneven its edge is.
    """

    centre_mm: Point
    half_axes_mm: Point
    level: float
    push: float
    wavy: float


@dataclass(frozen=True)
class Dimness:
    """One dim patch as it was drawn: a smooth bump that takes a share of the signal.

    Attributes:
        centre_mm: MNI.
        radius_mm: Standard deviation of the bump.
        loss: Share of the signal lost in its middle.
    """

    centre_mm: Point
    radius_mm: float
    loss: float


@dataclass(frozen=True)
class Variants:
    """What a person has of them; nothing at all is what most templates have.

    Attributes:
        pools: Places filled with something else, in this order.
        dim: Patches that the scanner sees badly.
    """

    pools: tuple[Pool, ...] = ()
    dim: tuple[Dimness, ...] = ()


NO_VARIANTS = Variants()


def draw_variants(age: float, rng: np.random.Generator) -> Variants:
    """Draw each variant on its own.

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
    """Draw those of these rows, all of them, however rare they are."""
    drawn = [pool for row in pools for pool in _draw_pools(row, rng)]
    return Variants(tuple(drawn), tuple(_draw_dimness(row, rng) for row in dim))


def apply_variants(t1: Volume, brain: Brain, variants: Variants, rng: np.random.Generator) -> Volume:
    """The intensities with the variants in them; without any, `t1` itself.

    Args:
        t1: Intensities of the brain; 0 outside.
        brain: The brain they belong to.
        variants: What it has.
        rng: Source of the waves of edges.
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
    """One row on the sides where it is."""
    sides = {"one": (rng.choice((-1, 1)),), "both": (-1, 1), "middle": (1,)}[row.sides]
    return [_draw_pool(row, int(side), rng) for side in sides for _ in range(int(rng.integers(row.count)) + 1)]


def _draw_pool(row: Variant, side: int, rng: np.random.Generator) -> Pool:
    x, y, z = (
        float(c + s * np.clip(n, -2, 2))
        for c, s, n in zip(row.centre_mm, row.spread_mm, rng.standard_normal(3), strict=True)
    )
    size = rng.random() ** 1.4  # small ones are more frequent; an ellipsoid's axes go together
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
        distance = distance * (1 + pool.wavy * smooth_field(distance.shape, knots, rng, t1.device)).clamp(0.5, 1.6)
    if pool.push > 0:
        tissue = _push(tissue, offsets, distance, pool, brain)
    radius_mm = float(np.prod(pool.half_axes_mm)) ** (1 / 3)
    out_mm = (distance - 1) * radius_mm
    if pool.level < GREY_LEVEL and radius_mm > SHELL_MM:
        cortex = torch.sigmoid((SHELL_MM - out_mm) * 2) * (1 - pool.push)
        tissue = tissue - cortex * (tissue - GREY_LEVEL).clamp(min=0)
    share = torch.sigmoid(-out_mm / EDGE_MM * 1.5)
    t1[box] = torch.where(inside, tissue + share * (pool.level - tissue), t1[box])


def _push(tissue: Volume, offsets: Sequence[Tensor], distance: Volume, pool: Pool, brain: Brain) -> Volume:
    """Tissue from within a pool, squeezed into the shell around it: each place looks nearer to the middle."""
    beyond = ((distance - 1) / (REACH - 1)).clamp(0, 1)
    nearer = 1 - pool.push * (1 - beyond)  # at the edge it looks to the middle, at the reach to itself
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
    """Whether a box is more than a sheet along each axis."""
    return all(side.stop - side.start > 2 for side in box)


def _offsets(brain: Brain, box: Box, centre_mm: Point) -> list[Tensor]:
    axes = brain.grid.crop(box).axes_mm(brain.device)
    return [axis - middle for axis, middle in zip(axes, centre_mm, strict=True)]
