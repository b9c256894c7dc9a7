"""An audit of a model in tables: visibility, training against held-out cases, loads, healthy twins."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

import numpy as np

from mapping_stroke.evaluation.audit import BARELY_SEEN, CURVE_LEVELS, AuditedCase, terciles
from mapping_stroke.evaluation.cohort_scores import DISJOINT_GROUPS, LARGE, LoadGroup
from mapping_stroke.evaluation.false_positives import LIMITS_ML
from mapping_stroke.evaluation.intervals import estimate_mean
from mapping_stroke.evaluation.visibility import AROUND_MM
from mapping_stroke.networks.typed_json import plain_json
from mapping_stroke.report.estimates import markdown_table, mean_and_interval

PARTS = {"test": "held out", "training": "of the training"}


def audit_values(cases: Sequence[AuditedCase], facts: Mapping[str, object]) -> dict[str, object]:
    """All that was measured as plain values: facts, and every case with its lesions."""
    values: dict[str, object] = plain_json({**facts, "levels": CURVE_LEVELS, "cases": [asdict(case) for case in cases]})
    return values


def audit_page(cases: Sequence[AuditedCase], facts: Mapping[str, object]) -> str:
    """The page in Markdown.

    Args:
        cases: At least one of them held out.
        facts: The model, its SHA-256, preset and precision.
    """
    held_out = [case for case in cases if case.part == "test"]
    ill = [case for case in held_out if case.load_ml > 0]
    parts = [
        f"# {facts['model']}: audit",
        f"Simulated cases, each with its healthy twin: {len(held_out)} of people and masks that no training saw, "
        f"{len(cases) - len(held_out)} of those of the training. Preset {facts['preset']}, {facts['precision']}; masks "
        "are cut at P > 0.5, without a rule.",
        f"SHA-256 of the model: `{facts['model_sha256']}`.",
        "## How visible lesions are",
        f"*CNR*: difference of the mean intensities inside a lesion and {AROUND_MM[0]:g} to {AROUND_MM[1]:g} mm around "
        "it, divided by the standard deviation around it. *Change*: median of how far the lesion changed the "
        "intensities inside, divided by the same. *P*: median P(lesion) inside. Held-out cases.",
        _visibility(ill),
        _by_group("CNR", {_range(group): group for group in terciles(ill) if group}),
        "## Training cases and held-out cases",
        "A small difference says: train longer; a large one: vary more.",
        _by_group("cases", {PARTS[part]: _with_load(cases, part) for part in PARTS}),
        "## By load",
        _by_group(
            "load", {group.label: [case for case in ill if _holds(group, case.load_ml)] for group in DISJOINT_GROUPS}
        ),
        "## Dice against false volume",
        "Mean Dice of the held-out cases of 1 mL and more, and volumes marked in the healthy twins of all, if masks "
        "are cut at each level.",
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
    """Lesions by their own volume: how many can hardly be seen."""
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
