"""How well a model does: members, ensemble and rules in tables, by lesion load, and on healthy scans."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from mapping_stroke.evaluation.cohort_scores import LOAD_GROUPS, CohortScores, LoadGroup
from mapping_stroke.evaluation.false_positives import LIMITS_ML, HealthyScan, count_false_positives, volumes_ml
from mapping_stroke.evaluation.intervals import Estimate
from mapping_stroke.evaluation.profiles import ATLAS2022, Metric
from mapping_stroke.networks.typed_json import plain_json
from mapping_stroke.report.names import load_words
from mapping_stroke.report.tables import NONE, metric_head

FINAL = "ensemble-mapping"
"""What `mapping segment` gives."""
PLAIN = "ensemble-none"
LISTED = 5
"""Cases and scans that are named."""
DECIMALS = {"dice": 3, "lesion_f1": 3, "volume_difference_vox": 0, "simple_lesion_count": 2, "hd95_mm": 1}


@dataclass(frozen=True, eq=False)
class Judgement:
    """What a model did on cases and scans.

    Attributes:
        scores: Of the labelled cases.
        healthy: What was marked in healthy scans; may be empty.
        labels: What each method is called, in the order of the tables.
        members: Keys of the methods that are single members.
        facts: What was judged, and how, as plain values.
    """

    scores: CohortScores
    healthy: Sequence[HealthyScan]
    labels: Mapping[str, str]
    members: Sequence[str]
    facts: Mapping[str, object]


def evaluation_values(judgement: Judgement) -> dict[str, object]:
    """All numbers as plain values: facts, method to metric to range of loads, and what was marked in healthy scans."""
    scores, healthy = judgement.scores, judgement.healthy
    methods = {
        method: {
            metric.key: {group.label: asdict(scores.estimate(method, metric.key, group)) for group in _groups(scores)}
            for metric in ATLAS2022.metrics
        }
        for method in judgement.labels
    }
    marked = {method: asdict(count_false_positives(healthy, method)) for method in judgement.labels} if healthy else {}
    values: dict[str, object] = plain_json(
        {
            **judgement.facts,
            "cases": len(scores.cases),
            "healthy_scans": len(healthy),
            "methods": dict(judgement.labels),
            "scores": methods,
            "ensemble_less_best_member": _gains(judgement),
            "healthy": marked,
        }
    )
    return values


def evaluation_page(judgement: Judgement) -> str:
    """The page in Markdown."""
    facts, scores = judgement.facts, judgement.scores
    parts = [
        f"# {facts['model']}: how well it does",
        f"{len(scores.cases)} labelled cases of `{facts['cohort']}`, {len(judgement.healthy)} healthy scans; preset "
        f"{facts['preset']}, {facts['precision']}. Members are cut at P > 0.5.",
        f"SHA-256 of the model: `{facts['model_sha256']}`.",
        "## All cases",
        "Mean ± standard deviation over the cases where the metric is defined; (n) cases where it is not.",
        _table(["Method", *(metric_head(metric) for metric in ATLAS2022.metrics)], _all_rows(judgement)),
        _gain_words(judgement),
        "## By lesion load",
        "Mean [95 % interval: bootstrap over cases]; the best member is the one with the highest mean Dice over all "
        "cases.",
        *(part for metric in ATLAS2022.metrics for part in _by_load(judgement, metric)),
        _worst_words(judgement),
        "## Healthy scans",
        *_healthy_parts(judgement),
    ]
    return "\n\n".join(parts) + "\n"


def _groups(scores: CohortScores) -> list[LoadGroup]:
    """The ranges of loads that hold a case."""
    return [group for group in LOAD_GROUPS if group.holds(scores.loads_ml).any()]


def _all_rows(judgement: Judgement) -> list[list[str]]:
    rows = []
    for method, label in judgement.labels.items():
        found = [(metric.key, judgement.scores.estimate(method, metric.key)) for metric in ATLAS2022.metrics]
        rows.append([label, *(_mean_and_std(key, estimate) for key, estimate in found)])
    return rows


def _by_load(judgement: Judgement, metric: Metric) -> list[str]:
    scores = judgement.scores
    best = scores.best(judgement.members)
    methods = {best: f"best member ({judgement.labels[best]})"}
    methods |= {method: label for method, label in judgement.labels.items() if method not in judgement.members}
    rows = []
    for group in _groups(scores):
        found = [scores.estimate(method, metric.key, group) for method in methods]
        rows.append([group.label, str(found[0].cases), *(_mean_and_interval(metric.key, one) for one in found)])
    return [f"### {metric_head(metric)}", _table(["Load", "Cases", *methods.values()], rows)]


def _gains(judgement: Judgement) -> dict[str, dict[str, object]]:
    """The plain ensemble less its best member on each metric, paired."""
    best = judgement.scores.best(judgement.members)
    return {metric.key: asdict(judgement.scores.difference(PLAIN, best, metric.key)) for metric in ATLAS2022.metrics}


def _gain_words(judgement: Judgement) -> str:
    best = judgement.scores.best(judgement.members)
    gain = judgement.scores.difference(PLAIN, best, "dice")
    return (
        f"The ensemble's Dice at P > 0.5 less that of its best member ({judgement.labels[best]}), paired by case: "
        f"{_mean_and_interval('dice', gain, sign='+')}."
    )


def _worst_words(judgement: Judgement) -> str:
    dice, loads_ml = judgement.scores.values(FINAL, "dice"), judgement.scores.loads_ml
    named = [
        f"{judgement.scores.cases[i].case_id} ({load_words(loads_ml[i])}, Dice {dice[i]:.2f})"
        for i in np.argsort(dice, kind="stable")[:LISTED]
    ]
    return f"Lowest Dice, {judgement.labels[FINAL]}: {'; '.join(named)}."


def _healthy_parts(judgement: Judgement) -> list[str]:
    healthy = judgement.healthy
    if not healthy:
        return ["None were given."]
    rows = []
    for method, label in judgement.labels.items():
        found = count_false_positives(healthy, method)
        over = [str(found.over[limit]) for limit in LIMITS_ML]
        volumes = [f"{found.median_ml:.2f}", f"{found.largest_ml:.2f}"]
        rows.append([label, *volumes, *over, str(found.empty), f"{found.mean_lesions:.1f}"])
    heads = ["Method", "Median, mL", "Largest, mL", *(f"Over {limit:g} mL" for limit in LIMITS_ML)]
    false_ml = volumes_ml(healthy, FINAL)
    named = [f"{healthy[i].name} ({false_ml[i]:.2f} mL)" for i in np.argsort(-false_ml, kind="stable")[:LISTED]]
    return [
        f"Volume marked in each of {len(healthy)} scans, all of it false.",
        _table([*heads, "Empty masks", "Lesions a scan"], rows),
        f"Most marked, {judgement.labels[FINAL]}: {'; '.join(named)}.",
    ]


def _mean_and_std(key: str, estimate: Estimate) -> str:
    note = f" ({estimate.undefined})" if estimate.undefined else ""
    spread = "" if math.isnan(estimate.mean) else f" ± {_number(key, estimate.std)}"
    return f"{_number(key, estimate.mean)}{spread}{note}"


def _mean_and_interval(key: str, estimate: Estimate, sign: str = "") -> str:
    if math.isnan(estimate.low):
        return _number(key, estimate.mean, sign)
    return (
        f"{_number(key, estimate.mean, sign)} [{_number(key, estimate.low, sign)}, {_number(key, estimate.high, sign)}]"
    )


def _number(key: str, value: float, sign: str = "") -> str:
    return NONE if math.isnan(value) else f"{value:{sign}.{DECIMALS[key]}f}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
