"""What `bench_round_trip` found, as Markdown."""

from collections.abc import Sequence

import numpy as np

from benchmarks.heading import describe_head
from benchmarks.registration_text import PLAN_COLUMNS, plan_cells, table_head, table_line
from benchmarks.round_trip import COPIES, LEAST_ML, RoundTrip, RoundTripBench
from mapping_stroke.inference.engines import choose_device
from mapping_stroke.networks.bundle import open_bundle

AIM = 0.95


def describe_round_trips(trips: Sequence[RoundTrip], bench: RoundTripBench, command: str) -> str:
    """How alike the masks are, and how like the truth, case by case and in words."""
    model = open_bundle(bench.model)
    counted = [trip for trip in trips if trip.counts]
    return "\n".join(
        [
            *describe_head(
                "Native space and back",
                command,
                ("numpy", "scipy", "SimpleITK"),
                device=choose_device(bench.device).type,
            ),
            "Simulated data: real brains of people that the model's training never saw (OASIS-1, in MNI152 space) with "
            "one simulated chronic lesion each, stripped or in simulated heads, of simulated scanners; then turned, "
            "shifted, made smaller, scanned on other grids and stored in other orientations.",
            "",
            f"Model: {model.card.name}, SHA-256 `{model.sha256[:16]}...`, preset `balanced`, rule `mapping`.",
            "",
            "The mask of `--space native` is compared with that of the same scan's copy in MNI152 space, segmented "
            "with `--space mni` and brought back to the scan's voxels. The copy is",
            "",
            "- *own*: the one that our registration makes, saved as NIfTI and read again, brought back by the place "
            "that was found;",
            "- *true*: the scan as it was in MNI152 space before it was moved and scanned again, brought back by the "
            "known move. Registration, bias field, and an interpolation come between the two.",
            "",
            "*map*: the copy's map of probabilities is brought back by one linear interpolation, and the rule applied "
            "there, as `segment` does it. *mask*: its mask is brought back (linear, above a half), as another program "
            "would.",
            "",
            *(_summary(counted, copy) for copy in COPIES),
            "",
            *_truths(counted),
            "",
            *table_head(
                *PLAN_COLUMNS,
                *("error, mm", "true, mL", "marked, mL", "own: map", "own: mask", "true: map", "true: mask"),
                *("to the truth: native", "own copy", "true copy"),
            ),
            *(_line(trip) for trip in trips),
            "",
            *(f"{trip.plan.name}: {trip.failure}.\n" for trip in trips if trip.failure),
        ]
    )


def _summary(counted: Sequence[RoundTrip], copy: str) -> str:
    """A line about one kind of copy."""
    words = []
    for what in ("map", "mask"):
        values = np.array([(trip.maps if what == "map" else trip.masks)[copy] for trip in counted])
        if values.size:
            enough = int((values >= AIM).sum())
            least = f"lowest {values.min():.3f}; {enough} of {values.size} at least {AIM}"
            words.append(f"*{what}* Dice {values.mean():.3f} ({least})")
    return f"- **{copy} copy**, lesions over {LEAST_ML:g} mL: {'; '.join(words) or 'none'}."


def _truths(counted: Sequence[RoundTrip]) -> list[str]:
    """How much native space costs in terms of the truth."""
    if not counted:
        return []
    native, own, true = (np.mean([trip.truths[name] for trip in counted]) for name in ("native", *COPIES))
    return [
        f"Mean Dice to the true lesions: native {native:.3f}, own copy {own:.3f}, true copy {true:.3f} "
        "(masks brought back)."
    ]


def _line(trip: RoundTrip) -> str:
    cells = plan_cells(trip.plan)
    if trip.failure:
        return table_line(*cells, "not placed", f"{trip.true_ml:.1f}", *[""] * 8)
    agreements = [f"{values[copy]:.3f}" for copy in COPIES for values in (trip.maps, trip.masks)]
    truths = [f"{trip.truths[name]:.2f}" for name in ("native", *COPIES)]
    return table_line(
        *cells, f"{trip.error_mm:.1f}", f"{trip.true_ml:.1f}", f"{trip.found_ml:.1f}", *agreements, *truths
    )
