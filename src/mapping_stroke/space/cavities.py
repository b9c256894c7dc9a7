"""Cavities of old strokes at the brain's surface, which look like the fluid around it: given back to the brain."""

from dataclasses import replace

import numpy as np
from scipy import ndimage

from mapping_stroke.image import Affine, Image
from mapping_stroke.lesions import bounding_box
from mapping_stroke.space.brain import WHITE_QUANTILE, Brain, brain_on_template, depth_in_template_mm
from mapping_stroke.space.extraction import fill_holes
from mapping_stroke.space.resample import box_on_grid, resample
from mapping_stroke.space.template import read_template

DEEP_MM, AROUND_MM = 4.0, 8.0
"""Depth in the template's brain at which a cavity is believed; within this of one, what is alike belongs to it."""
DARK = 0.6
"""Of white matter's intensity: cavities are darker."""
MIRROR: Affine = np.diag([-1.0, 1.0, 1.0, 1.0])
"""Left and right of MNI152 space exchanged."""


def complete_brain(scan: Image, brain: Brain, place: Affine) -> Brain:
    """The network's brain with the cavities that it left out, now that its place is known; another one as it is.

    The network's outline may pass below a cavity at the surface. What is dark, deep in the template's brain, and has
    brain at its mirror image on the other side, is a cavity; it comes back with what is alike and near. Bone that
    reaches as deep, such as the petrous part, does so on both sides.

    Args:
        scan: The scan, its black at 0.
        brain: Its brain.
        place: Template's millimetres to the scan's.
    """
    if brain.source != "network":
        return brain
    template, depth_mm = read_template(), depth_in_template_mm()
    here = brain_on_template(scan, brain.mask, place).astype(np.float32)
    opposite = resample(here, np.linalg.inv(template.affine) @ MIRROR @ template.affine, depth_mm.shape)
    candidates = bounding_box((opposite > 0.5) & (here == 0) & (depth_mm > DEEP_MM), _cells(AROUND_MM))
    to_scan = np.linalg.inv(scan.affine) @ place @ template.affine
    box = box_on_grid(candidates, to_scan, scan.shape)
    values, known = scan.voxels[box], brain.mask[box]
    if known.size == 0:
        return brain
    to_template = np.linalg.inv(to_scan)
    to_template[:3, 3] += to_template[:3, :3] @ [edge.start for edge in box]
    white = float(np.quantile(scan.voxels[brain.mask], WHITE_QUANTILE))
    absent = ~known & (values > 0) & (values < DARK * white) & (resample(opposite, to_template, known.shape) > 0.5)
    deep = absent & (resample(depth_mm, to_template, known.shape) > DEEP_MM)
    if not deep.any():
        return brain
    mask = brain.mask.copy()
    mask[box] |= absent & (ndimage.distance_transform_edt(~deep, sampling=scan.spacing_mm) <= AROUND_MM)
    return replace(brain, mask=fill_holes(mask))


def _cells(length_mm: float) -> int:
    """Voxels of the template that span a length."""
    return int(np.ceil(length_mm / read_template().spacing_mm))
