"""Scans that other programs shifted or made z-scores of, so that black lies below 0: moved back up."""

import numpy as np
from jaxtyping import Bool
from scipy import ndimage

from mapping_stroke.image import Image, Voxels

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
