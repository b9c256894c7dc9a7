"""Made-up scores of a model of two members, for tests of the pages that tell them."""

from mapping_stroke.evaluation.cohorts import HEALTHY, CohortScores, Marked, MarkedScan, ScoredCase, choose_failures
from mapping_stroke.report.model_pages import FINAL, Evaluation

LABELS = {"a_fold_0": "a, fold 0", "b_fold_0": "b, fold 0", "ensemble-none": "ensemble, rule none"}
LABELS |= {"ensemble-mapping": "ensemble, rule mapping"}
FACTS = {"model": "small", "model_sha256": "0" * 64, "cohort": "held-out", "preset": "fast", "precision": "float32"}


def values(dice: float, hd95_mm: float = 5.0) -> dict[str, float]:
    others = {"volume_difference_vox": 10.0, "simple_lesion_count": 1.0, "lesion_f1": 0.5}
    return {"dice": dice, **others, "hd95_mm": hd95_mm}


def judgement(*, healthy: bool = True, loads_ml: tuple[float, ...] = (0.5, 0.8, 30.0)) -> Evaluation:
    dice = {"a_fold_0": 0.2, "b_fold_0": 0.4, "ensemble-none": 0.5, "ensemble-mapping": 0.6}
    cases = tuple(
        ScoredCase(
            f"c{i}",
            int(1000 * load),
            load,
            {m: values(each + i / 10) for m, each in dice.items()},
            {m: Marked(100.0 * i, i) for m in LABELS},
        )
        for i, load in enumerate(loads_ml)
    )
    marked = [{m: Marked(2000.0 * i, i) for m in LABELS} for i in range(3)]
    scans = [MarkedScan(f"h{i}", HEALTHY, each) for i, each in enumerate(marked)] if healthy else []
    scores = CohortScores(cases, tuple(LABELS))
    failures = choose_failures(scores, scans, FINAL)
    return Evaluation(scores, scans, LABELS, ("a_fold_0", "b_fold_0"), failures, FACTS)
