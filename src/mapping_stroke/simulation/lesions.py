"""Shapes, locations and loads of lesions, drawn at random or taken from real masks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, UInt8
from scipy.special import ndtr
from torch import Tensor

from mapping_stroke.dataset.grid import Box, Grid, is_empty, reached
from mapping_stroke.images.image import Image
from mapping_stroke.images.nifti import Affine
from mapping_stroke.lesions import bounding_box
from mapping_stroke.simulation.brain import Brain
from mapping_stroke.simulation.volume import Region, Volume, average, blur, erode, resample, smooth_field, top_voxels

SMALLEST_LOAD_MM3, LARGEST_LOAD_MM3 = 13.0, 200_000.0
"""Range of the lesion loads in ATLAS R2.0 (whose voxels are 1 mm3)."""
MIXTURE = ((0.72, 1_860.0, 1.70), (0.28, 59_700.0, 0.76))
"""Weight, median in mm3 and logarithmic standard deviation of a mixture of two log-normal distributions (small strokes
and whole territories), fitted to the 955 cases of ATLAS R2.0."""
TABLE_SIZE = 4096
GOLDEN = (math.sqrt(5) - 1) / 2


def atlas_load_mm3(quantile: float, largest_mm3: float = LARGEST_LOAD_MM3) -> float:
    """Quantile function of the lesion load: `MIXTURE`, truncated to the range of ATLAS.

    Args:
        quantile: Share of cases with a smaller load, in [0, 1].
        largest_mm3: Upper truncation in mm3; more than `SMALLEST_LOAD_MM3`.
    """
    log_loads, shares = _table(largest_mm3)
    load = math.exp(float(np.interp(quantile, shares, log_loads)))
    return min(max(load, SMALLEST_LOAD_MM3), largest_mm3)


@cache
def _table(largest_mm3: float) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """Logarithms of loads, and the cumulative share of the cases, from 0 to 1."""
    log_loads = np.linspace(math.log(SMALLEST_LOAD_MM3), math.log(largest_mm3), TABLE_SIZE)
    below = np.zeros_like(log_loads)
    for share, median_mm3, spread in MIXTURE:
        below += share * ndtr((log_loads - math.log(median_mm3)) / spread)
    return log_loads, (below - below[0]) / (below[-1] - below[0])


def spread_quantile(index: int, offset: float) -> float:
    """Quantile of the `index`-th case. Consecutive cases cover [0, 1) evenly (golden-ratio sequence)."""
    return (offset + index * GOLDEN) % 1.0


def split_load(load_mm3: float, rng: np.random.Generator) -> list[float]:
    """Divide a load among lesions, largest first. Small loads mostly have one lesion, large loads more."""
    # more lesions for each order of magnitude, but at most one more per 20 mm3
    expected_more = 0.26 * max(math.log10(load_mm3 / SMALLEST_LOAD_MM3), 0.0) ** 1.3
    count = 1 + min(int(rng.poisson(expected_more)), int(load_mm3 / 20))
    # a dominant lesion and smaller satellites
    shares = np.sort(rng.dirichlet(np.r_[4.0, np.full(count - 1, 0.6)]))[::-1] if count > 1 else np.ones(1)
    parts = [float(share) * load_mm3 for share in shares if share * load_mm3 >= 10]
    return [part * load_mm3 / sum(parts) for part in parts]


Point = tuple[float, float, float]  # RAS millimetres


@dataclass(frozen=True)
class Site:
    """A site of deep infarcts, in the territory of small perforating vessels.

    Attributes:
        name: Its anatomical name.
        centre_mm: Centre in the right hemisphere, MNI.
        spread_mm: Standard deviation of the lesions' centres.
        axes: Relative extent of a lesion along x, y, z.
        weight: Frequency relative to the other sites.
        largest_mm3: Largest lesion at this site.
        smooth: Whether lesions are smooth ellipsoids of any proportions, like old cavities.
    """

    name: str
    centre_mm: Point
    spread_mm: float
    axes: Point
    weight: float
    largest_mm3: float
    smooth: bool = False


DEEP_SITES = (
    Site("putamen", (26.0, 2.0, 2.0), 4.0, (0.65, 1.4, 1.1), 0.30, 20_000.0),
    Site("corona radiata", (26.0, -8.0, 26.0), 7.0, (0.7, 1.4, 1.0), 0.30, 20_000.0),
    Site("thalamus", (13.0, -18.0, 7.0), 4.0, (0.9, 1.0, 1.0), 0.14, 5_000.0),
    Site("caudate head", (14.0, 14.0, 8.0), 3.0, (0.7, 1.2, 1.2), 0.10, 5_000.0),
    Site("pons", (6.0, -26.0, -32.0), 4.0, (0.8, 1.0, 1.2), 0.10, 2_500.0),
    Site("cerebellum", (22.0, -62.0, -36.0), 9.0, (1.2, 1.2, 0.8), 0.06, 10_000.0),
)
ANYWHERE = Site("anywhere", (30.0, -18.0, 22.0), 22.0, (1.0, 1.0, 1.0), 1.0, LARGEST_LOAD_MM3, smooth=True)
"""Tissue of either hemisphere."""
SMOOTH, STRETCH = 0.12, 1.8
"""Largest roughness of a smooth lesion's outline, and the largest factor on each of its axes (and its inverse)."""
SUPRATENTORIAL_ONLY_MM3 = 25_000.0
"""Lesions of at least this size are supratentorial."""
TISSUE_TRIES = 4000


def allowed_region(brain: Brain) -> Region:
    """Region for lesions: tissue with its thin sulci, without ventricles, wide cisterns and the outermost layer."""
    pools = blur(brain.csf, brain.vox(2.5)) > 0.65
    ventricles = blur(brain.ventricles.float(), brain.vox(0.7)) > 0.25
    return erode(brain.inside, diagonal=False) & ~pools & ~ventricles


def draw_lesions(
    brain: Brain, allowed: Region, parts_mm3: Sequence[float], rng: np.random.Generator, *, smooth: bool = False
) -> Region:
    """Draw lesions of the given sizes, mostly in one hemisphere.

    Args:
        brain: The host brain.
        allowed: See `allowed_region`.
        parts_mm3: Volume of each lesion; at least one voxel is drawn.
        rng: Source of locations and shapes.
        smooth: Draw smooth ellipsoids anywhere in the tissue, as cavities round off with the years.

    Returns:
        The union; smaller than requested only if a lesion finds no room.
    """
    mask = torch.zeros_like(allowed)
    side = 1 if rng.random() < 0.5 else -1
    for part_mm3 in parts_mm3:
        part_vox = max(round(part_mm3 / brain.grid.spacing_mm**3), 1)
        its_side = side if rng.random() < 0.8 else -side
        site = ANYWHERE if smooth else _draw_site(part_mm3, rng)
        box, score, region = _draw_one(brain, allowed, part_mm3, its_side, site, rng)
        mask[box] |= top_voxels(score, region & ~mask[box], part_vox)
    return mask


def _draw_one(
    brain: Brain, allowed: Region, volume_mm3: float, side: int, site: Site | None, rng: np.random.Generator
) -> tuple[Box, Float32[Tensor, "a b c"], Bool[Tensor, "a b c"]]:
    """Bounding box of a lesion, a score that ranks its voxels, and the voxels it may cover."""
    radius_mm = (volume_mm3 * 3 / (4 * np.pi)) ** (1 / 3)
    # wedges of cortical branches start at the surface, ellipsoids of perforators in deep tissue
    seed = (
        _deep_seed(brain, allowed, site, side, rng) if site else _cortical_seed(brain, allowed, volume_mm3, side, rng)
    )
    box = box_around(brain, seed, 3.0 * radius_mm + 6)
    part = brain.grid.crop(box)
    axes = part.axes_mm(brain.device)
    offsets = tuple(axis - centre for axis, centre in zip(axes, seed, strict=True))
    if site:
        stretched = STRETCH ** rng.uniform(-1, 1, 3) if site.smooth else rng.uniform(0.8, 1.25, 3)
        score = -_ellipsoid(offsets, np.array(site.axes) * stretched) / radius_mm
        roughness = rng.uniform(0, SMOOTH) if site.smooth else 0.22 if volume_mm3 < 1_000 else 0.32
    else:
        score = -_wedge(offsets, seed, radius_mm, rng) / radius_mm
        roughness = 0.42
        follows_white = float(rng.uniform(-0.3, 0.5))
        # spreads more, or less, through white matter, and hardly across sulci
        score = score + blur(follows_white * brain.white[box] - 0.9 * brain.csf_in(box), brain.vox(0.8))
    # irregular outline at three scales, relative to the size
    for knots_mm, share in ((1.1 * radius_mm, 1.0), (0.5 * radius_mm, 0.5), (0.2 * radius_mm, 0.25)):
        knots_vox = max(brain.vox(knots_mm), 1.5)
        score = score + roughness * share * smooth_field(part.shape, knots_vox, rng, brain.device)
    score = blur(score, min(brain.vox(0.1 * radius_mm), 1.2))
    # an infarct does not cross the midline or the tentorium
    same = (axes[0] * side > -1) & (_infratentorial(axes) == _infratentorial([torch.tensor(place) for place in seed]))
    return box, score, allowed[box] & same


def _draw_site(volume_mm3: float, rng: np.random.Generator) -> Site | None:
    """Draw the site of a deep infarct, or None for a cortical one, as most large infarcts are."""
    sites = [site for site in DEEP_SITES if volume_mm3 <= site.largest_mm3]
    if not sites or rng.random() >= (0.6 if volume_mm3 < 3_000 else 0.3):
        return None
    weights = np.array([site.weight for site in sites])
    return sites[int(rng.choice(len(sites), p=weights / weights.sum()))]


def _infratentorial(axes_mm: Sequence[Tensor]) -> Tensor:
    """Whether an MNI position lies roughly in cerebellum or brain stem, the territory of other vessels."""
    x, y, z = axes_mm
    return (z < -12 - 0.25 * x.abs()) & ((y < -38) | ((x.abs() < 17) & (y < -12)))


def _deep_seed(brain: Brain, allowed: Region, site: Site, side: int, rng: np.random.Generator) -> Point:
    """A position in tissue near a site, or the last position tried if none is found."""
    centre = np.array(site.centre_mm) * (side, 1, 1)
    for _ in range(40):
        place = centre + rng.standard_normal(3) * site.spread_mm
        index = _index(brain, place)
        if index is not None and bool(allowed[index]):
            break
    return float(place[0]), float(place[1]), float(place[2])


def _cortical_seed(brain: Brain, allowed: Region, volume_mm3: float, side: int, rng: np.random.Generator) -> Point:
    """A position near the surface. Large lesions start laterally, in the territory of the middle cerebral artery."""
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
    # inverse transform sampling of a voxel by its weight
    total = torch.cumsum(weight.double(), 0)
    chosen = int(torch.searchsorted(total, float(rng.random()) * float(total[-1])))
    a, b, c = places[min(chosen, TISSUE_TRIES - 1)].tolist()
    return a, b, c


def _ellipsoid(offsets: Sequence[Tensor], axes: np.ndarray) -> Volume:
    axes = axes / np.prod(axes) ** (1 / 3)  # unit volume
    x, y, z = (offset / float(length) for offset, length in zip(offsets, axes, strict=True))
    return torch.sqrt(x**2 + y**2 + z**2)


def _wedge(offsets: Sequence[Tensor], seed: Point, radius_mm: float, rng: np.random.Generator) -> Volume:
    """A distance from the seed whose balls are wedges: broad at the cortex, narrow towards the ventricle."""
    # towards the lateral ventricle, with some scatter
    inwards = np.array([0.15 * seed[0], 0.6 * seed[1] - 6, 12.0]) - seed + rng.standard_normal(3) * 5
    inwards = inwards / np.linalg.norm(inwards)
    reach_mm = radius_mm * rng.uniform(1.6, 2.4)
    along = sum((offset * float(part) for offset, part in zip(offsets, inwards, strict=True)), torch.zeros(()))
    squared = sum((offset**2 for offset in offsets), torch.zeros(()))
    across = torch.sqrt((squared - along**2).clamp(min=0))
    width = (1.15 - 0.75 * along / reach_mm).clamp(0.3, 1.3)
    return torch.sqrt((across / width) ** 2 + (0.75 * along) ** 2)


def box_around(brain: Brain, centre: Point, half_mm: float) -> Box:
    """The box of a brain's arrays within `half_mm` of a centre along each axis, at least four voxels wide."""
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


SMALLEST_SCALE, LARGEST_SCALE = 0.5, 1.3
"""Range of the scaling of real masks along each axis; any excess is trimmed."""
ACUTE, LARGEST_SHRINKING_MM3, SHRUNKEN = "soop", 2_000.0, (0.3, 0.6)
"""Masks of this data set show acute infarcts, larger than the scars that small ones leave. Below this volume they are
shrunk to a share of it in this range."""
ENOUGH = 0.85
"""Share of the target load below which another mask is added."""


@dataclass(frozen=True, eq=False)
class RealMask:
    """A real lesion mask, cropped to its bounding box with a margin of one voxel.

    Attributes:
        name: Path of its file within the source folder.
        voxels: Lesion fraction of each voxel, in 255ths.
        affine: Voxel index of the cropped array to RAS millimetres, MNI space.
        volume_mm3: Lesion volume.
        centre_mm: Centre of mass, RAS.
    """

    name: str
    voxels: UInt8[Tensor, "x y z"]
    affine: Affine
    volume_mm3: float
    centre_mm: Float64[np.ndarray, "3"]

    @property
    def shrinks(self) -> bool:
        """Whether it shows a small acute infarct. Acute masks have `ACUTE` in their names."""
        return ACUTE in self.name and self.volume_mm3 < LARGEST_SHRINKING_MM3


def cut_mask(name: str, image: Image) -> RealMask | None:
    """Crop a mask (voxels above 0.5) to its bounding box, or None if it is empty."""
    inside = image.voxels > 0.5
    if not inside.any():
        return None
    return _cut(name, inside.astype(np.uint8) * 255, image.affine, float(inside.sum()) * image.voxel_volume_mm3)


def coarsen_mask(mask: RealMask, grid: Grid) -> RealMask | None:
    """Downsample a mask to a coarser grid. Below the voxel size, partial volume preserves its volume.

    None if it lies outside the grid.
    """
    box = reached(mask.voxels.shape, mask.affine, grid)
    if is_empty(box):
        return None
    part = grid.crop(box)
    share = (average(mask.voxels.float() / 255, mask.affine, part) * 255).round().to(torch.uint8).numpy()
    return _cut(mask.name, share, part.affine, mask.volume_mm3) if share.any() else None


def _cut(name: str, share: UInt8[np.ndarray, "x y z"], affine: Affine, volume_mm3: float) -> RealMask:
    box = bounding_box(share > 0)
    cut = np.pad(share[box], 1)
    moved = affine.copy()
    # the first voxel of the padded cut
    moved[:3, 3] += moved[:3, :3] @ [side.start - 1 for side in box]
    where = np.argwhere(cut > 0)
    centre = np.average(where, axis=0, weights=cut[tuple(where.T)])
    return RealMask(name, torch.from_numpy(cut), moved, volume_mm3, (moved @ np.append(centre, 1.0))[:3])


def fit_masks(
    brain: Brain, allowed: Region, masks: Sequence[RealMask], load_mm3: float, rng: np.random.Generator
) -> tuple[Region, list[str]]:
    """Place real masks to approximate a target load.

    Args:
        brain: The host brain; the masks are in the same space (MNI).
        allowed: See `allowed_region`.
        masks: Candidate masks, at least one.
        load_mm3: The target load.
        rng: Source of flips, shifts and small rotations.

    Returns:
        The lesions, never above the target load and below it only if the masks do not suffice, and the names of the
        masks used.
    """
    load_vox = max(round(load_mm3 / brain.grid.spacing_mm**3), 1)
    scars = [(mask, mask.volume_mm3 * (float(rng.uniform(*SHRUNKEN)) if mask.shrinks else 1.0)) for mask in masks]
    # nearest in size first, on a logarithmic scale
    scars.sort(key=lambda scar: abs(np.log(scar[1] / load_mm3)))
    score = torch.zeros(brain.grid.shape, device=brain.device)
    used: list[str] = []
    found = 0
    for mask, scar_mm3 in scars:
        missing_mm3 = load_mm3 - found * brain.grid.spacing_mm**3
        scale = float(np.clip((missing_mm3 / scar_mm3) ** (1 / 3), SMALLEST_SCALE, LARGEST_SCALE))
        _place(score, brain, mask, scale * (scar_mm3 / mask.volume_mm3) ** (1 / 3), rng)
        used.append(mask.name)
        found = int((allowed & (score > 0.5)).sum())
        if found >= ENOUGH * load_vox:
            break
    # the blurred edges allow trimming to the exact load
    return top_voxels(score, allowed & (score > 0.05), load_vox), used


def _place(score: Volume, brain: Brain, mask: RealMask, scale: float, rng: np.random.Generator) -> None:
    """Add the mask to the score, scaled, jittered, and blurred so that it can be trimmed."""
    affine = _vary(mask.centre_mm, scale, rng) @ mask.affine
    box = reached(mask.voxels.shape, affine, brain.grid)
    if is_empty(box):
        return
    radius_mm = scale * (mask.volume_mm3 * 3 / (4 * np.pi)) ** (1 / 3)
    placed = resample(mask.voxels.float() / 255, affine, brain.grid.crop(box))
    soft = blur(placed, brain.vox(min(0.09 * radius_mm, 1.2)))
    score[box] = torch.maximum(score[box], soft)


def _vary(centre_mm: np.ndarray, scale: float, rng: np.random.Generator) -> Affine:
    """A random affine: scaling and rotation about a centre, a shift, and a left-right flip in half of the cases."""
    x, y, z = rng.normal(0, 0.08, 3)
    # small rotations to first order
    turn = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    linear = (np.eye(3) + turn) * scale * (1 + rng.normal(0, 0.05, 3))
    move = np.eye(4)
    move[:3, :3] = linear
    move[:3, 3] = centre_mm - linear @ centre_mm + rng.normal(0, 3, 3)
    mirror = np.diag([-1.0 if rng.random() < 0.5 else 1.0, 1.0, 1.0, 1.0])
    return mirror @ move
