"""Intensities of a raw scan made usable: bias field, background below 0, noise of full brightness around the head."""

from dataclasses import replace
from typing import Any

import numpy as np
import SimpleITK
from jaxtyping import Bool, Float32, UInt8
from scipy import ndimage

from mapping_stroke.images.image import Image, Mask, Voxels
from mapping_stroke.images.nifti import Affine
from mapping_stroke.space.affine import WORK_UNITS, use_one_thread
from mapping_stroke.space.resample import resample, shrink

CELL_MM = 6.0
"""The field is smooth: it is found on voxels of about this edge."""
ITERATIONS = (40, 40, 30)
"""At most, with splines ever finer."""
FEWEST_VOX = 1000
"""Of the shrunken brain, with intensities above 0: fewer tell no field. A scan of z-scores has no bias of this kind."""
MOST_BELOW_ZERO = 0.05
"""Share of the brain."""


def find_bias(scan: Image, brain: Mask) -> Image | None:
    """Find the smooth factor by which intensities are too high, 1 on average over the brain.

    Args:
        scan: A T1w scan.
        brain: Its brain, on its grid: intensities of the brain alone tell the field.

    Returns:
        The field on a coarse grid, or None where intensities below 0, or a brain of a few voxels, tell none.
    """
    use_one_thread()
    coarse = shrink(scan, CELL_MM)
    inside = shrink(replace(scan, voxels=brain.astype(np.float32)), CELL_MM).voxels > 0.5
    bright = inside & (coarse.voxels > 0)
    if bright.sum() < max(FEWEST_VOX, (1 - MOST_BELOW_ZERO) * inside.sum()):
        return None
    image = _as_sitk(coarse.voxels)
    corrector = SimpleITK.N4BiasFieldCorrectionImageFilter()
    corrector.SetNumberOfWorkUnits(WORK_UNITS)
    corrector.SetMaximumNumberOfIterations(ITERATIONS)
    corrector.Execute(image, _as_sitk(bright.astype(np.uint8)))
    log_field = SimpleITK.GetArrayFromImage(corrector.GetLogBiasFieldAsImage(image)).transpose(2, 1, 0)
    log_field -= log_field[bright].mean()  # first: N4's own fields lie far to one side of 0
    low, high = log_field[bright].min(), log_field[bright].max()  # beyond the brain splines may go anywhere
    field = np.exp(np.clip(log_field, low, high))
    return Image(np.ascontiguousarray(field, dtype=np.float32), coarse.affine)


def divide_bias(scan: Image, field: Image | None) -> Image:
    """The scan without its bias; the scan itself where there is no field."""
    if field is None:
        return scan
    to_field: Affine = np.linalg.inv(field.affine) @ scan.affine
    to_field[:3, :3] = np.diag(np.diag(to_field))[:3, :3]  # the field's axes are the scan's, but for rounding
    factors = resample(field.voxels, to_field, scan.shape, repeat_border=True)
    return Image(scan.voxels / factors, scan.affine, scan.placement)


def _as_sitk(voxels: Voxels | UInt8[np.ndarray, "x y z"]) -> Any:
    return SimpleITK.GetImageFromArray(voxels.transpose(2, 1, 0))


LEAST_BELOW_ZERO = 0.01
"""Share of what a scan shows; less is ringing of an interpolation."""
BLACK_QUANTILE = 0.001
"""Of what a scan shows: black, whatever a few voxels hold."""
FAINTEST = 1e-3
"""Of the range from black to the brightest: darker voxels get this, so that they are no background."""


def find_surroundings(voxels: Voxels) -> Bool[np.ndarray, "x y z"]:
    """What lies around what a stripped scan shows: the value of the first corner, as far as it reaches the border."""
    return np.asarray(~ndimage.binary_fill_holes(voxels != voxels[0, 0, 0]))


def above_black(scan: Image) -> Image:
    """The scan with its black at 0, and its background, too; the scan itself where nothing, or little, is below 0.

    Background is 0 before, or what the first corner holds; but where all values are whole numbers, a 0 within what the
    scan shows is a value like any other.
    """
    voxels = scan.voxels
    if float(voxels.min()) >= 0:
        return scan
    background = (voxels == 0) | (voxels == voxels[0, 0, 0])
    if not (voxels % 1).any():
        background &= (voxels != 0) | ~ndimage.binary_fill_holes(voxels != 0)
    shown = voxels[~background]
    if shown.size == 0 or (shown < 0).mean() < LEAST_BELOW_ZERO:
        return scan
    black = np.quantile(shown, BLACK_QUANTILE)
    lifted = np.maximum(voxels - black, FAINTEST * (shown.max() - black))
    return Image(np.where(background, 0, lifted).astype(np.float32), scan.affine, scan.placement)


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
