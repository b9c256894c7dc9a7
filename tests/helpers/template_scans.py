"""Scans of the MNI152 template's brain in any contrast, made from the packaged points: no other data is needed."""

from functools import cache

import numpy as np
from scipy import ndimage

from mapping_stroke.dataset.template_fit import tissue_points
from mapping_stroke.images.image import Image
from mapping_stroke.images.nifti import Affine

CONTRASTS = {
    "T1w": (40, 90, 130),
    "T2w": (240, 145, 100),
    "FLAIR": (30, 130, 100),
    "PD": (105, 122, 100),
    "CT": (8, 38, 30),
    "inverted T1w": (130, 90, 40),
}
"""Intensities of CSF, grey and white matter."""
STEP_MM = 8.0
GRID_AFFINE: Affine = np.array([[4, 0, 0, -96], [0, 4, 0, -132], [0, 0, 4, -96], [0, 0, 0, 1]], np.float64)
SHAPE = (49, 57, 49)


@cache
def template_scan(contrast: str, seed: int = 0) -> Image:
    """A noisy skull-stripped brain on a grid of 4 mm, its tissues as finely known as the packaged points are."""
    points = tissue_points()
    corner_mm = points.places_mm.min(axis=0)
    index = np.rint((points.places_mm - corner_mm) / STEP_MM).astype(int)
    shares = np.zeros((3, *(index.max(axis=0) + 1)), np.float32)
    shares[(slice(None), *index.T)] = [1 - points.grey - points.white, points.grey, points.white]
    to_points = np.indices(SHAPE).reshape(3, -1).T @ GRID_AFFINE[:3, :3].T + GRID_AFFINE[:3, 3] - corner_mm
    parts = [ndimage.map_coordinates(share, to_points.T / STEP_MM, order=1).reshape(SHAPE) for share in shares]
    inside = sum(parts) > 0.5
    rng = np.random.default_rng(seed)
    levels = np.array(CONTRASTS[contrast], np.float32)
    scan = sum(level * part for level, part in zip(levels, parts, strict=True))
    scan = scan + rng.normal(0, 0.03 * levels.max(), SHAPE)
    return Image(np.where(inside, np.maximum(scan, 1), 0).astype(np.float32), GRID_AFFINE)


def headed(brain: Image, seed: int = 0) -> Image:
    """The same brain in a head: fluid, a dark skull, a bright scalp, a neck, and noisy air."""
    inside = brain.voxels != 0
    away_mm = ndimage.distance_transform_edt(~inside, sampling=brain.spacing_mm)
    x, y, z = (
        axis * edge + start for axis, edge, start in zip(np.indices(SHAPE), (4, 4, 4), (-96, -132, -96), strict=True)
    )
    neck = (np.hypot(x, y + 25) < 55) & (z < -45)
    head = np.select(
        [inside, away_mm < 3, away_mm < 8, (away_mm < 15) | neck],
        [brain.voxels, brain.voxels[inside].min(), 15, brain.voxels.max()],
        0,
    )
    noise = np.random.default_rng(seed).normal(0, 4, SHAPE)
    return Image(np.abs(head + noise).astype(np.float32), brain.affine)
