"""Pages about a model: evaluation, model card, audit."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mapping_stroke.errors import ConfigError
from mapping_stroke.evaluation.audit import AROUND_MM, BARELY_SEEN, CURVE_LEVELS, AuditedCase, terciles
from mapping_stroke.evaluation.cohorts import (
    ALL_LOADS,
    BESIDE,
    DISJOINT_GROUPS,
    LARGE,
    LIMITS_ML,
    LOAD_GROUPS,
    SMALL,
    WITH_LESION,
    WITHOUT,
    CohortScores,
    Estimate,
    Failure,
    LoadGroup,
    MarkedScan,
    count_false_positives,
    estimate_mean,
    volumes_ml,
)
from mapping_stroke.evaluation.profiles import ATLAS2022, Metric
from mapping_stroke.networks.typed_json import plain_json
from mapping_stroke.report.pictures import PICTURED, failure_sentence
from mapping_stroke.report.tables import markdown_table, mean_and_interval, metric_head

FINAL = "ensemble-mapping"
"""Method of `mapping segment`."""
PLAIN = "ensemble-none"
LISTED, ALL_LISTED = 5, 60
"""Number of scans to list with their false volumes: labelled cases, and other scans, each of which is worth a look."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The results of a model on cases and scans.

    Attributes:
        scores: Scores of the labelled cases.
        healthy: False positives in healthy scans and whole heads; may be empty.
        labels: Label of each method, in the order of the tables.
        members: Keys of the methods that are single members.
        failures: The worst cases and scans of `FINAL`.
        facts: Model, scans and settings, as plain values.
        hard: Marked volumes in scans of patients without a reference; no failures are chosen from them.
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
        """False positives, by group of scans."""
        groups: dict[str, list[MarkedScan]] = {}
        for scan in (*self.scores.marked, *self.healthy, *self.hard):
            groups.setdefault(scan.group, []).append(scan)
        return groups


def evaluation_values(evaluation: Evaluation) -> dict[str, object]:
    """All results as plain values: facts, scores by method, metric and load, false positives, and failures."""
    scores = evaluation.scores
    methods = {
        method: {
            metric.key: {
                group.label: asdict(scores.estimate(method, metric.key, group)) for group in _held(scores, LOAD_GROUPS)
            }
            for metric in ATLAS2022.metrics
        }
        for method in evaluation.labels
    }
    marked = {
        group: {method: asdict(count_false_positives(scans, method)) for method in evaluation.labels}
        for group, scans in evaluation.marked.items()
    }
    values: dict[str, object] = plain_json(
        {
            **evaluation.facts,
            "cases": len(scores.cases),
            "healthy_scans": len(evaluation.healthy),
            "methods": dict(evaluation.labels),
            "best_member": scores.best(evaluation.members),
            "scores": methods,
            "ensemble_less_best_member": _gains(evaluation),
            "false_positives": marked,
            "failures": [asdict(failure) for failure in evaluation.failures],
        }
    )
    return values


def evaluation_page(evaluation: Evaluation, failures_picture: str = "") -> str:
    """The page of an evaluation in Markdown.

    Args:
        evaluation: The results.
        failures_picture: Picture of the failures, relative to the page; empty for none.
    """
    facts, scores = evaluation.facts, evaluation.scores
    parts = [
        f"# {facts['model']}: evaluation",
        f"{len(scores.cases)} labelled cases of `{facts['cohort']}`, {len(evaluation.healthy)} healthy scans; preset "
        f"{facts['preset']}, {facts['precision']}. Members are thresholded at P > 0.5.",
        f"SHA-256 of the model: `{facts['model_sha256']}`.",
        "Means over cases [95 % interval: bootstrap over cases]; (n) cases where the metric is undefined.",
        "## Members, ensemble and rules",
        *(part for group in _held(scores, METHOD_GROUPS) for part in _by_method(evaluation, group)),
        _gain_words(evaluation),
        "## By lesion load",
        "The best member is the one with the highest mean Dice over all cases.",
        *(part for metric in ATLAS2022.metrics for part in _by_load(evaluation, metric)),
        "## False positives",
        *(part for group, scans in evaluation.marked.items() for part in _false_parts(evaluation, group, scans)),
        *([] if evaluation.healthy else ["No healthy scans were given."]),
        "## Failures",
        *_failure_parts(evaluation, failures_picture),
    ]
    return "\n\n".join(parts) + "\n"


METHOD_GROUPS = (ALL_LOADS, WITH_LESION, LARGE, SMALL)


def _held(scores: CohortScores, groups: Sequence[LoadGroup]) -> list[LoadGroup]:
    """The ranges of loads with at least one case."""
    return [group for group in groups if group.holds(scores.loads_ml).any()]


def _by_method(evaluation: Evaluation, group: LoadGroup) -> list[str]:
    rows = []
    for method, label in evaluation.labels.items():
        found = [(metric.key, evaluation.scores.estimate(method, metric.key, group)) for metric in ATLAS2022.metrics]
        rows.append([label, *(mean_and_interval(key, estimate) for key, estimate in found)])
    heads = ["Method", *(metric_head(metric) for metric in ATLAS2022.metrics)]
    cases = np.count_nonzero(group.holds(evaluation.scores.loads_ml))
    return [f"### Load: {group.label} (n = {cases})", markdown_table(heads, rows)]


def _by_load(evaluation: Evaluation, metric: Metric) -> list[str]:
    scores = evaluation.scores
    best = scores.best(evaluation.members)
    methods = {best: f"best member ({evaluation.labels[best]})"}
    methods |= {method: label for method, label in evaluation.labels.items() if method not in evaluation.members}
    rows = []
    for group in _held(scores, DISJOINT_GROUPS):
        found = [scores.estimate(method, metric.key, group) for method in methods]
        rows.append([group.label, str(found[0].cases), *(mean_and_interval(metric.key, one) for one in found)])
    return [f"### {metric_head(metric)}", markdown_table(["Load", "Cases", *methods.values()], rows)]


def _gains(evaluation: Evaluation) -> dict[str, dict[str, object]]:
    """Paired differences between the ensemble at P > 0.5 and its best member, by metric."""
    best = evaluation.scores.best(evaluation.members)
    return {metric.key: asdict(evaluation.scores.difference(PLAIN, best, metric.key)) for metric in ATLAS2022.metrics}


def _gain_words(evaluation: Evaluation) -> str:
    best = evaluation.scores.best(evaluation.members)
    gain = evaluation.scores.difference(PLAIN, best, "dice")
    return (
        f"The ensemble's Dice at P > 0.5 less that of its best member ({evaluation.labels[best]}), paired by case: "
        f"{mean_and_interval('dice', gain, sign='+')}."
    )


def _false_parts(evaluation: Evaluation, group: str, scans: Sequence[MarkedScan]) -> list[str]:
    rows = []
    for method, label in evaluation.labels.items():
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
        f"Most marked, {evaluation.labels[FINAL]}: {'; '.join(named)}.",
    ]


def _failure_parts(evaluation: Evaluation, failures_picture: str) -> list[str]:
    if not evaluation.failures:
        return ["None: no case has a lesion, and nothing is marked."]
    lines = [f"{number}. {failure_sentence(failure)}" for number, failure in enumerate(evaluation.failures, start=1)]
    picture = [PICTURED, f"![Failures]({failures_picture})"] if failures_picture else []
    return [f"The worst cases of {evaluation.labels[FINAL]}.", *picture, "\n".join(lines)]


PLAIN_CARD = Path(__file__).with_name("templates") / "model-card.md"
"""Text of a card without `--about`."""
_PLACE = re.compile(r"\{\{ *([a-z_]+) *\}\}")


def fill_card(text: str, values: Mapping[str, str], what: str) -> str:
    """Replace the placeholders `{{ name }}` of a text by values.

    Args:
        text: Markdown.
        values: Name to Markdown, of one or more lines.
        what: Name of the text for errors.

    Raises:
        ConfigError: There is no value for a placeholder.
    """
    for name in _PLACE.findall(text):
        if name not in values:
            raise ConfigError(
                f"{what}: has the unknown placeholder {{{{ {name} }}}}; expected some of {', '.join(values)}"
            )
    # in one pass, so that values with braces are not filled again
    return _PLACE.sub(lambda place: values[place[1]], text)


def evaluation_blocks(values: Mapping[str, Any], failures_picture: str) -> dict[str, str]:
    """Results of an evaluation as Markdown, by placeholder.

    Args:
        values: From `evaluation_values`, perhaps by way of a JSON file.
        failures_picture: Picture of the failures, relative to the page; empty for none.
    """
    loads = _groups(values)
    return {
        "cohort": str(values["cohort"]),
        "cases": str(values["cases"]),
        "healthy_scans": str(values["healthy_scans"]),
        "preset": str(values["preset"]),
        "precision": str(values["precision"]),
        "final": str(values["methods"][FINAL]),
        "loads": _load_table(values, loads),
        "methods": _method_tables(values, [group.label for group in (ALL_LOADS, LARGE, SMALL)]),
        "gain": _gain(values),
        "false_positives": _false_table(values),
        "failures": _failures(values, failures_picture),
    }


def _groups(values: Mapping[str, Any]) -> list[str]:
    """The ranges of loads with at least one case, in the order of tables."""
    found = values["scores"][FINAL]["dice"]
    return [group.label for group in LOAD_GROUPS if group.label in found]


def _load_table(values: Mapping[str, Any], groups: Sequence[str]) -> str:
    scores = values["scores"][FINAL]
    rows = []
    for group in groups:
        cells = [mean_and_interval(metric, _estimate(scores[metric][group])) for metric in ATLAS2022.keys]
        rows.append([group, str(scores["dice"][group]["cases"]), *cells])
    return markdown_table(["Load", "Cases", *map(metric_head, ATLAS2022.metrics)], rows)


def _method_tables(values: Mapping[str, Any], groups: Sequence[str]) -> str:
    parts = []
    for group in groups:
        rows = [
            [label, *(mean_and_interval(metric, _estimate(scores[metric][group])) for metric in ATLAS2022.keys)]
            for (method, label) in values["methods"].items()
            if group in (scores := values["scores"][method])["dice"]
        ]
        if rows:
            cases = values["scores"][FINAL]["dice"][group]["cases"]
            table = markdown_table(["Method", *map(metric_head, ATLAS2022.metrics)], rows)
            parts.append(f"Load: {group} (n = {cases})\n\n{table}")
    return "\n\n".join(parts)


def _gain(values: Mapping[str, Any]) -> str:
    gain = _estimate(values["ensemble_less_best_member"]["dice"])
    best = values["methods"][values["best_member"]]
    return (
        f"The Dice of the ensemble at P > 0.5 less that of its best member ({best}), paired by case: "
        f"{mean_and_interval('dice', gain, sign='+')}."
    )


def _false_table(values: Mapping[str, Any]) -> str:
    rows, limits = [], []
    for group, by_method in values["false_positives"].items():
        found = by_method[FINAL]
        limits = [f"Over {float(limit):g} mL" for limit in found["over"]]
        counts = [str(number) for number in (*found["over"].values(), found["empty"])]
        volumes = [f"{found[key]:.2f}" for key in ("median_ml", "largest_ml")]
        rows.append([group, str(found["scans"]), *volumes, *counts, f"{found['mean_lesions']:.1f}"])
    heads = ["Scans", "Number", "Median, mL", "Largest, mL", *limits, "Nothing", "False lesions a scan"]
    return markdown_table(heads, rows)


def _failures(values: Mapping[str, Any], failures_picture: str) -> str:
    failures = [Failure(**failure) for failure in values["failures"]]
    if not failures:
        return "None: no case has a lesion, and nothing is marked."
    lines = [f"{number}. {failure_sentence(failure)}" for number, failure in enumerate(failures, start=1)]
    picture = [PICTURED, f"![Where the model fails]({failures_picture})"] if failures_picture else []
    return "\n\n".join([*picture, "\n".join(lines)])


def _estimate(found: Mapping[str, Any]) -> Estimate:
    # JSON has no NaN
    mean, std, low, high = (math.nan if found[key] is None else found[key] for key in ("mean", "std", "low", "high"))
    return Estimate(mean, std, low, high, found["cases"], found["undefined"])


PARTS = {"test": "held out", "training": "of the training"}


def audit_values(cases: Sequence[AuditedCase], facts: Mapping[str, object]) -> dict[str, object]:
    """All results of an audit as plain values: facts, and every case with its lesions."""
    values: dict[str, object] = plain_json({**facts, "levels": CURVE_LEVELS, "cases": [asdict(case) for case in cases]})
    return values


def audit_page(cases: Sequence[AuditedCase], facts: Mapping[str, object]) -> str:
    """The page of an audit in Markdown.

    Args:
        cases: At least one case is held out.
        facts: The model, its SHA-256, preset and precision.
    """
    held_out = [case for case in cases if case.part == "test"]
    with_lesion = [case for case in held_out if case.load_ml > 0]
    parts = [
        f"# {facts['model']}: audit",
        f"Simulated cases, each with a healthy twin: {len(held_out)} of held-out people and masks, "
        f"{len(cases) - len(held_out)} of those used in training. Preset {facts['preset']}, {facts['precision']}; maps "
        "are thresholded at P > 0.5, without a rule.",
        f"SHA-256 of the model: `{facts['model_sha256']}`.",
        "## Visibility of lesions",
        f"*CNR*: absolute difference of the mean intensities inside a lesion and {AROUND_MM[0]:g} to {AROUND_MM[1]:g} "
        "mm around it, divided by the standard deviation around it. *Change*: median absolute change of the "
        "intensities inside by the lesion, divided by the same. *P*: median P(lesion) inside. Held-out cases only.",
        _visibility(with_lesion),
        _by_group("CNR", {_range(group): group for group in terciles(with_lesion) if group}),
        "## Training cases and held-out cases",
        "A small difference means that longer training may help; a large one, more variety.",
        _by_group("cases", {PARTS[part]: _with_load(cases, part) for part in PARTS}),
        "## By load",
        _by_group(
            "load",
            {group.label: [case for case in with_lesion if _holds(group, case.load_ml)] for group in DISJOINT_GROUPS},
        ),
        "## Dice against false volume",
        "Mean Dice of the held-out cases of 1 mL and more, and volumes marked in all healthy twins, at each threshold.",
        _curve(held_out),
    ]
    return "\n\n".join(parts) + "\n"


def _holds(group: LoadGroup, volume_ml: float) -> bool:
    return bool(group.holds(np.array([volume_ml]))[0])


def _with_load(cases: Sequence[AuditedCase], part: str) -> list[AuditedCase]:
    return [case for case in cases if case.part == part and case.load_ml > 0]


def _range(group: Sequence[AuditedCase]) -> str:
    return f"{group[0].cnr:.2f} to {group[-1].cnr:.2f}"


def _visibility(cases: Sequence[AuditedCase]) -> str:
    """A table of lesions by volume, with the share of hardly visible ones."""
    lesions = [lesion for case in cases for lesion in case.lesions if not math.isnan(lesion.cnr)]
    rows = []
    for group in DISJOINT_GROUPS:
        held = [one for one in lesions if _holds(group, one.volume_ml)]
        if held:
            cnr, change = np.array([one.cnr for one in held]), np.array([one.change for one in held])
            low, middle, high = np.quantile(cnr, (0.25, 0.5, 0.75))
            rows.append(
                [
                    *(group.label, f"{len(held)}", f"{middle:.2f} ({low:.2f} to {high:.2f})"),
                    *(f"{(cnr < BARELY_SEEN).mean():.0%}", f"{np.median(change):.2f}"),
                ]
            )
    return markdown_table(("lesion", "lesions", "CNR, median (quartiles)", f"below {BARELY_SEEN:g}", "change"), rows)


def _by_group(head: str, groups: Mapping[str, Sequence[AuditedCase]]) -> str:
    def mean(cases: Sequence[AuditedCase], value: Callable[[AuditedCase], float]) -> float:
        return float(np.mean([value(case) for case in cases]))

    rows = [
        [
            *(name, f"{len(cases)}", mean_and_interval("dice", estimate_mean(np.array([case.dice for case in cases])))),
            f"{mean(cases, lambda case: case.load_ml):.2f}",
            f"{mean(cases, lambda case: case.missed_ml):.2f}",
            f"{mean(cases, lambda case: case.false_ml):.2f}",
            f"{np.nanmedian([case.probability for case in cases]):.2f}",
        ]
        for name, cases in groups.items()
        if cases
    ]
    return markdown_table((head, "cases", "Dice", "load, mL", "missed, mL", "false, mL", "P"), rows)


def _curve(cases: Sequence[AuditedCase]) -> str:
    large = [case for case in cases if _holds(LARGE, case.load_ml)]
    rows = []
    for index, level in enumerate(CURVE_LEVELS):
        twins = np.array([case.twin_ml[index] for case in cases])
        overlap = f"{np.mean([case.curve_dice[index] for case in large]):.3f}" if large else "n/a"
        over = [f"{(twins > limit).sum()}" for limit in LIMITS_ML]
        rows.append([f"P > {level:g}", overlap, f"{twins.mean():.2f}", f"{np.median(twins):.2f}", *over])
    heads = ("level", "Dice", "false in twins, mean mL", "median mL", *(f"over {limit:g} mL" for limit in LIMITS_ML))
    return markdown_table(heads, rows)
