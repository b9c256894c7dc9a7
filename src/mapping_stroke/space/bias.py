"""Bias field correction: N4 on a shrunken scan. Source: Tustison et al. 2010, doi:10.1109/TMI.2010.2046908."""

from dataclasses import replace
from typing import Any

import numpy as np
import SimpleITK
from jaxtyping import UInt8

from mapping_stroke.image import Affine, Image, Mask, Voxels
from mapping_stroke.space.itk_threads import WORK_UNITS, use_one_thread
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
