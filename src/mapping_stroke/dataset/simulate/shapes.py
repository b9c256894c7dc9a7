"""Where simulated lesions lie and what shape they have."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from mapping_stroke.dataset.grid import Box
from mapping_stroke.dataset.simulate.anatomy import Brain
from mapping_stroke.dataset.simulate.volume import Region, Volume, blur, erode, smooth_field, top_voxels

Point = tuple[float, float, float]  # RAS millimetres


@dataclass(frozen=True)
class Site:
    """A place where small deep vessels close.

    Attributes:
        name: Its anatomical name.
        centre_mm: On the right side, MNI.
        spread_mm: Standard deviation of the lesions' centres.
        axes: Relative lengths of a lesion along x, y, z.
        weight: How often, relative to the other sites.
        largest_mm3: Lesions beyond this lie elsewhere.
    """

    name: str
    centre_mm: Point
    spread_mm: float
    axes: Point
    weight: float
    largest_mm3: float


DEEP_SITES = (
    Site("putamen", (26.0, 2.0, 2.0), 4.0, (0.65, 1.4, 1.1), 0.30, 20_000.0),
    Site("corona radiata", (26.0, -8.0, 26.0), 7.0, (0.7, 1.4, 1.0), 0.30, 20_000.0),
    Site("thalamus", (13.0, -18.0, 7.0), 4.0, (0.9, 1.0, 1.0), 0.14, 5_000.0),
    Site("caudate head", (14.0, 14.0, 8.0), 3.0, (0.7, 1.2, 1.2), 0.10, 5_000.0),
    Site("pons", (6.0, -26.0, -32.0), 4.0, (0.8, 1.0, 1.2), 0.10, 2_500.0),
    Site("cerebellum", (22.0, -62.0, -36.0), 9.0, (1.2, 1.2, 0.8), 0.06, 10_000.0),
)
SUPRATENTORIAL_ONLY_MM3 = 25_000.0
"""Lesions of this size and more lie in the cerebrum."""
TISSUE_TRIES = 4000


def allowed_region(brain: Brain) -> Region:
    """Where a lesion may be: tissue and the thin sulci in it, not ventricles, wide cisterns or the outermost layer."""
    pools = blur(brain.csf, brain.vox(2.5)) > 0.65
    ventricles = blur(brain.ventricles.float(), brain.vox(0.7)) > 0.25
    return erode(brain.inside, diagonal=False) & ~pools & ~ventricles


def draw_lesions(brain: Brain, allowed: Region, parts_mm3: Sequence[float], rng: np.random.Generator) -> Region:
    """Draw lesions of the given sizes, one after the other, mostly in one hemisphere.

    Args:
        brain: Where they lie.
        allowed: See `allowed_region`.
        parts_mm3: Volume of each; at least one voxel is drawn.
        rng: Source of places and shapes.

    Returns:
        The union; smaller than asked only where a lesion finds no room.
    """
    mask = torch.zeros_like(allowed)
    side = 1 if rng.random() < 0.5 else -1
    for part_mm3 in parts_mm3:
        part_vox = max(round(part_mm3 / brain.grid.spacing_mm**3), 1)
        box, score, region = _draw_one(brain, allowed, part_mm3, side if rng.random() < 0.8 else -side, rng)
        mask[box] |= top_voxels(score, region & ~mask[box], part_vox)
    return mask


def _draw_one(
    brain: Brain, allowed: Region, volume_mm3: float, side: int, rng: np.random.Generator
) -> tuple[Box, Float32[Tensor, "a b c"], Bool[Tensor, "a b c"]]:
    """Where to look, how strongly each voxel there belongs to the lesion, and which voxels may."""
    radius_mm = (volume_mm3 * 3 / (4 * np.pi)) ** (1 / 3)
    site = _draw_site(volume_mm3, rng)
    seed = (
        _deep_seed(brain, allowed, site, side, rng) if site else _cortical_seed(brain, allowed, volume_mm3, side, rng)
    )
    box = box_around(brain, seed, 3.0 * radius_mm + 6)
    part = brain.grid.crop(box)
    axes = part.axes_mm(brain.device)
    offsets = tuple(axis - centre for axis, centre in zip(axes, seed, strict=True))
    if site:
        score = -_ellipsoid(offsets, np.array(site.axes) * rng.uniform(0.8, 1.25, 3)) / radius_mm
        roughness = 0.22 if volume_mm3 < 1_000 else 0.32
    else:
        score = -_wedge(offsets, seed, radius_mm, rng) / radius_mm
        roughness = 0.42
        follows_white = float(rng.uniform(-0.3, 0.5))
        score = score + blur(follows_white * brain.white[box] - 0.9 * brain.csf_in(box), brain.vox(0.8))
    for knots_mm, share in ((1.1 * radius_mm, 1.0), (0.5 * radius_mm, 0.5), (0.2 * radius_mm, 0.25)):
        knots_vox = max(brain.vox(knots_mm), 1.5)
        score = score + roughness * share * smooth_field(part.shape, knots_vox, rng, brain.device)
    score = blur(score, min(brain.vox(0.1 * radius_mm), 1.2))
    same = (axes[0] * side > -1) & (_infratentorial(axes) == _infratentorial([torch.tensor(place) for place in seed]))
    return box, score, allowed[box] & same


def _draw_site(volume_mm3: float, rng: np.random.Generator) -> Site | None:
    """Where a deep vessel closed; None for a lesion of the cortex, as most large ones are."""
    sites = [site for site in DEEP_SITES if volume_mm3 <= site.largest_mm3]
    if not sites or rng.random() >= (0.6 if volume_mm3 < 3_000 else 0.3):
        return None
    weights = np.array([site.weight for site in sites])
    return sites[int(rng.choice(len(sites), p=weights / weights.sum()))]


def _infratentorial(axes_mm: Sequence[Tensor]) -> Tensor:
    """Roughly, whether a place in MNI space is in the cerebellum or brain stem, which have vessels of their own."""
    x, y, z = axes_mm
    return (z < -12 - 0.25 * x.abs()) & ((y < -38) | ((x.abs() < 17) & (y < -12)))


def _deep_seed(brain: Brain, allowed: Region, site: Site, side: int, rng: np.random.Generator) -> Point:
    """A place in tissue near a site; the site's centre where none is found."""
    centre = np.array(site.centre_mm) * (side, 1, 1)
    for _ in range(40):
        place = centre + rng.standard_normal(3) * site.spread_mm
        index = _index(brain, place)
        if index is not None and bool(allowed[index]):
            break
    return float(place[0]), float(place[1]), float(place[2])


def _cortical_seed(brain: Brain, allowed: Region, volume_mm3: float, side: int, rng: np.random.Generator) -> Point:
    """A place near the surface; large lesions start at the lateral surface, where the middle cerebral artery is."""
    shape = brain.grid.shape
    tries = torch.from_numpy(np.stack([rng.integers(0, length, TISSUE_TRIES) for length in shape])).to(brain.device)
    x, y, z = tries
    depth = brain.depth_mm[x, y, z]
    places = tries.T * brain.grid.spacing_mm + torch.tensor(brain.grid.origin_mm, device=brain.device)
    lateral = places[:, 0] * side
    good = allowed[x, y, z] & (depth > 2) & (depth < 14) & (lateral > 3)
    if volume_mm3 >= SUPRATENTORIAL_ONLY_MM3:
        good &= (lateral > 30) & ~_infratentorial(list(places.T))
    weight = good * torch.where((lateral > 30) & (places[:, 2] > -25), 3.0, 1.0)
    total = torch.cumsum(weight.double(), 0)
    chosen = int(torch.searchsorted(total, float(rng.random()) * float(total[-1])))
    a, b, c = places[min(chosen, TISSUE_TRIES - 1)].tolist()
    return a, b, c


def _ellipsoid(offsets: Sequence[Tensor], axes: np.ndarray) -> Volume:
    axes = axes / np.prod(axes) ** (1 / 3)
    x, y, z = (offset / float(length) for offset, length in zip(offsets, axes, strict=True))
    return torch.sqrt(x**2 + y**2 + z**2)


def _wedge(offsets: Sequence[Tensor], seed: Point, radius_mm: float, rng: np.random.Generator) -> Volume:
    """Distance from the seed that makes wedges: broad at the cortex, narrow towards the ventricle."""
    inwards = np.array([0.15 * seed[0], 0.6 * seed[1] - 6, 12.0]) - seed + rng.standard_normal(3) * 5
    inwards = inwards / np.linalg.norm(inwards)
    reach_mm = radius_mm * rng.uniform(1.6, 2.4)
    along = sum((offset * float(part) for offset, part in zip(offsets, inwards, strict=True)), torch.zeros(()))
    squared = sum((offset**2 for offset in offsets), torch.zeros(()))
    across = torch.sqrt((squared - along**2).clamp(min=0))
    width = (1.15 - 0.75 * along / reach_mm).clamp(0.3, 1.3)
    return torch.sqrt((across / width) ** 2 + (0.75 * along) ** 2)


def box_around(brain: Brain, centre: Point, half_mm: float) -> Box:
    """The part of a brain's arrays within so many millimetres along each axis; at least four voxels wide."""
    sides = []
    for place, origin, length in zip(centre, brain.grid.origin_mm, brain.grid.shape, strict=True):
        low, high = (int(np.floor(brain.vox(place + sign * half_mm - origin))) for sign in (-1, 1))
        sides.append(slice(min(max(low, 0), length - 4), max(min(high + 2, length), 4)))
    return sides[0], sides[1], sides[2]


def _index(brain: Brain, place: np.ndarray) -> tuple[int, int, int] | None:
    index = np.round((place - brain.grid.origin_mm) / brain.grid.spacing_mm).astype(int)
    if (index < 0).any() or (index >= brain.grid.shape).any():
        return None
    return int(index[0]), int(index[1]), int(index[2])
