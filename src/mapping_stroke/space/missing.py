"""Tissue that should be there and is not: parts of the template's brain that a scan, or its stripped brain, lacks."""

import numpy as np
from scipy import ndimage

from mapping_stroke.image import Affine, Image, Mask
from mapping_stroke.lesions import FACE_CONNECTED
from mapping_stroke.space.brain import brain_on_template, depth_in_template_mm, view_on_template
from mapping_stroke.space.template import read_template

DEPTH_MM = 6.0
"""Below the surface of the template's brain: brains differ from it by less, after an affine registration."""
LEAST_ML = 10.0
"""Of one missing region, in the scan's own volume, from which it is told."""


def missing_ml(scan: Image, brain: Mask, place: Affine) -> tuple[float, float]:
    """The volume that a scan lacks of the template's brain, more than `DEPTH_MM` below its surface.

    Args:
        scan: A scan.
        brain: Its brain, on its grid.
        place: Template's millimetres to the scan's.

    Returns:
        Millilitres of the largest region within the field of view that is not in the brain, and of what lies beyond
        the field of view; 0 if nothing is missing.
    """
    expected = depth_in_template_mm() > DEPTH_MM
    in_view = view_on_template(scan, place)
    absent = expected & in_view & ~brain_on_template(scan, brain, place)
    cell_ml = read_template().spacing_mm ** 3 * abs(np.linalg.det(place[:3, :3])) / 1000
    labels, count = ndimage.label(absent, FACE_CONNECTED)
    largest_vox = int(np.bincount(labels[absent]).max()) if count else 0
    return largest_vox * cell_ml, int((expected & ~in_view).sum()) * cell_ml


def missing_tissue(scan: Image, brain: Mask, place: Affine) -> list[str]:
    """What to tell of missing tissue, a line each; empty if the brain is whole."""
    cut_ml, unseen_ml = missing_ml(scan, brain, place)
    told = []
    if cut_ml >= LEAST_ML:
        told.append(
            f"about {cut_ml:.0f} mL of tissue that the template has in one place are missing from the brain: if brain "
            "extraction cut a lesion off, nothing of it is found; look at the brain's outline, or give a whole scan"
        )
    if unseen_ml >= LEAST_ML:
        told.append(
            f"about {unseen_ml:.0f} mL of the brain lie beyond its field of view: lesions there are not found, and "
            "volumes are those of a part"
        )
    return told
