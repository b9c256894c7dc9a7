"""Mixing training cases: mixup and CarveMix."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.dataset.patches import Corner, cut_box
from mapping_stroke.dataset.sources import Cases, draw_case
from mapping_stroke.errors import ConfigError
from mapping_stroke.images.nifti import Shape
from mapping_stroke.training.losses import Gather, LogitsAnywhere, LossConfig, Target, deep_supervision_loss


@dataclass(frozen=True)
class Mixing:
    """What is mixed before patches are cut (carving), and after (blending).

    Source: Zhang et al. 2021, *CarveMix*, arXiv:2108.06883; Zhang et al. 2018, *mixup*, arXiv:1710.09412.
    """

    name: str
    carve_probability: float = 0.0
    """Share of the patches that are cut from a case into which the lesions of another case were pasted."""
    blend_alpha: float = 0.0
    """Patches of a batch are blended in shares drawn from Beta(alpha, alpha); 0 for no blending."""

    def __post_init__(self) -> None:
        if not 0 <= self.carve_probability <= 1:
            raise ConfigError(f"mixing {self.name}: carve_probability is {self.carve_probability}, expected 0 to 1")
        if self.blend_alpha < 0:
            raise ConfigError(f"mixing {self.name}: blend_alpha is {self.blend_alpha}, expected 0 or more")


NO_MIXING = Mixing("none")
CARVEMIX = Mixing("carvemix", carve_probability=0.5)
MIXUP = Mixing("mixup", blend_alpha=0.2)
MIXINGS = {mixing.name: mixing for mixing in (NO_MIXING, CARVEMIX, MIXUP)}


Scans = Float[Tensor, "n 1 x y z"]


@dataclass(frozen=True, eq=False)
class Blend:
    """What was mixed into the patches of a batch.

    Attributes:
        share: Of the patch that was mixed in, in [0, 1].
        target: The reference of that patch.
    """

    share: float
    target: Int[Tensor, "n x y z"]


def blend_patches(scans: Scans, target: Target, alpha: float, rng: np.random.Generator) -> tuple[Scans, Blend]:
    """Mix each patch with the one before it in the batch, the first with the last, all in one share.

    Args:
        scans: Patches.
        target: Their reference.
        alpha: The share is drawn from Beta(alpha, alpha): mostly near 0 or 1 for a small alpha.
        rng: Decides.

    Source: Zhang et al. 2018, arXiv:1710.09412.
    Departs: the partner is the neighbour, not a random one, so that of two patches each gets the other.
    """
    share = float(rng.beta(alpha, alpha))
    return torch.lerp(scans, scans.roll(1, 0), share), Blend(share, target.roll(1, 0))


def batch_loss(
    outputs: list[LogitsAnywhere],
    target: Target,
    blend: Blend | None,
    config: LossConfig,
    gather: Gather | None = None,
) -> Float[Tensor, ""]:
    """Loss against the patches' own reference and that of the patches mixed in, each with its share.

    The losses are mixed, not the references: cross-entropy comes out the same, and the Dice and top-k terms keep
    comparing with real masks. (The soft Dice of a blended reference is not best where the prediction equals it.)
    """
    own = deep_supervision_loss(outputs, target, config, gather)
    if blend is None:
        return own
    other = deep_supervision_loss(outputs, blend.target, config, gather)
    return (1 - blend.share) * own + blend.share * other


SMALLEST_LEVEL, LARGEST_LEVEL = -0.5, 1.0
"""How far from the lesions' surface is carved, as a share of their depth: from half way in to as far out again."""


def carve_into(host: CaseArrays, others: Cases, probability: float, rng: np.random.Generator) -> CaseArrays:
    """Draw whether a case takes the lesions of another, of which, and how widely they are carved.

    Args:
        host: The case that may take them.
        others: Where the other case is drawn from.
        probability: That it takes any.
        rng: Decides.

    Returns:
        A new case; or `host` itself where none was drawn, or one without lesion, or `host`.
    """
    if rng.random() >= probability:
        return host
    donor = draw_case(others, rng)
    if len(donor.lesion_voxels) == 0 or donor.case_id == host.case_id:
        return host
    return carve_mix(host, donor, draw_level(rng))


def draw_level(rng: np.random.Generator) -> float:
    """Half the draws between -0.5 and 0 (less than the lesion), half between 0 and 1 (with its surroundings)."""
    return rng.uniform(SMALLEST_LEVEL, 0) if rng.random() < 0.5 else rng.uniform(0, LARGEST_LEVEL)


def carve_mix(host: CaseArrays, donor: CaseArrays, level: float) -> CaseArrays:
    """Replace a region of a case, scan and mask alike, by that of another case around its lesions.

    The region is where the signed distance to the donor's lesions is at most `level` times their depth. It lands in
    the same place of the head: both scans were cropped to the brain, and the middles of the two boxes are laid upon
    one another. What would land outside the host's box is lost.

    Args:
        host: What everything outside the region comes from; not changed.
        donor: What the region comes from; it has a lesion, and lies on the host's device.
        level: From `draw_level`.

    Returns:
        A new case, whose id names both.

    Source: Zhang et al. 2021, arXiv:2108.06883, on z-scored scans.
    Departs: the surface of a lesion runs between its voxels and the others, so that even a lesion of one voxel has a
    depth (half a voxel) and the region is never empty.
    """
    corner, size, margin = _lesion_box(donor)
    carved_mask = cut_box(donor.mask, corner, size)
    distance = signed_distance(carved_mask > 0, margin)
    region = distance <= level * -distance.min()
    there = [low + (ours - its) // 2 for low, ours, its in zip(corner, host.mask.shape, donor.mask.shape, strict=True)]
    starts = [max(low, 0) for low in there]
    stops = [
        max(start, min(low + length, edge))
        for start, low, length, edge in zip(starts, there, size, host.mask.shape, strict=True)
    ]
    into = tuple(slice(start, stop) for start, stop in zip(starts, stops, strict=True))
    out_of = tuple(slice(start - low, stop - low) for start, stop, low in zip(starts, stops, there, strict=True))
    scan, mask = host.scan.clone(), host.mask.clone()
    scan[into] = torch.where(region[out_of], cut_box(donor.scan, corner, size)[out_of], scan[into])
    mask[into] = torch.where(region[out_of], carved_mask[out_of], mask[into])
    lesion_voxels = torch.nonzero(mask == 1).cpu().numpy().astype(np.int16)
    return CaseArrays(f"{host.case_id}+{donor.case_id}", scan, mask, lesion_voxels)


def signed_distance(mask: Bool[Tensor, "x y z"], reach: int) -> Float[Tensor, "x y z"]:
    """Distance of every voxel to the surface of the mask, in voxels: negative inside, half a voxel beside it.

    Args:
        mask: Holds a voxel that is True and one that is False.
        reach: Distances up to this many voxels are exact; larger ones may come out too large, or infinite.
    """
    inside = _squared_distance(~mask, reach).sqrt()
    outside = _squared_distance(mask, reach).sqrt()
    return torch.where(mask, 0.5 - inside, outside - 0.5)


def _lesion_box(case: CaseArrays) -> tuple[Corner, Shape, int]:
    """The smallest box around all lesions with a margin on every side, and that margin: their largest possible depth.

    No voxel of a mask is farther from the others than half the smallest edge of the mask's box.
    """
    low, high = case.lesion_voxels.min(axis=0).astype(int), case.lesion_voxels.max(axis=0).astype(int)
    margin = (int((high - low).min()) + 2) // 2
    x, y, z = (int(edge) - margin for edge in low)
    lengths = [int(length) + 2 * margin for length in high - low + 1]
    return (x, y, z), (lengths[0], lengths[1], lengths[2]), margin


def _squared_distance(places: Bool[Tensor, "x y z"], reach: int) -> Float[Tensor, "x y z"]:
    """Squared distance to the nearest place, exact up to `reach`: the smallest over each axis in turn."""
    squared = torch.where(places, 0.0, torch.inf)
    for axis, edge in enumerate(places.shape):
        nearest = squared.clone()
        for step in range(1, min(reach, edge - 1) + 1):
            for here, from_there in ((0, step), (step, 0)):
                part = nearest.narrow(axis, here, edge - step)
                part.copy_(torch.minimum(part, squared.narrow(axis, from_there, edge - step) + step**2))
        squared = nearest
    return squared
