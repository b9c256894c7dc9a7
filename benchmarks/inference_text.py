"""The result of `python -m benchmarks inference` as Markdown: tables, and where the time goes."""

from collections.abc import Sequence

from benchmarks.chip import ChipRates
from benchmarks.commands import Costs
from benchmarks.heading import describe_head
from benchmarks.inference import InferenceBench, InferenceResult, median_after_first

MEGABYTE = 1e6
WAYS = {
    "nnunet": "nnU-Net v2, one member, no mirroring",
    "tiles": "ours, the same member and tiles",
    "fast": "ours, `fast`: one member, one window",
    "ensemble": "ours, `balanced`: all members, tiles",
}


def describe_inference(result: InferenceResult, config: InferenceBench, command: str) -> str:
    """The whole report."""
    lines = [
        *describe_head("Segmenting one scan beside nnU-Net", command, ("openvino", "torch"), device=config.device),
        f"The same scan ({config.scan.name if config.scan else 'a simulated stroke, 197x233x189 at 1 mm'}), the same "
        f"weights (networks at birth: speed does not depend on what they learned), {len(result.ours[0].repeats)} "
        "repeats in turns. Each time is that of a whole command, from its start to its last file; memory is the peak "
        "of its largest process.",
        "",
        *_table(result, config),
        "",
        *_where_time_goes(result),
        "",
        *_cohort(result),
    ]
    return "\n".join([*lines, ""])


def _table(result: InferenceResult, config: InferenceBench) -> list[str]:
    ways = [*([result.reference] if result.reference else []), *result.ours]
    head = [
        "| way | median | fastest | slowest | peak memory | times faster | memory, share |",
        "|---|---|---|---|---|---|---|",
    ]
    rows = [_row(costs, result.reference) for costs in ways]
    one, many = result.ours[0], result.ours[-1]
    ratio = many.seconds / one.seconds
    notes = ["", f"{config.members} members take **{ratio:.2f}** times as long as one."]
    if result.disagreement is not None:
        notes.append(f"Our mask (P > 0.5) and nnU-Net's differ in {100 * result.disagreement:.4f} % of the voxels.")
    return [*head, *rows, *notes]


def _row(costs: Costs, reference: Costs | None) -> str:
    seconds = [cost.seconds for cost in costs.repeats]
    times = f"{reference.seconds / costs.seconds:.1f}" if reference else ""
    share = f"{costs.peak_bytes / reference.peak_bytes:.2f}" if reference else ""
    return (
        f"| {WAYS[costs.way]} | {costs.seconds:.1f} s | {min(seconds):.1f} s | {max(seconds):.1f} s "
        f"| {costs.peak_bytes / MEGABYTE:.0f} MB | {times} | {share} |"
    )


def _where_time_goes(result: InferenceResult) -> list[str]:
    total = sum(result.stages.values())
    head = [
        "## Where the time goes",
        "",
        "One member, tiles; the median command.",
        "",
        "| step | seconds | share |",
        "|---|---|---|",
    ]
    rows = [f"| {step} | {seconds:.2f} | {100 * seconds / total:.0f} % |" for step, seconds in result.stages.items()]
    return [*head, *rows, *(_chip(result.chip) if result.chip else [])]


def _chip(chip: ChipRates) -> list[str]:
    share = chip.network / chip.convolution
    return [
        "",
        f"One patch takes {chip.patch_s:.2f} s: {chip.network / 1e9:.0f} GFLOP/s in {chip.precision}, "
        f"{100 * share:.0f} % of the {chip.convolution / 1e9:.0f} GFLOP/s that 3x3x3 convolutions alone reach at the "
        "finest stage. The rest goes into InstanceNorm, the transposed convolutions, and stages with few voxels.",
    ]


def _cohort(result: InferenceResult) -> list[str]:
    seconds, peak_bytes = result.cohort
    if len(seconds) < 2:
        return []
    alone = next(costs for costs in result.ours if costs.way == "fast")
    return [
        "## A cohort",
        "",
        f"{len(seconds)} scans in one call, `fast`: {seconds[0]:.1f} s for the first, "
        f"{median_after_first(seconds):.1f} s (median) for each of the others; peak memory "
        f"{peak_bytes / MEGABYTE:.0f} MB, against {alone.peak_bytes / MEGABYTE:.0f} MB for one scan. "
        f"{_growth(seconds)}",
    ]


def _growth(seconds: Sequence[float]) -> str:
    if len(seconds) < 3:
        return ""
    half = len(seconds) // 2
    return f"The later half took {sum(seconds[-half:]) / max(sum(seconds[1 : 1 + half]), 1e-9):.2f} times the earlier."
