"""Positions of training patches, and cutting them out."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int16, Shaped
from torch import Tensor
from torch.nn import functional

from mapping_stroke.images.nifti import Shape
from mapping_stroke.lesions import find_lesions

Corner = tuple[int, int, int]
"""Lowest voxel of a box; may be negative, and the box may extend past the volume, with zeros there."""


def place_anywhere(shape: Sequence[int], size: Shape, rng: np.random.Generator) -> Corner:
    """A random corner with the patch inside the volume, or, along shorter axes, the volume inside the patch."""
    corner = []
    for edge, length in zip(shape, size, strict=True):
        # nnU-Net pads a short axis on both sides, by one voxel more at the end if the padding is odd
        short_by = max(length - edge, 0)
        low, high = -(short_by // 2), edge - length + short_by // 2 + short_by % 2
        corner.append(int(rng.integers(low, high + 1)))
    return corner[0], corner[1], corner[2]


def place_on_lesion(
    shape: Sequence[int], size: Shape, lesion_voxels: Int16[np.ndarray, "n 3"], rng: np.random.Generator
) -> Corner:
    """A corner that centres the patch on a random lesion voxel; anywhere if there is no lesion.

    As in nnU-Net, the patch is moved if it would start before the volume, but it may extend past its end.
    """
    if len(lesion_voxels) == 0:
        return place_anywhere(shape, size, rng)
    voxel = lesion_voxels[rng.integers(len(lesion_voxels))]
    corner = [
        max(int(centre) - length // 2, -(max(length - edge, 0) // 2))
        for centre, edge, length in zip(voxel, shape, size, strict=True)
    ]
    return corner[0], corner[1], corner[2]


def place_on_any_lesion(
    shape: Sequence[int], size: Shape, lesion_voxels: Int16[np.ndarray, "n 3"], rng: np.random.Generator
) -> Corner:
    """As `place_on_lesion`, but first draw one of the lesions, all equally likely, and then one of its voxels.

    This way, small lesions, which are often many and always the hardest, are drawn as often as large ones.
    """
    if len(lesion_voxels) == 0:
        return place_anywhere(shape, size, rng)
    voxels = lesion_voxels - lesion_voxels.min(axis=0)  # label only their bounding box
    mask = np.zeros(voxels.max(axis=0) + 1, bool)
    mask[tuple(voxels.T)] = True
    lesions = find_lesions(mask)
    chosen = lesions.labels[tuple(voxels.T)] == rng.integers(1, lesions.count + 1)
    return place_on_lesion(shape, size, lesion_voxels[chosen], rng)


def cut_box(volume: Shaped[Tensor, "x y z"], corner: Corner, size: Shape) -> Shaped[Tensor, "x2 y2 z2"]:
    """The voxels of a box, with zeros outside the volume."""
    starts = [max(low, 0) for low in corner]
    stops = [max(min(low + length, edge), 0) for low, length, edge in zip(corner, size, volume.shape, strict=True)]
    x, y, z = (slice(min(start, stop), stop) for start, stop in zip(starts, stops, strict=True))
    inside = volume[x, y, z]
    if inside.shape == size:
        return inside
    padding: list[int] = []
    for axis in (2, 1, 0):  # torch pads from the last axis
        before = min(max(-corner[axis], 0), size[axis])
        padding += [before, size[axis] - before - inside.shape[axis]]
    return functional.pad(inside, padding)
