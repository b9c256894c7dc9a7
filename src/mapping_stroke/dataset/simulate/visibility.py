"""Which lesion voxels nobody can see: what painting changed, measured against the scanner's noise."""

import torch
from torch.nn import functional

from mapping_stroke.dataset.simulate.case import SimulatedCase
from mapping_stroke.dataset.simulate.intensity import Scanner, noise_std
from mapping_stroke.dataset.simulate.volume import Region, region_box


def unseen_lesion(case: SimulatedCase, scanner: Scanner, spacing_mm: float) -> Region:
    """The voxels of the mask around which painting changed less than the noise: nobody can know that they are lesion.

    The mean of |change| over the mask's part of 3 x 3 x 3 voxels decides, so that a thin sulcus between lost gyri still
    counts as seen.

    Args:
        case: The case; without lesion, or without noise, every voxel is False.
        scanner: It took the scan.
        spacing_mm: Edge of a voxel of the case.
    """
    unseen = torch.zeros_like(case.mask)
    box = region_box(case.mask, 1)
    if box[0].stop > 0:
        mask = case.mask[box]
        both = torch.stack([case.change[box].abs() * mask, mask.float()])
        change, count = functional.avg_pool3d(both[:, None], 3, stride=1, padding=1)[:, 0]
        unseen[box] = mask & (change < noise_std(scanner, spacing_mm) * count)
    return unseen
