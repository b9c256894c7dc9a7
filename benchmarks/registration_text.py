"""What `bench_registration` found, as Markdown."""

from collections.abc import Sequence

import numpy as np

from benchmarks.heading import describe_head
from benchmarks.misplaced_scans import Plan
from benchmarks.registration import SUCCESS_MM, WRONG, Outcome, Placing, RawScan, Registrations
from mapping_stroke.space.rough_fit import LEAST_OVERLAP, LEAST_SIMILARITY, Quality

PLAN_COLUMNS = ("brain", "shows", "lesion, mL", "turn, deg", "shift, mm", "voxels, mm", "axes")


def describe_registration(found: Registrations, command: str) -> str:
    """A table of the raw scans, one of the misplaced ones, and how the limits stand to what was seen."""
    return "\n".join(
        [
            *describe_head("Registration of raw scans to MNI152", command, ("numpy", "scipy", "SimpleITK")),
            "Processor seconds add up over the cores; `seconds` were waited for, beside whatever else the machine did.",
            "",
            "## Raw scans",
            "",
            "*Placing*: registration, bias field and brain mask, on one core. *Whole command*: `mapping segment SCAN "
            "--output OUT` with the bundled model, from start to end. The template's size is 1; similarity and overlap "
            "are explained below.",
            "",
            *table_head(
                *("scan", "voxels, mm", "shows", "similarity", "overlap", "size x, y, z", "starts"),
                *("placing, processor s", "whole command, processor s", "seconds", "GB"),
            ),
            *(_raw_line(one) for one in found.raw),
            "",
            *(_misplaced(found) if found.misplaced else ()),
            "## Limits",
            "",
            *_limits(found),
            "",
        ]
    )


def table_head(*names: str) -> list[str]:
    """The first two lines of a table."""
    return [table_line(*names), table_line(*["---"] * len(names))]


def table_line(*cells: str) -> str:
    """A row of a table."""
    return f"| {' | '.join(cells)} |"


def edge_cell(edges_mm: Sequence[float]) -> str:
    """Edges of a voxel."""
    return " ".join(f"{edge:.2g}" for edge in edges_mm)


def plan_cells(plan: Plan) -> tuple[str, ...]:
    """How a scan was made, under `PLAN_COLUMNS`."""
    numbers = (f"{number:.0f}" for number in (plan.load_ml, plan.turn_deg, plan.shift_mm))
    return plan.name, plan.shows, *numbers, edge_cell(plan.edges_mm), plan.axes


def _raw_line(one: RawScan) -> str:
    return table_line(
        one.name,
        edge_cell(one.edges_mm),
        *_placing_cells(one.placing, with_size=True),
        f"{one.placing.processor_seconds:.1f}",
        f"{one.cost.processor_seconds:.1f}",
        f"{one.cost.seconds:.1f}",
        f"{one.cost.peak_bytes / 1e9:.2f}",
    )


def _misplaced(found: Registrations) -> list[str]:
    good = [outcome for outcome in found.misplaced if outcome.error_mm < SUCCESS_MM]
    lines = [
        table_line(
            *plan_cells(one.plan),
            *(f"{error_mm:.1f}" for error_mm in (one.error_mm, one.unmoved_mm)),
            f"{one.brain_dice:.2f}",
            *_placing_cells(one.placing)[1:],
        )
        for one in found.misplaced
    ]
    return [
        "## Misplaced scans",
        "",
        f"**{len(good)} of {len(found.misplaced)} within {SUCCESS_MM:g} mm.** Real brains that lie in MNI152 space, "
        "cut out or put into simulated heads (with age, simulated lesions, other scanners; some badly stripped), then "
        "turned about any axis by up to 40 degrees, shifted by up to 60 mm, made smaller by up to 15 % along each "
        "axis, scanned on upright grids of other voxels and stored in other orientations. The error is the mean "
        "displacement of the brain from where the registration that came with it has it; `unmoved`, from where ours "
        "has the cut-out brain before it was moved. The two registrations are "
        f"{np.median(found.apart_mm):.1f} mm apart on the median brain (up to {max(found.apart_mm):.1f}), so less "
        f"cannot be asked for; {SUCCESS_MM:g} mm is about twice that. `brain` is the Dice of the brain mask.",
        "",
        *table_head(*PLAN_COLUMNS, "error, mm", "unmoved, mm", "brain", "similarity", "overlap", "starts"),
        *lines,
        "",
        _summary(found.misplaced),
        "",
        *(f"{one.plan.name}: {one.placing.failure}.\n" for one in found.misplaced if one.placing.failure),
    ]


def _placing_cells(placing: Placing, *, with_size: bool = False) -> tuple[str, ...]:
    """Shows, similarity, overlap, size where asked for, starts."""
    quality = placing.quality
    if quality is None:
        return "not placed", *[""] * (3 + with_size)
    size = [" ".join(f"{size:.2f}" for size in quality.size)] if with_size else []
    shows = "brain" if placing.stripped else "head"
    return shows, f"{quality.similarity:.2f}", f"{quality.overlap:.2f}", *size, str(placing.starts)


def _summary(outcomes: Sequence[Outcome]) -> str:
    found = [one for one in outcomes if one.placing.quality is not None]
    if not found:
        return "None was found."
    errors, unmoved, brains = (
        np.array([getattr(one, name) for one in found]) for name in ("error_mm", "unmoved_mm", "brain_dice")
    )
    seconds = np.array([one.placing.processor_seconds for one in found])
    return (
        f"Median error {np.median(errors):.1f} mm (largest {errors.max():.1f}); unmoved {np.median(unmoved):.1f} "
        f"({unmoved.max():.1f}); brain mask's Dice {np.median(brains):.2f} (lowest {brains.min():.2f}); "
        f"{np.median(seconds):.0f} processor seconds each (most {seconds.max():.0f})."
    )


def _limits(found: Registrations) -> list[str]:
    placings = [*(one.placing for one in found.raw), *(one.placing for one in found.misplaced)]
    right = [placing.quality for placing in placings if placing.quality]
    off = ", ".join(f"{shift:g} mm and {turn:g} degrees" for shift, turn in WRONG)
    passed = sum(not quality.complaints() for quality in found.wrong)
    return [
        "*Similarity*: share of the variation of intensities that the template's tissues explain, beyond a smooth "
        "background, in the whole brain or on the side where it is larger. *Overlap*: Dice of the template's brain and "
        "what the scan alone shows as its brain. Below its limit, a place is not used. Places that are off "
        f"({off}) were judged, too: {passed} of {len(found.wrong)} would have passed.",
        "",
        *table_head("", "limit", "found places, lowest", "wrong places, median", "highest"),
        _limit_line("similarity", LEAST_SIMILARITY, right, found.wrong),
        _limit_line("overlap", LEAST_OVERLAP, right, found.wrong),
    ]


def _limit_line(name: str, limit: float, right: Sequence[Quality], wrong: Sequence[Quality]) -> str:
    seen, missed = ([getattr(quality, name) for quality in part] for part in (right, wrong))
    lowest = f"{min(seen):.2f}" if seen else ""
    median, highest = (f"{np.median(missed):.2f}", f"{max(missed):.2f}") if missed else ("", "")
    return table_line(name, f"{limit:.2f}", lowest, median, highest)
