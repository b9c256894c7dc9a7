"""Scores of a segmented scan against its true lesions, for the stamp and the page."""

import math
from collections.abc import Mapping

from mapping_stroke.cohort.segmenter import LoadedScan
from mapping_stroke.evaluation.profiles import find_profile
from mapping_stroke.evaluation.score import score
from mapping_stroke.inference.segmentation import Segmentation

PROFILE = "atlas2022"
DECIMALS = 4
SHOWN = ("dice", "lesion_f1", "hd95_mm")
"""Scores on the page; the stamp has all."""
_METRICS = find_profile(PROFILE).metrics


def score_found(loaded: LoadedScan, found: Segmentation) -> dict[str, float | None]:
    """All metrics of `PROFILE` by their keys; None if one is undefined. Empty for a scan without reference."""
    if loaded.reference is None:
        return {}
    values = score(found.mask, loaded.reference, loaded.image.spacing_mm, PROFILE)
    return {key: None if math.isnan(value) else round(value, DECIMALS) for key, value in values.items()}


def shown_scores(scores: Mapping[str, float | None]) -> dict[str, float]:
    """The defined scores that a page shows, by their names with units."""
    names = {metric.key: f"{metric.label} ({metric.unit})" if metric.unit else metric.label for metric in _METRICS}
    return {names[key]: value for key in SHOWN if (value := scores.get(key)) is not None}
