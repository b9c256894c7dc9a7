"""A model card: a text by the model's makers, with places that the values of an evaluation fill.

Source of its headings: Mitchell et al. 2019, Model Cards for Model Reporting, doi:10.1145/3287560.3287596.
"""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mapping_stroke.errors import ConfigError
from mapping_stroke.evaluation.cohort_scores import ALL_LOADS, LARGE, LOAD_GROUPS, SMALL
from mapping_stroke.evaluation.failures import Failure
from mapping_stroke.evaluation.intervals import Estimate
from mapping_stroke.evaluation.profiles import ATLAS2022
from mapping_stroke.report.estimates import markdown_table, mean_and_interval
from mapping_stroke.report.failure_words import PICTURED, failure_sentence
from mapping_stroke.report.model_page import FINAL
from mapping_stroke.report.tables import metric_head

PLAIN_CARD = Path(__file__).with_name("templates") / "model-card.md"
"""For a model of which nothing else is said."""
_PLACE = re.compile(r"\{\{ *([a-z_]+) *\}\}")


def fill_card(text: str, values: Mapping[str, str], what: str) -> str:
    """Put values into the places `{{ name }}` of a text.

    Args:
        text: Markdown.
        values: Name to Markdown, of one line or many.
        what: What to call the text in an error.

    Raises:
        ConfigError: A place has a name that no value has.
    """
    for name in _PLACE.findall(text):
        if name not in values:
            raise ConfigError(f"{what}: nothing is called {{{{ {name} }}}}; expected some of {', '.join(values)}")
    return _PLACE.sub(lambda place: values[place[1]], text)


def evaluation_blocks(values: Mapping[str, Any], failures_picture: str) -> dict[str, str]:
    """The values of an evaluation as Markdown, by the names of their places.

    Args:
        values: As `evaluation_values` gave them, perhaps by way of a JSON file.
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
    """The ranges of loads that hold a case, in the order of tables."""
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
    told = [f"{number}. {failure_sentence(failure)}" for number, failure in enumerate(failures, start=1)]
    picture = [PICTURED, f"![Where the model fails]({failures_picture})"] if failures_picture else []
    return "\n\n".join([*picture, "\n".join(told)])


def _estimate(found: Mapping[str, Any]) -> Estimate:
    mean, std, low, high = (math.nan if found[key] is None else found[key] for key in ("mean", "std", "low", "high"))
    return Estimate(mean, std, low, high, found["cases"], found["undefined"])
