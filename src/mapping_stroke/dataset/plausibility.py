"""Is a scan of the kind that a model was trained on? What speaks against it is told, never refused.

Limits: measured on simulated scans of all kinds and on real ones, see decision 45.
"""

import numpy as np

from mapping_stroke.dataset.template_fit import contrast_at, fit_template
from mapping_stroke.image import Affine, Image

LEAST_FIT = 0.05
"""Below this nothing of the template is found again: T1w scans of adult brains have 0.2 and more, noise 0.01."""
LEAST_CONTRAST = 0.12
"""T1w scans have 0.14 and more (nearly all 0.2), T2w, FLAIR, PD and CT 0.13 and less (nearly all less than 0.06)."""
OBLIQUE_DEG = 15.0
"""Networks read along the grid's axes; training turned heads by about this much."""


def doubt_scan(scan: Image, *, t1w: bool, mni152: bool) -> list[str]:
    """Tell what a user should know before a model reads a scan whose place is not known.

    Args:
        scan: A scan that `check_scan` lets pass.
        t1w: Whether it should be a T1w.
        mni152: Whether it should lie in MNI152 space, and will not be registered.

    Returns:
        A line each; empty if all is well or nothing is asked.
    """
    if not (t1w or mni152):
        return []
    found = fit_template(scan)
    if found.fit < LEAST_FIT:
        return [
            "it does not resemble the MNI152 template wherever that is laid, so neither its contrast nor its place "
            "could be judged: look whether it is a T1w scan of a whole brain, the right way up"
        ]
    doubts = _doubt_contrast(found.contrast) if t1w else []
    if mni152 and not found.in_place:
        doubts.append(
            "it does not lie in MNI152 space, for which the model was made, and was not to be registered: the result "
            "may be poor, let --space be auto"
        )
    elif mni152 and (turned_deg := grid_turn_deg(scan)) > OBLIQUE_DEG:
        doubts.append(
            f"its grid is turned by {turned_deg:.0f} degrees against the axes of MNI152, along which the model reads: "
            "the result may be poor, let --space be auto"
        )
    return doubts


def doubt_placed_scan(brain: Image, place: Affine) -> list[str]:
    """Tell whether a scan that was placed looks like a T1w, a line each; empty if it does.

    Only the side of the brain that the template fits best counts if that is better than all of it: a large stroke
    leaves little contrast on its own side.

    Args:
        brain: The scan, 0 around its brain.
        place: Where the template lies on it: the template's millimetres to the scan's.
    """
    return _doubt_contrast(contrast_at(brain, place))


def _doubt_contrast(contrast: float) -> list[str]:
    if contrast >= LEAST_CONTRAST:
        return []
    return [
        "its intensities do not look like those of a T1w scan (white matter is not brighter than grey matter), and the "
        "model knows T1w scans alone: do not use the result, give the T1w scan"
    ]


def grid_turn_deg(scan: Image) -> float:
    """How far a grid's axes are from the anatomical directions next to them, at most, in degrees."""
    cosines = np.abs(scan.affine[:3, :3] / np.array(scan.spacing_mm)).max(axis=0)
    return float(np.degrees(np.arccos(np.clip(cosines.min(), -1, 1))))
