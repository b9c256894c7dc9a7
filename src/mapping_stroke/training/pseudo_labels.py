"""Pseudo-labels for unlabelled scans, and their selection."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mapping_stroke.errors import TrainingError
from mapping_stroke.images.image import Mask, Probability


@dataclass(frozen=True, eq=False)
class PseudoLabel:
    """A predicted mask for training another network.

    Attributes:
        mask: P(lesion) > 0.5.
        confidence: Mean P(lesion) inside the mask, above 0.5; NaN for an empty mask.
    """

    mask: Mask
    confidence: float


def make_pseudo_label(probability: Probability) -> PseudoLabel:
    """Threshold a probability map at 0.5, and compute the mean confidence inside."""
    mask = np.asarray(probability > 0.5)
    confidence = float(probability[mask].mean(dtype=np.float64)) if mask.any() else float("nan")
    return PseudoLabel(mask, confidence)


def leave_out(confidence: Mapping[str, float | None], floor: float | None) -> list[str]:
    """The ids of the labels to exclude: those with a mean confidence below the floor, and empty ones.

    Args:
        confidence: Mean confidence of each label by case id; None for an empty label.
        floor: Lowest mean confidence; None excludes nothing.
    """
    if floor is None:
        return []
    return [case_id for case_id, mean in confidence.items() if mean is None or mean < floor]


def best_scheme(validation_dice: Mapping[str, float]) -> str:
    """The scheme with the highest validation Dice; the first of them for ties or unknown values.

    Args:
        validation_dice: Mean Dice of each candidate; NaN if unknown.

    Raises:
        TrainingError: There is no candidate.
    """
    if not validation_dice:
        raise TrainingError("self-training needs a trained scheme to make its pseudo-labels; train `default` first")
    return max(validation_dice, key=lambda name: np.nan_to_num(validation_dice[name], nan=-1.0))
