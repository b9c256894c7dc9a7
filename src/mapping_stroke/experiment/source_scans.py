"""Scans as they came from the scanner, made sources of simulated strokes: placed in MNI152 space and stripped."""

from pathlib import Path

import numpy as np

from mapping_stroke.dataset.grid import ATLAS_GRID
from mapping_stroke.errors import ImageError, RegistrationError
from mapping_stroke.image import Image
from mapping_stroke.space.brain import overlap_with_template
from mapping_stroke.space.placed import place_scan

LEAST_OVERLAP = 0.87
"""Of what a scan holds above 0 and the template's brain, from which on it is taken for a stripped brain in MNI space:
affinely registered OASIS brains have 0.95 and more, brains and heads in their scanner's space at most 0.85."""


def in_mni_space(scan: Image) -> bool:
    """Whether what a scan holds above 0 is a brain where MNI152 space has one; 0.1 s."""
    return overlap_with_template(scan, scan.voxels > 0, np.eye(4)) >= LEAST_OVERLAP


def place_source(path: Path, scan: Image) -> Image:
    """A stripped brain in MNI152 space: the scan itself if it is one, otherwise placed as `mapping segment` does it.

    Args:
        path: Of the scan, for the error.
        scan: A whole head or a brain, anywhere, in any orientation.

    Returns:
        The scan itself, or its brain on the ATLAS grid without its bias field, 0 around it; about 10 s.

    Raises:
        ImageError: It is no brain in MNI152 space, and no place was found for it.
    """
    if in_mni_space(scan):
        return scan
    try:
        return place_scan(scan).on_atlas(ATLAS_GRID, brain_only=True)
    except RegistrationError as error:
        raise ImageError(
            f"{path}: is no stripped brain in MNI152 space, and could not be placed there: {error}"
        ) from error
