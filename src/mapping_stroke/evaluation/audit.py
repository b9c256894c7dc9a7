"""Audit of simulated cases: the record of a case and its healthy twin, and the visibility of lesions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from mapping_stroke.images.image import Image, Mask
from mapping_stroke.lesions import bounding_box, find_lesions
from mapping_stroke.names import Part

AROUND_MM = (2.0, 8.0)
"""Range of distances from a lesion of the tissue it is compared with."""
FEWEST_VOX = 20
"""Fewest voxels of that tissue for a standard deviation."""


@dataclass(frozen=True)
class LesionContrast:
    """One lesion.

    Attributes:
        volume_ml: Its volume.
        cnr: Contrast-to-noise ratio: absolute difference of the mean intensities inside and around it, divided by the
            standard deviation around it; NaN if there is too little tissue around it.
        change: Median absolute change of the intensities inside by the lesion, divided by the same; NaN if the scan
            without the lesion is unknown.
    """

    volume_ml: float
    cnr: float
    change: float


def lesion_contrasts(scan: Image, mask: Mask, twin: Image | None = None) -> tuple[LesionContrast, ...]:
    """The contrast of every lesion (face-connected) of a scan; empty for an empty mask.

    Args:
        scan: Intensities, 0 outside the brain.
        mask: Its lesions.
        twin: The same scan without any lesion; None if unknown.
    """
    found = find_lesions(mask)
    reach_vox = int(np.ceil(AROUND_MM[1] / min(scan.spacing_mm)))
    contrasts = []
    labels = np.zeros(mask.shape, np.int32)  # on the scan's grid, since surroundings may leave the lesions' box
    labels[found.box] = found.labels
    for number in range(1, found.count + 1):
        box = bounding_box(labels == number, reach_vox)
        inside = labels[box] == number
        away_mm = ndimage.distance_transform_edt(~inside, sampling=scan.spacing_mm)
        near = (away_mm >= AROUND_MM[0]) & (away_mm <= AROUND_MM[1])
        # other lesions and the background are not normal tissue
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


CURVE_LEVELS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Thresholds of P(lesion) for the curve of Dice against false volume."""
BARELY_SEEN = 0.5
"""Lesions with a smaller contrast-to-noise ratio are hardly visible, and teach a network to guess."""


@dataclass(frozen=True)
class AuditedCase:
    """A case and the result of a model.

    Attributes:
        case_id: Its name.
        part: Split of its people and masks.
        load_ml: Volume of its lesions.
        dice: Dice of the mask at P > 0.5; 1 if both masks are empty.
        missed_ml: Lesion volume that is not marked.
        false_ml: Marked volume outside the lesions.
        probability: Median P(lesion) inside the lesions; NaN without any.
        curve_dice: Dice of the masks at `CURVE_LEVELS`.
        twin_ml: Volume marked in the healthy twin at these levels.
        lesions: Contrast of each lesion.
    """

    case_id: str
    part: Part
    load_ml: float
    dice: float
    missed_ml: float
    false_ml: float
    probability: float
    curve_dice: tuple[float, ...]
    twin_ml: tuple[float, ...]
    lesions: tuple[LesionContrast, ...]

    @property
    def twin_ml_at_half(self) -> float:
        """Volume marked in the healthy twin at P > 0.5."""
        return self.twin_ml[CURVE_LEVELS.index(0.5)]

    @property
    def cnr(self) -> float:
        """Volume-weighted mean contrast-to-noise ratio of its lesions; NaN if none has one."""
        known = [lesion for lesion in self.lesions if not math.isnan(lesion.cnr)]
        if not known:
            return math.nan
        return float(np.average([one.cnr for one in known], weights=[one.volume_ml for one in known]))


def terciles(cases: Sequence[AuditedCase]) -> list[list[AuditedCase]]:
    """Cases with a known contrast-to-noise ratio in three groups of nearly equal size, the least visible first."""
    ranked = sorted((case for case in cases if not math.isnan(case.cnr)), key=lambda case: case.cnr)
    return [[ranked[index] for index in part] for part in np.array_split(np.arange(len(ranked)), 3)]
