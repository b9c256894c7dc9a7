"""Volumes on other grids: averaged over blocks of voxels, or resampled by one linear interpolation."""

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Literal

import numpy as np
from jaxtyping import Float32
from scipy import ndimage

from mapping_stroke.dataset.template_fit import block_means
from mapping_stroke.images.image import Image
from mapping_stroke.images.nifti import Affine, Shape
from mapping_stroke.lesions import bounding_box

SLAB_VOX = 16
"""Volumes are resampled in slabs of this thickness along the first axis, on all cores; values do not depend on it."""

Box = tuple[slice, slice, slice]


def shrink(scan: Image, cell_mm: float) -> Image:
    """Average over blocks of about this edge. Incomplete blocks at the far ends are left out.

    Along an axis with voxels of that size or larger, nothing changes.
    """
    factors = [max(min(round(cell_mm / edge), n), 1) for edge, n in zip(scan.spacing_mm, scan.shape, strict=True)]
    if factors == [1, 1, 1]:
        return scan
    whole = tuple(slice(n // factor * factor) for n, factor in zip(scan.shape, factors, strict=True))
    to_old: Affine = np.diag([*factors, 1]).astype(np.float64)
    to_old[:3, 3] = (np.array(factors) - 1) / 2  # a block's centre, not its first voxel
    return Image(np.ascontiguousarray(block_means(scan.voxels[whole], factors)), scan.affine @ to_old)


def resample(
    values: Float32[np.ndarray, "x y z"], to_values: Affine, shape: Shape, *, repeat_border: bool = False
) -> Float32[np.ndarray, "a b c"]:
    """Resample a volume onto another grid by linear interpolation. No value leaves its range.

    Args:
        values: The volume.
        to_values: Index on the new grid to index in `values`.
        shape: Shape of the new grid.
        repeat_border: Extend the outermost voxels beyond the volume, instead of 0.
    """
    mode: Literal["nearest", "constant"] = "nearest" if repeat_border else "constant"
    resampled = np.zeros(shape, np.float32)
    x, y, z = _whole(shape)
    if not repeat_border:  # more than a voxel away from all non-zero voxels, the result is 0
        x, y, z = box_on_grid(bounding_box(values != 0, margin_vox=1), np.linalg.inv(to_values), shape)
    matrix, start = to_values[:3, :3], to_values[:3, 3]
    if not (matrix - np.diag(np.diag(matrix))).any():
        matrix = np.diag(matrix)  # which SciPy computes faster

    def fill(first: int) -> None:
        slab = resampled[first : min(first + SLAB_VOX, x.stop), y, z]
        # the slab's first voxel in the source
        at = start + to_values[:3, :3] @ [first, y.start, z.start]
        ndimage.affine_transform(values, matrix, at, slab.shape, output=slab, order=1, mode=mode)

    with ThreadPoolExecutor(os.cpu_count()) as workers:
        list(workers.map(fill, range(x.start, x.stop, SLAB_VOX)))
    return resampled


def box_on_grid(box: Box, to_grid: Affine, shape: Shape) -> Box:
    """The smallest box on another grid that contains a box, empty for an empty one.

    Args:
        box: Box on the first grid.
        to_grid: Index on the first grid to index on the other.
        shape: Shape of the other grid.
    """
    if any(edge.start == edge.stop for edge in box):
        return _whole((0, 0, 0))
    corners = np.array(list(product(*((edge.start, edge.stop - 1) for edge in box))))
    there = corners @ to_grid[:3, :3].T + to_grid[:3, 3]
    first = np.clip(np.floor(there.min(axis=0)), 0, shape).astype(int)
    behind = np.clip(np.ceil(there.max(axis=0)) + 1, 0, shape).astype(int)
    x, y, z = (slice(int(low), int(high)) for low, high in zip(first, behind, strict=True))
    return x, y, z


def _whole(shape: Shape) -> Box:
    x, y, z = (slice(0, edge) for edge in shape)
    return x, y, z
