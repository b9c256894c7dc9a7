"""Score one predicted mask against its reference."""

from collections.abc import Iterable
from typing import SupportsFloat

import numpy as np

from mapping_stroke.errors import GeometryError, ImageError
from mapping_stroke.evaluation.profiles import Pair, find_profile
from mapping_stroke.images.image import Mask
from mapping_stroke.rules import check_probability


def score(
    prediction: np.ndarray,
    reference: np.ndarray,
    spacing_mm: Iterable[SupportsFloat] = (1.0, 1.0, 1.0),
    profile: str = "atlas2022",
    probability: np.ndarray | None = None,
) -> dict[str, float]:
    """Compare a predicted mask with its reference, by all metrics of a profile.

    Args:
        prediction: Mask (x, y, z), bool or numbers 0 and 1. Any memory layout.
        reference: Mask of the same shape.
        spacing_mm: Length of a voxel's edge along each axis.
        profile: `atlas2022` (dice, volume_difference_vox, simple_lesion_count, lesion_f1, hd95_mm) or `isles2026`
            (dice, matched_lesion_f1, volume_difference_ml, lesion_count_difference, pr_auc).
        probability: P(lesion) in [0, 1] of the same shape; used by `isles2026` for pr_auc, which is NaN without it.

    Returns:
        Metric key -> value, in the profile's order; NaN if a metric is undefined. `mapping_stroke.evaluation.metrics`
        defines each metric, with its range and empty case.

    Raises:
        ConfigError: Unknown profile.
        GeometryError: The shapes differ, or an edge is not longer than 0 mm.
        ImageError: A mask is not three-dimensional or holds other values than 0 and 1, or the probability map is
            invalid.
    """
    chosen = find_profile(profile)
    predicted, expected = _check_mask(prediction, "prediction"), _check_mask(reference, "reference")
    _require_shape(predicted, "prediction", expected)
    if probability is not None:
        probability = check_probability(probability)
        _require_shape(probability, "probability map", expected)
    pair = Pair(predicted, expected, _check_spacing(spacing_mm), chosen.connectivity, probability)
    return {metric.key: metric.measure(pair) for metric in chosen.metrics}


def _check_mask(mask: np.ndarray, name: str) -> Mask:
    mask = np.asarray(mask)
    if mask.ndim != 3:
        raise ImageError(f"the {name} has {mask.ndim} axes (shape {mask.shape}), expected 3")
    if mask.dtype == np.bool_:
        return mask
    is_lesion = mask == 1
    others = mask[~is_lesion & (mask != 0)]
    if others.size > 0:
        raise ImageError(
            f"the {name} holds {others.size} voxels that are neither 0 nor 1, such as {others[0]}; "
            "threshold it first, or merge its labels into one mask"
        )
    return np.asarray(is_lesion)


def _require_shape(array: np.ndarray, name: str, reference: Mask) -> None:
    if array.shape != reference.shape:
        raise GeometryError(
            f"the {name} has shape {array.shape} but the reference has {reference.shape}; "
            "resample one onto the grid of the other"
        )


def _check_spacing(spacing_mm: Iterable[SupportsFloat]) -> tuple[float, float, float]:
    edges_mm = tuple(float(edge) for edge in spacing_mm)
    if len(edges_mm) != 3 or not all(0 < edge < np.inf for edge in edges_mm):
        raise GeometryError(f"the spacing needs 3 lengths above 0 mm, got {edges_mm}")
    return edges_mm
