"""Volumes on other grids: shrunken by whole voxels, or laid through an affine by one linear interpolation."""

from typing import Literal

import numpy as np
from jaxtyping import Float32
from scipy import ndimage

from mapping_stroke.dataset.template_fit import block_means
from mapping_stroke.image import Affine, Image, Shape


def shrink(scan: Image, cell_mm: float) -> Image:
    """Average over blocks of voxels of about this edge; what fills no block at the far ends is left out.

    A scan whose voxels are that large along an axis keeps them.
    """
    factors = [max(min(round(cell_mm / edge), n), 1) for edge, n in zip(scan.spacing_mm, scan.shape, strict=True)]
    if factors == [1, 1, 1]:
        return scan
    whole = tuple(slice(n // factor * factor) for n, factor in zip(scan.shape, factors, strict=True))
    to_old: Affine = np.diag([*factors, 1]).astype(np.float64)
    to_old[:3, 3] = (np.array(factors) - 1) / 2
    return Image(np.ascontiguousarray(block_means(scan.voxels[whole], factors)), scan.affine @ to_old)


def resample(
    values: Float32[np.ndarray, "x y z"], to_values: Affine, shape: Shape, *, repeat_border: bool = False
) -> Float32[np.ndarray, "a b c"]:
    """Lay a volume on another grid by linear interpolation; no value leaves its range.

    Args:
        values: The volume.
        to_values: Index on the new grid to index in `values`.
        shape: Of the new grid.
        repeat_border: Beyond the volume its outermost voxels go on; otherwise there is 0.
    """
    matrix, start = to_values[:3, :3], to_values[:3, 3]
    mode: Literal["nearest", "constant"] = "nearest" if repeat_border else "constant"
    return ndimage.affine_transform(values, matrix, start, shape, output=np.float32, order=1, mode=mode)
