"""Correct the intensities of a raw scan: bias field, background below 0, full-brightness noise around the head."""

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
"""The field is smooth, so it is estimated on voxels of about this edge."""
ITERATIONS = (40, 40, 30)
"""Maximum number of iterations at each spline level, from coarse to fine."""
FEWEST_VOX = 1000
"""Fewest positive voxels of the shrunken brain for an estimate."""
MOST_BELOW_ZERO = 0.05
"""Largest fraction of the brain at or below 0; a scan of z-scores has more, and no multiplicative bias."""


def find_bias(scan: Image, brain: Mask) -> Image | None:
    """Estimate the bias field: the smooth factor by which intensities are too high, 1 on average over the brain.

    Args:
        scan: A T1w scan.
        brain: Its brain, on its grid; only intensities in the brain are used.

    Returns:
        The field on a coarse grid; None if the brain is too small or has many intensities below 0.
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
    log_field -= log_field[bright].mean()  # before exp: N4's log fields are far from centred
    low, high = log_field[bright].min(), log_field[bright].max()  # splines are unbounded outside the brain
    field = np.exp(np.clip(log_field, low, high))
    return Image(np.ascontiguousarray(field, dtype=np.float32), coarse.affine)


def divide_bias(scan: Image, field: Image | None) -> Image:
    """The scan without its bias, unchanged if there is no field."""
    if field is None:
        return scan
    to_field: Affine = np.linalg.inv(field.affine) @ scan.affine
    to_field[:3, :3] = np.diag(np.diag(to_field))[:3, :3]  # the axes of field and scan differ only by rounding
    factors = resample(field.voxels, to_field, scan.shape, repeat_border=True)
    return Image(scan.voxels / factors, scan.affine, scan.placement)


def _as_sitk(voxels: Voxels | UInt8[np.ndarray, "x y z"]) -> Any:
    return SimpleITK.GetImageFromArray(voxels.transpose(2, 1, 0))


LEAST_BELOW_ZERO = 0.01
"""Fraction of the non-background voxels; less is ringing from interpolation."""
BLACK_QUANTILE = 0.001
"""This quantile of the non-background voxels is black, robust to a few outliers."""
FAINTEST = 1e-3
"""Fraction of the range from black to the brightest; darker voxels get this, so that they do not become background."""


def find_surroundings(voxels: Voxels) -> Bool[np.ndarray, "x y z"]:
    """The background of a skull-stripped scan: the first corner's value, if it is connected to the border."""
    return np.asarray(~ndimage.binary_fill_holes(voxels != voxels[0, 0, 0]))


def shift_background(scan: Image) -> Image:
    """The scan with background and black at 0, unchanged if few or no values are below 0.

    Background voxels are 0 or have the first corner's value; but if all values are whole numbers, a 0 enclosed by other
    values counts as tissue.
    """
    voxels = scan.voxels
    if float(voxels.min()) >= 0:
        return scan
    background = (voxels == 0) | (voxels == voxels[0, 0, 0])
    if not (voxels % 1).any():  # in whole numbers, tissue can be exactly 0
        background &= (voxels != 0) | ~ndimage.binary_fill_holes(voxels != 0)
    tissue = voxels[~background]
    if tissue.size == 0 or (tissue < 0).mean() < LEAST_BELOW_ZERO:
        return scan
    black = np.quantile(tissue, BLACK_QUANTILE)
    lifted = np.maximum(voxels - black, FAINTEST * (tissue.max() - black))
    return Image(np.where(background, 0, lifted).astype(np.float32), scan.affine, scan.placement)


RANGE_QUANTILES = (0.02, 0.98)
"""Quantiles of all voxels that count as black and white; noise is relative to this range."""
EVERY = 2
"""Quantiles are taken over every second voxel along each axis."""
SHELL_VOX = 5
"""Thickness of the examined layer at the volume's border."""
NOISY = 0.2
"""Standard deviation among neighbours as a fraction of the range from black to white: uniform noise has 0.29, and real
scans with air at their border have a median of at most 0.01 there."""
BLOCK_VOX, SMOOTH_VOX = 3, 5
"""The standard deviation is computed over blocks of three voxels and averaged over five."""
NOISE_WARNING = (
    "noise as bright as the brain fills the air around the head, as in an MP2RAGE UNI image: everything outside the "
    "brain is left out; check the brain's outline"
)


def silence_air(scan: Image) -> Image:
    """The scan with 0 for bright noise connected to the volume's border, unchanged if there is none."""
    low, high = np.quantile(scan.voxels[::EVERY, ::EVERY, ::EVERY], RANGE_QUANTILES)
    if not low < high:
        return scan
    relative = np.clip((scan.voxels - np.float32(low)) / np.float32(high - low), 0, 1)
    if float(np.median(_border_spread(relative))) < NOISY:
        return scan
    air = _reaching_border(ndimage.uniform_filter(_spread(relative), SMOOTH_VOX) > NOISY)
    # the averaging has made the noisy region thinner by this much
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
    # E[x^2] - E[x]^2 may be slightly negative by rounding
    variance = ndimage.uniform_filter(values * values, BLOCK_VOX) - mean * mean
    return np.asarray(np.sqrt(np.maximum(variance, np.float32(0))))


def _reaching_border(region: Mask) -> Mask:
    """The parts of a region that reach the border of the volume."""
    labels, count = ndimage.label(region)
    reaching = np.zeros(count + 1, np.bool_)
    for axis in range(3):
        for end in (0, -1):
            reaching[np.unique(np.take(labels, end, axis))] = True
    reaching[0] = False
    return np.asarray(reaching[labels])
