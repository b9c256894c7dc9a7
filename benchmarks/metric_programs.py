"""Score pairs of masks with other programs, in the Python of an environment that has them. Never imported.

`python metric_programs.py PAIRS OUT`. PAIRS is the file that `mask_pairs.write_pairs` writes. OUT gets JSON:
`versions`, and `values`: for each metric of a profile and each program one number a pair, null if it gives none. The
programs are imported by name, since this package must not import them. Needs none of our code.
"""

import importlib
import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

PROGRAMS = ("panoptica", "monai", "medpy", "connected-components-3d", "scikit-learn")
LARGE_VOX = 100_000
"""MONAI's average precision takes a step of Python for each voxel, so it is spared larger volumes."""

Case = tuple[Any, Any, Any, Any]  # prediction, reference, edges of a voxel in mm, probability
Way = Callable[[Case], "float | None"]


def by_panoptica(matcher: str) -> dict[str, Way]:
    """With the settings of the scoring code of ISLES'26: F1, difference of the counts, Dice, 95HD."""
    panoptica = importlib.import_module("panoptica")
    metric = importlib.import_module("panoptica.metrics").Metric
    evaluator = panoptica.Panoptica_Evaluator(
        expected_input=panoptica.InputType.SEMANTIC,
        instance_approximator=panoptica.ConnectedComponentsInstanceApproximator(),
        instance_matcher=getattr(importlib.import_module("panoptica.instance_matcher"), matcher)(
            matching_threshold=0.25
        ),
    )

    def evaluate(case: Case) -> Any:
        return evaluator.evaluate(case[0].astype(int), case[1].astype(int))["ungrouped"]

    def or_empty(name: str) -> Way:
        # that code sets 1 for two empty masks, as panoptica has no number for them
        return lambda case: float(getattr(evaluate(case), name)) if case[0].any() or case[1].any() else 1.0

    def count_difference(case: Case) -> float:
        found = evaluate(case)
        return float(abs(found.n_pred_instances - found.n_ref_instances))

    def hd95(case: Case) -> float | None:
        prediction, reference, edges_mm, _ = case
        if not (prediction.any() and reference.any()):
            return None
        return float(metric.HD95(reference, prediction, voxelspacing=tuple(edges_mm)))

    return {
        "f1": or_empty("rq"),
        "count": count_difference,
        "dice": or_empty("global_bin_dsc"),
        "hd95": hd95,
    }


def by_cc3d() -> dict[str, Way]:
    """Components with faces in common, as the scoring code of ATLAS R2.0 counts them."""
    cc3d = importlib.import_module("cc3d")

    def label(mask: Any) -> Any:
        return cc3d.connected_components(np.ascontiguousarray(mask), connectivity=6)

    def count_difference(case: Case) -> float:
        return abs(float(label(case[0]).max(initial=0)) - float(label(case[1]).max(initial=0)))

    def lesion_f1(case: Case) -> float:
        prediction, reference, *_ = case
        predicted, referred = label(prediction), label(reference)
        found = sum(bool(prediction[referred == lesion].any()) for lesion in range(1, referred.max(initial=0) + 1))
        false = sum(not reference[predicted == lesion].any() for lesion in range(1, predicted.max(initial=0) + 1))
        total = found + (false + float(referred.max(initial=0)) - found) / 2
        return found / total if total else 1.0

    return {"count": count_difference, "f1": lesion_f1}


def by_monai() -> dict[str, Way]:
    """Dice, volume difference, 95HD, average precision, and recognition quality."""
    torch, monai = importlib.import_module("torch"), importlib.import_module("monai.metrics")
    cc3d = importlib.import_module("cc3d")

    def masks(case: Case) -> list[Any]:
        return [torch.as_tensor(mask[None, None].astype(np.float64)) for mask in case[:2]]

    def hd95(case: Case) -> float | None:
        if not (case[0].any() and case[1].any()):
            return None
        edges_mm = [float(edge) for edge in case[2]]
        return float(
            monai.compute_hausdorff_distance(*masks(case), include_background=True, percentile=95, spacing=edges_mm)
        )

    def average_precision(case: Case) -> float | None:
        if not case[1].any() or case[1].all() or case[1].size > LARGE_VOX:
            return None  # it gives no number for one class
        given, wanted = (torch.as_tensor(case[at].ravel().astype(np.float64)) for at in (3, 1))
        return float(monai.compute_average_precision(given, wanted))

    def recognition(case: Case) -> float | None:
        if not (case[0].any() or case[1].any()):
            return None
        labels = [cc3d.connected_components(np.ascontiguousarray(mask)).astype(np.int32) for mask in case[:2]]
        given, wanted = (torch.as_tensor(label) for label in labels)
        options = {"metric_name": "rq", "match_iou_threshold": 0.25, "smooth_numerator": 0.0}
        return float(monai.compute_panoptic_quality(given, wanted, **options))

    def volume_difference_vox(case: Case) -> float:
        return float(monai.compute_absolute_volume_difference(*masks(case), ignore_empty=False))

    return {
        "dice": lambda case: float(monai.compute_dice(*masks(case), ignore_empty=False)),
        "volume_vox": volume_difference_vox,
        "volume_ml": lambda case: volume_difference_vox(case) * float(case[2].prod()) / 1000,
        "hd95": hd95,
        "ap": average_precision,
        "f1": recognition,
    }


def pr_auc_by_sklearn(case: Case) -> float:
    """By the calls of the scoring code of ISLES'26, and its two values for an empty reference."""
    metrics = importlib.import_module("sklearn.metrics")
    wanted, given = case[1].ravel(), case[3].ravel()
    if not wanted.any():
        return 1.0 if (given == given[0]).all() else 0.0
    precision, recall, _ = metrics.precision_recall_curve(wanted, given)
    return float(metrics.auc(recall, precision))


def pr_auc_by_sums(case: Case) -> float | None:
    """The same curve, point by point, from one sort of the voxels."""
    wanted, given = case[1].ravel(), case[3].ravel()
    if not wanted.any():
        return None
    order = np.argsort(-given, kind="stable")
    last = np.append(np.diff(given[order]) != 0, True)  # the last voxel of each level
    true = np.cumsum(wanted[order])[last]
    recall, precision = true / true[-1], true / (np.flatnonzero(last) + 1)
    widths, heights = np.diff(np.append(0, recall)), np.append(1, precision)
    return float((widths * (heights[1:] + heights[:-1]) / 2).sum())


def hd95_by_medpy(case: Case) -> float | None:
    """As the paper's figures."""
    prediction, reference, edges_mm, _ = case
    if not (prediction.any() and reference.any()):
        return None
    return float(importlib.import_module("medpy.metric.binary").hd95(prediction, reference, edges_mm))


def make_ways() -> dict[str, Way]:
    """`profile/metric/program` -> its function."""
    panoptica, best, cc3d, monai = (
        by_panoptica("NaiveThresholdMatching"),
        by_panoptica("MaxBipartiteMatching"),
        by_cc3d(),
        by_monai(),
    )
    return {
        "atlas2022/dice/MONAI": monai["dice"],
        "atlas2022/dice/panoptica": panoptica["dice"],
        "atlas2022/volume_difference_vox/MONAI": monai["volume_vox"],
        "atlas2022/simple_lesion_count/cc3d": cc3d["count"],
        "atlas2022/lesion_f1/cc3d": cc3d["f1"],
        "atlas2022/hd95_mm/medpy": hd95_by_medpy,
        "atlas2022/hd95_mm/panoptica": panoptica["hd95"],
        "atlas2022/hd95_mm/MONAI": monai["hd95"],
        "isles2026/matched_lesion_f1/panoptica": panoptica["f1"],
        "isles2026/matched_lesion_f1/panoptica, MaxBipartiteMatching": best["f1"],
        "isles2026/matched_lesion_f1/MONAI": monai["f1"],
        "isles2026/volume_difference_ml/MONAI": monai["volume_ml"],
        "isles2026/lesion_count_difference/panoptica": panoptica["count"],
        "isles2026/dice/panoptica": panoptica["dice"],
        "isles2026/dice/MONAI": monai["dice"],
        "isles2026/pr_auc/scikit-learn": pr_auc_by_sklearn,
        "isles2026/pr_auc/plain sums": pr_auc_by_sums,
        "isles2026/pr_auc/MONAI": monai["ap"],
    }


def score_pairs(pairs: Path, out: Path) -> None:
    """Score every pair with every program."""
    with np.load(pairs) as arrays:
        names = sorted({name.split("_")[0] for name in arrays})
        parts = ("prediction", "reference", "edges", "probability")
        cases: list[Case] = [tuple(arrays[f"{name}_{part}"] for part in parts) for name in names]
    values = {key: [way(case) for case in cases] for key, way in make_ways().items()}
    versions = {program: version(program) for program in PROGRAMS}
    out.write_text(json.dumps({"versions": versions, "values": values}))


if __name__ == "__main__":
    score_pairs(Path(sys.argv[1]), Path(sys.argv[2]))
