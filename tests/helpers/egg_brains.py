"""Brains as simple as eggs, in MNI152 space, that are read in a moment."""

import numpy as np

from mapping_stroke.images.nifti import Affine

AFFINE: Affine = np.array([[-5, 0, 0, 90], [0, 5, 0, -120], [0, 0, 5, -70], [0, 0, 0, 1]], np.float64)
"""LAS voxels of 5 mm."""
SHAPE = (37, 44, 36)
INTENSITIES = np.uint8([0, 50, 120, 200])
"""Of background, CSF, grey and white matter."""


def egg_labels(wide_mm: float) -> np.ndarray:
    """CSF 1, grey matter 2 and white matter 3 of an egg of that half width, with two ventricles."""
    x, y, z = (
        axis * step + start
        for axis, step, start in zip(np.indices(SHAPE), AFFINE.diagonal(), AFFINE[:3, 3], strict=False)
    )
    radius = np.sqrt((x / wide_mm) ** 2 + ((y + 18) / 86) ** 2 + ((z - 9) / 70) ** 2)
    labels: np.ndarray = (radius < 1).astype(np.uint8) + (radius < 0.92) + (radius < 0.75)
    labels[np.sqrt(((abs(x) - 12) / 9) ** 2 + ((y + 18) / 30) ** 2 + ((z - 9) / 16) ** 2) < 1] = 1
    return labels
