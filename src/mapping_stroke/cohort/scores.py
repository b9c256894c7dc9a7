"""Scores of a segmented scan against its true lesions, for the stamp and the page."""

import math

from mapping_stroke.cohort.segmenter import LoadedScan
from mapping_stroke.evaluation.profiles import find_profile
from mapping_stroke.evaluation.score import score
from mapping_stroke.inference.segmentation import Segmentation

PROFILE = "atlas2022"
DECIMALS = 4


def score_found(loaded: LoadedScan, found: Segmentation) -> dict[str, float | None]:
    """All metrics of `PROFILE` by their keys; None if one is undefined. Empty for a scan without reference."""
    if loaded.reference is None:
        return {}
    values = score(found.mask, loaded.reference, loaded.image.spacing_mm, PROFILE)
    return {key: None if math.isnan(value) else round(value, DECIMALS) for key, value in values.items()}


def score_labels() -> dict[str, str]:
    """Names of the metrics by their keys."""
    return {metric.key: metric.label for metric in find_profile(PROFILE).metrics}
