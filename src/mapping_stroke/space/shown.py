"""What pictures may show of a scan: brains, and no faces."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from mapping_stroke.dataset.plausibility import LEAST_FIT
from mapping_stroke.dataset.template_fit import UPRIGHT, find_places, fit_at
from mapping_stroke.image import Image, Mask
from mapping_stroke.space.brain import Brain, cut_out, find_brain
from mapping_stroke.space.placed import PlacedScan

AROUND_MM = 2.0
"""Of what is around the brain, so that its edge is seen."""
LEAST_HEAD_ML = 200.0
"""What shows less than this is no head: a part of a brain, say."""


def hide_head(scan: Image, placed: PlacedScan | None = None) -> Image:
    """The scan with its lowest value wherever there is no brain; the scan itself if it shows a brain alone, or less.

    Args:
        scan: A scan of any kind.
        placed: Its brain and place, if they are known; otherwise its brain is looked for. A scan in which no plausible
            brain is found is hidden altogether: what is not known to be a brain might be a face.
    """
    background = scan.voxels[0, 0, 0]
    shown_vox = np.count_nonzero((scan.voxels != 0) & (scan.voxels != background))
    if shown_vox * scan.voxel_volume_mm3 < 1000 * LEAST_HEAD_ML:
        return scan
    if placed and not placed.quality.complaints():
        brain = placed.brain
    else:
        brain = find_brain(scan)
        if not _resembles_a_brain(scan, brain):
            return Image(np.full_like(scan.voxels, scan.voxels.min()), scan.affine)
    if brain.stripped:
        return scan
    near = ndimage.binary_dilation(brain.mask, _ball(AROUND_MM, scan.spacing_mm))
    return Image(np.where(near, scan.voxels, scan.voxels.min()), scan.affine)


def _ball(radius_mm: float, spacing_mm: Sequence[float]) -> Mask:
    """A ball in voxels: nothing but its centre along axes whose voxels are larger than its radius."""
    reach = [int(radius_mm // edge) for edge in spacing_mm]
    away_mm = np.meshgrid(
        *(edge * np.arange(-n, n + 1) for n, edge in zip(reach, spacing_mm, strict=True)), indexing="ij"
    )
    return np.asarray(sum(along**2 for along in away_mm) <= radius_mm**2)


def _resembles_a_brain(scan: Image, brain: Brain) -> bool:
    """Whether the template fits a brain somewhere, at least roughly."""
    if not brain.is_plausible(scan):
        return False
    small, upright = cut_out(scan, brain.mask), np.eye(4)
    fits = [fit_at(small, upright), *(fit for _, fit in find_places(small, [UPRIGHT]))]
    return max(fits) >= LEAST_FIT
