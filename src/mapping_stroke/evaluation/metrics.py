"""Metrics, one function each, with their range and their value in the empty case.

Overlap and distance metrics compare masks; lesion-wise metrics compare `Lesions`, whose connectivity the caller
chooses. Source unless stated otherwise: the organisers' scoring code of ATLAS R2.0 (`isles/scoring.py` of
npnl/atlas2_grand_challenge).
"""

import numpy as np
from jaxtyping import Float64, Int64
from scipy.spatial import cKDTree

from mapping_stroke.images.image import Mask, Probability
from mapping_stroke.lesions import Lesions, bounding_box

Spacing = tuple[float, float, float]  # length of a voxel's edge along x, y, z in mm


def dice(prediction: Mask, reference: Mask) -> float:
    """Overlap 2|P & R| / (|P| + |R|), in [0, 1]; 1.0 when both masks are empty."""
    total_vox = np.count_nonzero(prediction) + np.count_nonzero(reference)
    return 1.0 if total_vox == 0 else float(2 * np.count_nonzero(prediction & reference) / total_vox)


def volume_difference_vox(prediction: Mask, reference: Mask) -> float:
    """Absolute difference of the numbers of lesion voxels, 0 or more; 0 when both masks are empty.

    Departs: the organisers' code returns 0 for a single case; this is the result of its batch path.
    """
    return float(abs(np.count_nonzero(prediction) - np.count_nonzero(reference)))


def volume_difference_ml(prediction: Mask, reference: Mask, spacing_mm: Spacing) -> float:
    """Absolute difference of the lesion volumes in millilitres, 0 or more; 0 when both masks are empty."""
    return volume_difference_vox(prediction, reference) * float(np.prod(spacing_mm)) / 1000


def lesion_count_difference(prediction: Lesions, reference: Lesions) -> float:
    """Absolute difference of the numbers of lesions, 0 or more; 0 when there are none."""
    return float(abs(prediction.count - reference.count))


def lesion_f1(prediction: Lesions, reference: Lesions) -> float:
    """F1 of lesions that touch the other mask, in [0, 1]; 1.0 when there are no lesions at all.

    A lesion of the reference is found if any of its voxels is predicted; a predicted lesion is false if it contains no
    voxel of the reference.
    """
    predicted, referred, _ = _overlaps(prediction, reference)
    true_positives = len(np.unique(referred))
    false_negatives = reference.count - true_positives
    false_positives = prediction.count - len(np.unique(predicted))
    total = true_positives + (false_positives + false_negatives) / 2
    return 1.0 if total == 0 else true_positives / total


def matched_lesion_f1(prediction: Lesions, reference: Lesions) -> float:
    """F1 of lesions matched one to one at IoU >= 0.25, in [0, 1]; 1.0 when there are no lesions at all.

    Pairs are matched in the order of their IoU, the largest first; equal ones in the order of the reference's lesions,
    then of the predicted ones. So a pair may take a lesion that two other pairs would need. Source: the scoring code of
    ISLES'26 (`utils/eval_utils.py` of ezequieldlrosa/isles26), which calls panoptica's `NaiveThresholdMatching`.
    """
    if prediction.count + reference.count == 0:
        return 1.0
    predicted, referred, shared_vox = _overlaps(prediction, reference)
    iou = shared_vox / (prediction.sizes_vox[predicted] + reference.sizes_vox[referred] - shared_vox)
    taken_predicted: set[int] = set()
    taken_referred: set[int] = set()
    for pair in np.lexsort((predicted, referred, -iou)):
        ours, theirs = int(predicted[pair]), int(referred[pair])
        if iou[pair] >= 0.25 and ours not in taken_predicted and theirs not in taken_referred:
            taken_predicted.add(ours)
            taken_referred.add(theirs)
    return 2 * len(taken_referred) / (prediction.count + reference.count)


def hd95_mm(prediction: Mask, reference: Mask, spacing_mm: Spacing) -> float:
    """95th percentile of the distances between the surfaces in mm, 0 or more; NaN when either mask is empty.

    A surface is the lesion voxels with a face towards the background, which continues beyond the volume. The distances
    from each surface's voxels to the other surface are pooled. Source: `medpy.metric.binary.hd95`.
    """
    if not (prediction.any() and reference.any()):
        return float("nan")
    predicted_mm, reference_mm = _surface_mm(prediction, spacing_mm), _surface_mm(reference, spacing_mm)
    to_reference_mm, _ = cKDTree(reference_mm).query(predicted_mm)
    to_prediction_mm, _ = cKDTree(predicted_mm).query(reference_mm)
    return float(np.percentile(np.concatenate([to_reference_mm, to_prediction_mm]), 95))


def pr_auc(probability: Probability | None, reference: Mask) -> float:
    """Area under precision over recall, in [0, 1], by the trapezoidal rule; NaN without a map.

    With an empty reference: 1.0 if all voxels of the map are equal, else 0.0. Source: the scoring code of ISLES'26
    (`utils/eval_utils.py` of ezequieldlrosa/isles26).
    """
    if probability is None:
        return float("nan")
    if not reference.any():
        return float(probability.size == 0 or bool(probability.min() == probability.max()))
    from sklearn.metrics import auc, precision_recall_curve

    precision, recall, _ = precision_recall_curve(reference.ravel(), probability.ravel())
    return float(auc(recall, precision))


def _overlaps(
    prediction: Lesions, reference: Lesions
) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """Every pair of a predicted and a reference lesion with shared voxels (numbered from 0), and their number."""
    # labels are cropped to boxes, so compare them in the intersection of both
    starts = [max(p.start, r.start) for p, r in zip(prediction.box, reference.box, strict=True)]
    stops = [min(p.stop, r.stop) for p, r in zip(prediction.box, reference.box, strict=True)]
    stops = [max(start, stop) for start, stop in zip(starts, stops, strict=True)]
    labels = []
    for lesions in (prediction, reference):
        bounds = zip(lesions.box, starts, stops, strict=True)
        labels.append(lesions.labels[tuple(slice(start - box.start, stop - box.start) for box, start, stop in bounds)])
    both = (labels[0] > 0) & (labels[1] > 0)
    # one number for each pair, since `unique` is faster on numbers than on rows
    codes = (labels[0][both].astype(np.int64) - 1) * reference.count + labels[1][both] - 1
    pairs, shared_vox = np.unique(codes, return_counts=True)
    predicted, referred = np.divmod(pairs, max(reference.count, 1))
    return predicted, referred, shared_vox


def _surface_mm(mask: Mask, spacing_mm: Spacing) -> Float64[np.ndarray, "n 3"]:
    """Positions of the voxels with a face towards the background."""
    box = bounding_box(mask)
    inside = np.ascontiguousarray(mask[box])
    inner = inside.copy()  # an erosion by face neighbours, axis by axis
    for axis in range(3):
        along, kept = np.moveaxis(inside, axis, 0), np.moveaxis(inner, axis, 0)
        kept[1:] &= along[:-1]
        kept[:-1] &= along[1:]
        kept[0] = kept[-1] = False
    places = np.unravel_index(np.flatnonzero(inside & ~inner), inside.shape)
    axes = zip(places, box, spacing_mm, strict=True)
    return np.stack([(place + bounds.start) * edge for place, bounds, edge in axes], axis=1)
