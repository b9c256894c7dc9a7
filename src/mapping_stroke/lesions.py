"""Lesions, the connected components of a mask: labels and sizes within their bounding box."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int32, Int64
from scipy import ndimage

FACE_CONNECTED = ndimage.generate_binary_structure(3, 1)
"""Voxels that share a face belong together (6 neighbours)."""
FULLY_CONNECTED = ndimage.generate_binary_structure(3, 3)
"""Voxels that share a corner belong together (26 neighbours)."""


@dataclass(frozen=True, eq=False)
class Lesions:
    """The lesions of a mask, ordered by their first voxel (last axis fastest).

    Attributes:
        labels: 1..n inside the lesions, 0 elsewhere; covers only `box`.
        sizes_vox: Number of voxels of lesions 1..n.
        box: Position of `labels` in the volume; empty slices for an empty mask.
    """

    labels: Int32[np.ndarray, "x y z"]
    sizes_vox: Int64[np.ndarray, " n"]
    box: tuple[slice, slice, slice]

    @property
    def count(self) -> int:
        """Number of lesions."""
        return len(self.sizes_vox)


def bounding_box(mask: Bool[np.ndarray, "x y z"], margin_vox: int = 0) -> tuple[slice, slice, slice]:
    """The smallest box that holds every True voxel, widened by a margin within the volume, or empty slices if none."""
    # the other axes only look at planes that the first one found
    x_hit = np.asarray(mask.any(axis=(1, 2)))
    y_hit, z_hit = np.asarray(mask[x_hit].any(axis=(0, 2))), np.asarray(mask[x_hit].any(axis=(0, 1)))
    return _extent(x_hit, margin_vox), _extent(y_hit, margin_vox), _extent(z_hit, margin_vox)


def find_lesions(mask: Bool[np.ndarray, "x y z"], connectivity: Bool[np.ndarray, "3 3 3"] = FACE_CONNECTED) -> Lesions:
    """Label the connected components of a mask, of which an empty mask has none."""
    box = bounding_box(mask)
    inside = np.ascontiguousarray(mask[box])
    labels = np.empty(inside.shape, np.int32)
    count = ndimage.label(inside, connectivity, output=labels)
    sizes_vox = np.bincount(labels[inside], minlength=count + 1)[1:]
    return Lesions(labels, sizes_vox.astype(np.int64), box)


def _extent(hit: Bool[np.ndarray, " n"], margin_vox: int) -> slice:
    where = np.flatnonzero(hit)
    if where.size == 0:
        return slice(0, 0)
    return slice(max(int(where[0]) - margin_vox, 0), int(where[-1]) + 1 + margin_vox)
