"""How well a model does: members, ensemble and rules in tables, by lesion load, on healthy scans, and its failures."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from mapping_stroke.evaluation.cohort_scores import (
    ALL_LOADS,
    DISJOINT_GROUPS,
    LARGE,
    LOAD_GROUPS,
    SMALL,
    WITH_LESION,
    CohortScores,
    LoadGroup,
)
from mapping_stroke.evaluation.failures import Failure
from mapping_stroke.evaluation.false_positives import (
    BESIDE,
    LIMITS_ML,
    WITHOUT,
    MarkedScan,
    count_false_positives,
    volumes_ml,
)
from mapping_stroke.evaluation.profiles import ATLAS2022, Metric
from mapping_stroke.networks.typed_json import plain_json
from mapping_stroke.report.estimates import markdown_table, mean_and_interval
from mapping_stroke.report.failure_words import PICTURED, failure_sentence
from mapping_stroke.report.tables import metric_head

FINAL = "ensemble-mapping"
"""What `mapping segment` gives."""
PLAIN = "ensemble-none"
LISTED, ALL_LISTED = 5, 60
"""Labelled cases that are named; and real scans, of which the most marked are worth knowing each."""


@dataclass(frozen=True, eq=False)
class Judgement:
    """What a model did on cases and scans.

    Attributes:
        scores: Of the labelled cases.
        healthy: What was marked in healthy scans and whole heads; may be empty.
        labels: What each method is called, in the order of the tables.
        members: Keys of the methods that are single members.
        failures: The cases and scans with which `FINAL` had most trouble.
        facts: What was judged, and how, as plain values.
        hard: What was marked in scans of patients without a reference; no failures are chosen from them.
    """

    scores: CohortScores
    healthy: Sequence[MarkedScan]
    labels: Mapping[str, str]
    members: Sequence[str]
    failures: Sequence[Failure]
    facts: Mapping[str, object]
    hard: Sequence[MarkedScan] = ()

    @property
    def marked(self) -> dict[str, list[MarkedScan]]:
        """What is marked falsely, by groups of scans."""
        groups: dict[str, list[MarkedScan]] = {}
        for scan in (*self.scores.marked, *self.healthy, *self.hard):
            groups.setdefault(scan.group, []).append(scan)
        return groups


def evaluation_values(judgement: Judgement) -> dict[str, object]:
    """All numbers as plain values: facts, method to metric to range of loads, what is marked falsely, and failures."""
    scores = judgement.scores
    methods = {
        method: {
            metric.key: {
                group.label: asdict(scores.estimate(method, metric.key, group)) for group in _held(scores, LOAD_GROUPS)
            }
            for metric in ATLAS2022.metrics
        }
        for method in judgement.labels
    }
    marked = {
        group: {method: asdict(count_false_positives(scans, method)) for method in judgement.labels}
        for group, scans in judgement.marked.items()
    }
    values: dict[str, object] = plain_json(
        {
            **judgement.facts,
            "cases": len(scores.cases),
            "healthy_scans": len(judgement.healthy),
            "methods": dict(judgement.labels),
            "best_member": scores.best(judgement.members),
            "scores": methods,
            "ensemble_less_best_member": _gains(judgement),
            "false_positives": marked,
            "failures": [asdict(failure) for failure in judgement.failures],
        }
    )
    return values


def evaluation_page(judgement: Judgement, failures_picture: str = "") -> str:
    """The page in Markdown.

    Args:
        judgement: What it tells.
        failures_picture: Picture of the failures, relative to the page; empty for none.
    """
    facts, scores = judgement.facts, judgement.scores
    parts = [
        f"# {facts['model']}: how well it does",
        f"{len(scores.cases)} labelled cases of `{facts['cohort']}`, {len(judgement.healthy)} healthy scans; preset "
        f"{facts['preset']}, {facts['precision']}. Members are cut at P > 0.5.",
        f"SHA-256 of the model: `{facts['model_sha256']}`.",
        "Means over cases [95 % interval: bootstrap over cases]; (n) cases where the metric is undefined.",
        "## Members, ensemble and rules",
        *(part for group in _held(scores, METHOD_GROUPS) for part in _by_method(judgement, group)),
        _gain_words(judgement),
        "## By lesion load",
        "The best member is the one with the highest mean Dice over all cases.",
        *(part for metric in ATLAS2022.metrics for part in _by_load(judgement, metric)),
        "## Marked falsely",
        *(part for group, scans in judgement.marked.items() for part in _false_parts(judgement, group, scans)),
        *([] if judgement.healthy else ["No healthy scans were given."]),
        "## Failures",
        *_failure_parts(judgement, failures_picture),
    ]
    return "\n\n".join(parts) + "\n"


METHOD_GROUPS = (ALL_LOADS, WITH_LESION, LARGE, SMALL)


def _held(scores: CohortScores, groups: Sequence[LoadGroup]) -> list[LoadGroup]:
    """The ranges of loads that hold a case."""
    return [group for group in groups if group.holds(scores.loads_ml).any()]


def _by_method(judgement: Judgement, group: LoadGroup) -> list[str]:
    rows = []
    for method, label in judgement.labels.items():
        found = [(metric.key, judgement.scores.estimate(method, metric.key, group)) for metric in ATLAS2022.metrics]
        rows.append([label, *(mean_and_interval(key, estimate) for key, estimate in found)])
    heads = ["Method", *(metric_head(metric) for metric in ATLAS2022.metrics)]
    cases = np.count_nonzero(group.holds(judgement.scores.loads_ml))
    return [f"### Load: {group.label} (n = {cases})", markdown_table(heads, rows)]


def _by_load(judgement: Judgement, metric: Metric) -> list[str]:
    scores = judgement.scores
    best = scores.best(judgement.members)
    methods = {best: f"best member ({judgement.labels[best]})"}
    methods |= {method: label for method, label in judgement.labels.items() if method not in judgement.members}
    rows = []
    for group in _held(scores, DISJOINT_GROUPS):
        found = [scores.estimate(method, metric.key, group) for method in methods]
        rows.append([group.label, str(found[0].cases), *(mean_and_interval(metric.key, one) for one in found)])
    return [f"### {metric_head(metric)}", markdown_table(["Load", "Cases", *methods.values()], rows)]


def _gains(judgement: Judgement) -> dict[str, dict[str, object]]:
    """The plain ensemble less its best member on each metric, paired."""
    best = judgement.scores.best(judgement.members)
    return {metric.key: asdict(judgement.scores.difference(PLAIN, best, metric.key)) for metric in ATLAS2022.metrics}


def _gain_words(judgement: Judgement) -> str:
    best = judgement.scores.best(judgement.members)
    gain = judgement.scores.difference(PLAIN, best, "dice")
    return (
        f"The ensemble's Dice at P > 0.5 less that of its best member ({judgement.labels[best]}), paired by case: "
        f"{mean_and_interval('dice', gain, sign='+')}."
    )


def _false_parts(judgement: Judgement, group: str, scans: Sequence[MarkedScan]) -> list[str]:
    rows = []
    for method, label in judgement.labels.items():
        found = count_false_positives(scans, method)
        over = [str(found.over[limit]) for limit in LIMITS_ML]
        volumes = [f"{found.median_ml:.2f}", f"{found.largest_ml:.2f}"]
        rows.append([label, *volumes, *over, str(found.empty), f"{found.mean_lesions:.1f}"])
    heads = ["Method", "Median, mL", "Largest, mL", *(f"Over {limit:g} mL" for limit in LIMITS_ML)]
    false_ml = volumes_ml(scans, FINAL)
    most = LISTED if group in (BESIDE, WITHOUT) else ALL_LISTED
    named = [f"{scans[i].name} ({false_ml[i]:.2f} mL)" for i in np.argsort(-false_ml, kind="stable")[:most]]
    return [
        f"### {group[0].upper()}{group[1:]} (n = {len(scans)})",
        markdown_table([*heads, "Nothing", "False lesions a scan"], rows),
        f"Most marked, {judgement.labels[FINAL]}: {'; '.join(named)}.",
    ]


def _failure_parts(judgement: Judgement, failures_picture: str) -> list[str]:
    if not judgement.failures:
        return ["None: no case has a lesion, and nothing is marked."]
    told = [f"{number}. {failure_sentence(failure)}" for number, failure in enumerate(judgement.failures, start=1)]
    picture = [PICTURED, f"![Failures]({failures_picture})"] if failures_picture else []
    return [f"The worst cases of {judgement.labels[FINAL]}.", *picture, "\n".join(told)]
