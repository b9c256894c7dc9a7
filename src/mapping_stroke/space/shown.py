"""What pictures may show of a scan: brains, and no faces."""

import numpy as np
from scipy import ndimage

from mapping_stroke.dataset.plausibility import LEAST_FIT
from mapping_stroke.dataset.template_fit import UPRIGHT, find_places, fit_at
from mapping_stroke.image import Affine, Image, Mask
from mapping_stroke.lesions import FACE_CONNECTED
from mapping_stroke.space.brain import find_brain
from mapping_stroke.space.placed import PlacedScan
from mapping_stroke.space.resample import resample, shrink
from mapping_stroke.space.search import CELL_MM
from mapping_stroke.space.template import read_template

AROUND_MM = 2.0
"""Of what is around the brain, so that its edge is seen."""
LEAST_HEAD_ML = 200.0
"""What shows less than this is no head: a part of a brain, say."""


def hide_head(scan: Image, placed: PlacedScan | None = None) -> Image:
    """The scan with its lowest value wherever there is no brain; the scan itself where it shows a brain alone, or less.

    Args:
        scan: A scan of any kind.
        placed: Where it lies, if that is known; otherwise the template is laid on it roughly, to about a centimetre. A
            scan on which it fits nowhere is hidden altogether: what is not known to be a brain might be a face.
    """
    background = scan.voxels[0, 0, 0]
    shown_vox = np.count_nonzero((scan.voxels != 0) & (scan.voxels != background))
    if shown_vox * scan.voxel_volume_mm3 < 1000 * LEAST_HEAD_ML:
        return scan
    if placed is None or placed.quality.complaints():
        stripped, brain = _find_roughly(scan)
    else:
        stripped, brain = placed.stripped, placed.brain
    if stripped:
        return scan
    steps = max(round(AROUND_MM / min(scan.spacing_mm)), 1)
    near = ndimage.binary_dilation(brain, FACE_CONNECTED, steps)
    return Image(np.where(near, scan.voxels, scan.voxels.min()), scan.affine)


def _find_roughly(scan: Image) -> tuple[bool, Mask]:
    """Whether a scan shows next to nothing around its brain, and the brain; no brain where none is recognised."""
    small, upright = shrink(scan, CELL_MM), np.eye(4)
    place, fit = max([(upright, fit_at(small, upright)), *find_places(small, [UPRIGHT])], key=lambda found: found[1])
    if fit < LEAST_FIT:
        return False, np.zeros(scan.shape, np.bool_)
    found = find_brain(small, place)
    to_template: Affine = np.linalg.inv(place @ read_template().affine) @ scan.affine
    return found.stripped, resample(found.mask.astype(np.float32), to_template, scan.shape) > 0.5
