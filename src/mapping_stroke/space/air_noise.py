"""Noise of full brightness around the head, as in MP2RAGE UNI images: recognised, and set to 0.

Such an image is a ratio of two, so that noise divided by noise fills the air. Brain extraction and registration look
for a head in darkness; the brain itself is a T1w image like any other.
"""

import numpy as np
from jaxtyping import Float32
from scipy import ndimage

from mapping_stroke.image import Image, Mask, Voxels

RANGE_QUANTILES = (0.02, 0.98)
"""Of all voxels: black and white, relative to which noise is measured."""
EVERY = 2
"""Quantiles are read from every second voxel along each axis."""
SHELL_VOX = 5
"""Thickness of the layer at the volume's border that is looked at."""
NOISY = 0.2
"""Standard deviation among neighbours, of the range from black to white: even noise has 0.29, and real scans that show
air at their border have 0.01 or less there in the median."""
BLOCK_VOX, SMOOTH_VOX = 3, 5
"""The standard deviation is of blocks of three voxels, and averaged over five."""
NOISE_TOLD = (
    "noise as bright as the brain fills the air around the head, as in an MP2RAGE UNI image: everything outside the "
    "brain is left out; look at the brain's outline"
)


def silence_air(scan: Image) -> Image:
    """The scan with 0 for bright noise that reaches the volume's border; the scan itself if there is none."""
    low, high = np.quantile(scan.voxels[::EVERY, ::EVERY, ::EVERY], RANGE_QUANTILES)
    if not low < high:
        return scan
    relative = np.clip((scan.voxels - np.float32(low)) / np.float32(high - low), 0, 1)
    if float(np.median(_border_spread(relative))) < NOISY:
        return scan
    air = _reaching_border(ndimage.uniform_filter(_spread(relative), SMOOTH_VOX) > NOISY)
    air = ndimage.binary_dilation(air, iterations=SMOOTH_VOX // 2)
    return Image(np.where(air, np.float32(0), scan.voxels), scan.affine, scan.placement)


def _border_spread(relative: Voxels) -> Float32[np.ndarray, " n"]:
    slabs = [np.take(relative, part, axis) for axis in range(3) for part in _ends(relative.shape[axis])]
    return np.concatenate([_spread(slab).ravel() for slab in slabs])


def _ends(length: int) -> tuple[range, range]:
    return range(min(SHELL_VOX, length)), range(max(length - SHELL_VOX, 0), length)


def _spread(values: Voxels) -> Voxels:
    """The standard deviation in the block around each voxel."""
    mean = ndimage.uniform_filter(values, BLOCK_VOX)
    variance = ndimage.uniform_filter(values * values, BLOCK_VOX) - mean * mean
    return np.asarray(np.sqrt(np.maximum(variance, np.float32(0))))


def _reaching_border(region: Mask) -> Mask:
    """Those parts of a region that reach the border of the volume."""
    labels, count = ndimage.label(region)
    reaching = np.zeros(count + 1, np.bool_)
    for axis in range(3):
        for end in (0, -1):
            reaching[np.unique(np.take(labels, end, axis))] = True
    reaching[0] = False
    return np.asarray(reaching[labels])
