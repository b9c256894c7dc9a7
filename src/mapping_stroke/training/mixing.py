"""Mixing of training cases: CarveMix and mixup."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mapping_stroke.dataset.arrays import CaseArrays, Corner, cut_box
from mapping_stroke.dataset.sources import Cases, draw_case
from mapping_stroke.images.nifti import Shape
from mapping_stroke.training.losses import Gather, LogitsAnywhere, Target, deep_supervision_loss
from mapping_stroke.training.schemes import LossConfig

Scans = Float[Tensor, "n 1 x y z"]


@dataclass(frozen=True, eq=False)
class Blend:
    """The patches mixed into those of a batch.

    Attributes:
        share: Share of the other patch, in [0, 1].
        target: Reference of the other patch.
    """

    share: float
    target: Int[Tensor, "n x y z"]


def blend_patches(scans: Scans, target: Target, alpha: float, rng: np.random.Generator) -> tuple[Scans, Blend]:
    """Mix each patch with its predecessor in the batch (the first with the last), all with the same share.

    Args:
        scans: Patches.
        target: Their reference.
        alpha: Parameter of Beta(alpha, alpha), from which the share is drawn: mostly near 0 or 1 for small alpha.
        rng: Source of the share.

    Source: Zhang et al. 2018, arXiv:1710.09412.
    Departs: the partner is the neighbour instead of a random one, so that two patches get each other.
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
    """Weighted sum of the losses against the patches' own reference and against that of the patches mixed in.

    Losses are mixed instead of references: cross-entropy is the same either way, and Dice and top-k terms still compare
    with real masks (soft Dice with a blended reference is not optimal for an equal prediction).
    """
    own = deep_supervision_loss(outputs, target, config, gather)
    if blend is None:
        return own
    other = deep_supervision_loss(outputs, blend.target, config, gather)
    return (1 - blend.share) * own + blend.share * other


SMALLEST_LEVEL, LARGEST_LEVEL = -0.5, 1.0
"""Range of the carved distance from the lesions' surface, relative to their depth: from halfway in to as far out."""


def carve_into(host: CaseArrays, others: Cases, probability: float, rng: np.random.Generator) -> CaseArrays:
    """Paste the lesions of a random other case into a case, with some probability.

    Args:
        host: The case to paste into.
        others: Cases from which the donor is drawn.
        probability: Probability of pasting.
        rng: Source of all random numbers.

    Returns:
        A new case; or `host` itself if no donor was drawn, or one without lesion, or `host`.
    """
    if rng.random() >= probability:
        return host
    donor = draw_case(others, rng)
    if len(donor.lesion_voxels) == 0 or donor.case_id == host.case_id:
        return host
    return carve_mix(host, donor, draw_level(rng))


def draw_level(rng: np.random.Generator) -> float:
    """Draw a level: half of the draws in [-0.5, 0] (less than the lesion), half in [0, 1] (with surroundings)."""
    return rng.uniform(SMALLEST_LEVEL, 0) if rng.random() < 0.5 else rng.uniform(0, LARGEST_LEVEL)


def carve_mix(host: CaseArrays, donor: CaseArrays, level: float) -> CaseArrays:
    """Replace a region of a case, in scan and mask, by the region of another case around its lesions.

    The region has a signed distance to the donor's lesions of at most `level` times their depth. It keeps its position
    in the head: both scans are cropped to the brain, and the centres of the two boxes are aligned. Any part outside the
    host's box is lost.

    Args:
        host: Case outside the region; not changed.
        donor: Case inside the region; it has a lesion, and lies on the host's device.
        level: From `draw_level`.

    Returns:
        A new case with both ids in its name.

    Source: Zhang et al. 2021, arXiv:2108.06883, on z-scored scans.
    Departs: the surface of a lesion runs between its voxels and the others, so that even a lesion of one voxel has a
    depth (half a voxel) and the region is never empty.
    """
    corner, size, margin = _lesion_box(donor)
    carved_mask = cut_box(donor.mask, corner, size)
    distance = signed_distance(carved_mask > 0, margin)
    region = distance <= level * -distance.min()  # the minimum is the depth, with a minus sign
    there = [low + (ours - its) // 2 for low, ours, its in zip(corner, host.mask.shape, donor.mask.shape, strict=True)]
    # the part of the donor's box that lies inside the host, in the coordinates of both
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
    """Signed distance of every voxel to the surface of a mask, in voxels: negative inside, 0.5 next to it.

    Args:
        mask: Has at least one voxel inside and one outside.
        reach: Distances up to this many voxels are exact; larger ones may be too large, or infinite.
    """
    inside = _squared_distance(~mask, reach).sqrt()
    outside = _squared_distance(mask, reach).sqrt()
    return torch.where(mask, 0.5 - inside, outside - 0.5)


def _lesion_box(case: CaseArrays) -> tuple[Corner, Shape, int]:
    """Bounding box of all lesions with a margin, and the margin: the largest possible depth of a lesion.

    The depth of a voxel is at most half the smallest edge of the bounding box.
    """
    low, high = case.lesion_voxels.min(axis=0).astype(int), case.lesion_voxels.max(axis=0).astype(int)
    margin = (int((high - low).min()) + 2) // 2
    x, y, z = (int(edge) - margin for edge in low)
    lengths = [int(length) + 2 * margin for length in high - low + 1]
    return (x, y, z), (lengths[0], lengths[1], lengths[2]), margin


def _squared_distance(places: Bool[Tensor, "x y z"], reach: int) -> Float[Tensor, "x y z"]:
    """Squared distance to the nearest True voxel, exact up to `reach`, minimised over one axis at a time."""
    squared = torch.where(places, 0.0, torch.inf)
    for axis, edge in enumerate(places.shape):
        nearest = squared.clone()  # squared distances along the axes simply add up
        for step in range(1, min(reach, edge - 1) + 1):
            for here, from_there in ((0, step), (step, 0)):
                part = nearest.narrow(axis, here, edge - step)
                part.copy_(torch.minimum(part, squared.narrow(axis, from_there, edge - step) + step**2))
        squared = nearest
    return squared
