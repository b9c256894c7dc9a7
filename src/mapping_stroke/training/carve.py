"""CarveMix: the lesions of one case, carved out along a level of their distance map, take their place in another."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.dataset.case_source import Cases, draw_case
from mapping_stroke.dataset.patches import Corner, cut_box
from mapping_stroke.image import Shape

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
