"""How well lesions can be seen: their contrast to the tissue around, relative to how much that varies."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from mapping_stroke.image import Image, Mask
from mapping_stroke.lesions import bounding_box, find_lesions

AROUND_MM = (2.0, 8.0)
"""Distance from a lesion of the tissue that it is compared with."""
FEWEST_VOX = 20
"""Of that tissue; fewer tell no spread."""


@dataclass(frozen=True)
class LesionContrast:
    """One lesion.

    Attributes:
        volume_ml: Its volume.
        cnr: Contrast-to-noise ratio: difference of the mean intensities inside and around it, without its sign,
            divided by the standard deviation around it; NaN if there is too little tissue around it.
        change: Median of how far the lesion changed the intensities inside, without its sign, divided by the same; NaN
            if the scan without the lesion is not known.
    """

    volume_ml: float
    cnr: float
    change: float


def lesion_contrasts(scan: Image, mask: Mask, twin: Image | None = None) -> tuple[LesionContrast, ...]:
    """The contrast of every lesion (face-connected) of a scan; empty for an empty mask.

    Args:
        scan: Intensities, 0 outside the brain.
        mask: Its lesions.
        twin: The same scan without any lesion, if there is such a thing.
    """
    found = find_lesions(mask)
    reach_vox = int(np.ceil(AROUND_MM[1] / min(scan.spacing_mm)))
    contrasts = []
    whole = np.zeros(mask.shape, np.int32)
    whole[found.box] = found.labels
    for number in range(1, found.count + 1):
        box = bounding_box(whole == number, reach_vox)
        inside = whole[box] == number
        away_mm = ndimage.distance_transform_edt(~inside, sampling=scan.spacing_mm)
        near = (away_mm >= AROUND_MM[0]) & (away_mm <= AROUND_MM[1])
        around = scan.voxels[box][near & ~mask[box] & (scan.voxels[box] != 0)]
        spread = float(around.std()) if around.size >= FEWEST_VOX else 0.0
        volume_ml = float(inside.sum()) * scan.voxel_volume_mm3 / 1000
        if spread == 0:
            contrasts.append(LesionContrast(volume_ml, float("nan"), float("nan")))
            continue
        values = scan.voxels[box][inside]
        cnr = abs(float(values.mean() - around.mean())) / spread
        change = float(np.median(np.abs(values - twin.voxels[box][inside]))) / spread if twin else float("nan")
        contrasts.append(LesionContrast(volume_ml, cnr, change))
    return tuple(contrasts)
