"""Values of a segmented scan for its stamp, page and cohort: agreement, hemispheres, regions, placement, scores."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mapping_stroke.cohort.segmenter import LoadedScan, Segmenter
from mapping_stroke.dataset.sides import lesion_points, placed_sides_ml
from mapping_stroke.evaluation.profiles import find_profile
from mapping_stroke.evaluation.score import score
from mapping_stroke.images.image import Probability
from mapping_stroke.images.nifti import Affine
from mapping_stroke.inference.segmentation import LesionRow, Segmentation, number_lesions

UNCERTAIN_SD = 0.25
"""Half the largest possible standard deviation: members disagree about such a voxel."""
PROFILE = "atlas2022"
DECIMALS = 4
SHOWN_SCORES = ("dice", "lesion_f1", "hd95_mm")
"""Scores on the page; the stamp has all."""
_METRICS = find_profile(PROFILE).metrics


def find_to_mni(loaded: LoadedScan, segmenter: Segmenter) -> Affine | None:
    """The scan's millimetres to those of MNI152; None if they are unknown."""
    if loaded.model_input.placed is not None:
        return loaded.model_input.placed.to_mni
    return np.eye(4) if segmenter.computation.space == "mni" else None


def measure_scan(loaded: LoadedScan, found: Segmentation, segmenter: Segmenter) -> dict[str, Any]:
    """The entry `measures` of the scan's stamp: columns of the cohort's table that its lesion table does not give.

    Returns:
        `largest_ml`; `agreement` and `uncertain_ml`, None for a single member that is not mirrored; for a scan whose
        place in MNI152 space is known, also `left_ml`, `right_ml` and `to_mni`, and if it was placed, `similarity` and
        `overlap`.
    """
    image, placed, to_mni = loaded.image, loaded.model_input.placed, find_to_mni(loaded, segmenter)
    measures: dict[str, float | None] = {"largest_ml": found.lesions[0].volume_ml if found.lesions else 0.0}
    measures |= {"agreement": None, "uncertain_ml": None}
    if segmenter.ensemble.voters > 1:
        measures["agreement"] = _agreement(found.lesions)
        measures["uncertain_ml"] = _uncertain_ml(found.uncertainty, image.voxel_volume_mm3)
    if to_mni is not None:
        measures |= placed_sides_ml(found.mask, image.affine, to_mni)
    fit = {"similarity": placed.quality.similarity, "overlap": placed.quality.overlap} if placed else {}
    return _rounded(measures) | ({} if to_mni is None else {"to_mni": to_mni.tolist()}) | _rounded(fit)


def measure_regions(loaded: LoadedScan, found: Segmentation, segmenter: Segmenter) -> dict[str, Any]:
    """The entry `regions` of the scan's stamp; empty without an atlas.

    Returns:
        The atlas (`atlas`, `atlas_labels`, `fingerprint`); `volumes_ml`, by region, all None for a scan whose place in
        MNI152 space is unknown; and `lesions`, the region with the largest part of each lesion, then empty.
    """
    atlas, image, to_mni = loaded.atlas, loaded.image, find_to_mni(loaded, segmenter)
    if atlas is None:
        return {}
    known = {"atlas": str(atlas.path), "atlas_labels": str(atlas.table), "fingerprint": atlas.fingerprint}
    if to_mni is None:
        return {**known, "volumes_ml": dict.fromkeys(atlas.regions), "lesions": []}
    points = lesion_points(found.mask, image.affine, to_mni)
    numbers = number_lesions(found.mask, image.affine)[found.mask].astype(np.int64)
    volumes_ml = atlas.rounded_ml(points, image.voxel_volume_mm3)
    return {**known, "volumes_ml": volumes_ml, "lesions": list(atlas.main_regions(points, numbers))}


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {name: None if value is None else round(value, 4) for name, value in values.items()}


def _uncertain_ml(spread: Probability, voxel_mm3: float) -> float:
    """Volume in which the standard deviation over the members is above `UNCERTAIN_SD`, in mL."""
    return float((spread > UNCERTAIN_SD).sum()) * voxel_mm3 / 1000


def _agreement(lesions: Sequence[LesionRow]) -> float | None:
    """Mean over all lesion voxels, or None if there is no lesion."""
    load_ml = sum(lesion.volume_ml for lesion in lesions)
    return sum(lesion.agreement * lesion.volume_ml for lesion in lesions) / load_ml if lesions else None


def score_found(loaded: LoadedScan, found: Segmentation) -> dict[str, float | None]:
    """All metrics of `PROFILE` by their keys; None if one is undefined. Empty for a scan without reference."""
    if loaded.reference is None:
        return {}
    values = score(found.mask, loaded.reference, loaded.image.spacing_mm, PROFILE)
    return {key: None if math.isnan(value) else round(value, DECIMALS) for key, value in values.items()}


def shown_scores(scores: Mapping[str, float | None]) -> dict[str, float]:
    """The defined scores that a page shows, by their names with units."""
    names = {metric.key: f"{metric.label} ({metric.unit})" if metric.unit else metric.label for metric in _METRICS}
    return {names[key]: value for key in SHOWN_SCORES if (value := scores.get(key)) is not None}
