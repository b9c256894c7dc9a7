"""Pseudo-labels for unlabelled scans, with where they came from."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mapping_stroke.errors import TrainingError
from mapping_stroke.image import Mask, Probability


@dataclass(frozen=True, eq=False)
class PseudoLabel:
    """A mask that a network made, to train another with.

    Attributes:
        mask: P(lesion) > 0.5.
        confidence: Mean P(lesion) inside the mask, above 0.5; NaN for an empty mask.
    """

    mask: Mask
    confidence: float


def make_pseudo_label(probability: Probability) -> PseudoLabel:
    """Threshold a probability map at 0.5, with the mean confidence inside."""
    mask = np.asarray(probability > 0.5)
    confidence = float(probability[mask].mean(dtype=np.float64)) if mask.any() else float("nan")
    return PseudoLabel(mask, confidence)


def best_scheme(validation_dice: Mapping[str, float]) -> str:
    """The scheme of the highest mean validation Dice; the first in the mapping's order among equals.

    Raises:
        TrainingError: No scheme has been trained and validated.
    """
    known = {name: dice for name, dice in validation_dice.items() if np.isfinite(dice)}
    if not known:
        raise TrainingError("self-training needs a trained scheme to make its pseudo-labels; train `default` first")
    return max(known, key=lambda name: known[name])
