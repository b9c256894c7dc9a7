"""What an audit keeps of a simulated case and its healthy twin, and how cases are grouped to be told."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mapping_stroke.dataset.simulate.parts import Part
from mapping_stroke.evaluation.visibility import LesionContrast

CURVE_LEVELS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Levels of P(lesion) at which masks are cut, for the curve of Dice against false volume."""
BARELY_SEEN = 0.5
"""A lesion with a smaller contrast-to-noise ratio can hardly be seen: what is taught with it is guessing."""


@dataclass(frozen=True)
class AuditedCase:
    """A case, and what a model made of it.

    Attributes:
        case_id: Its name.
        part: Whose people and masks it is made of.
        load_ml: Volume of its lesions.
        dice: Of the mask at P > 0.5; 1 if both masks are empty.
        missed_ml: Volume of lesion that is not marked.
        false_ml: Volume that is marked and no lesion.
        probability: Median P(lesion) inside the lesions; NaN without any.
        curve_dice: Dice of the masks at `CURVE_LEVELS`.
        twin_ml: Volume marked in the healthy twin at these levels.
        lesions: The contrast of each lesion.
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
        """Contrast-to-noise ratio of its lesions, mean by volume; NaN if none has one."""
        known = [lesion for lesion in self.lesions if not math.isnan(lesion.cnr)]
        if not known:
            return math.nan
        return float(np.average([one.cnr for one in known], weights=[one.volume_ml for one in known]))


def terciles(cases: Sequence[AuditedCase]) -> list[list[AuditedCase]]:
    """Cases with a known contrast-to-noise ratio in three groups of nearly one size, the least visible first."""
    ranked = sorted((case for case in cases if not math.isnan(case.cnr)), key=lambda case: case.cnr)
    return [[ranked[index] for index in part] for part in np.array_split(np.arange(len(ranked)), 3)]
