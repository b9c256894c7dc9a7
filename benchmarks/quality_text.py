"""The result of `python -m benchmarks quality` as Markdown: every run, means, the noise of seeds, and the verdict."""

from collections.abc import Sequence
from statistics import mean, median, stdev

from benchmarks.heading import describe_head
from benchmarks.quality import PROGRAMS, Program, QualityBench, QualityResult, QualityRun

TITLE = "Equal quality: ours and nnU-Net, trained alike on simulated strokes"
NAMES: dict[Program, str] = {"nnunet": "stock nnU-Net", "ours": "ours"}


def describe_quality(result: QualityResult, config: QualityBench, command: str) -> str:
    """The whole report."""
    lines = [
        *describe_head(TITLE, command, ("torch",), others=result.versions),
        *_method(result, config),
        "",
        "| program | seed | mean Dice | median Dice | mean lesion-wise F1 |",
        "|---|---|---|---|---|",
        *(_row(run) for run in result.runs),
        "",
        "| program | seeds | mean Dice | spread of the seeds (sd) | mean lesion-wise F1 |",
        "|---|---|---|---|---|",
        *(_sum_up(program, result.of(program)) for program in PROGRAMS),
        "",
        *_verdict(result),
    ]
    return "\n".join([*lines, ""])


def _method(result: QualityResult, config: QualityBench) -> list[str]:
    task, network = config.task, config.task.network
    return [
        "Simulated data: these scores compare two programs, and say nothing of how well either segments patients.",
        "",
        f"{result.training} cases to learn from and {result.validation} to be scored on, balanced by lesion load, each "
        f"person in one of the two; {task.epochs} epochs of {task.steps} steps, {task.batch} patches of "
        f"{'x'.join(map(str, task.patch))} voxels of {task.spacing_mm:g} mm; {network.encoder} U-Net, features "
        f"{' '.join(map(str, network.features))}; SGD, 0.01 falling to 0. nnU-Net is the stock `nnUNetTrainer` with "
        "its own preparation, loaders, augmentation and loss (only the numbers of epochs and steps and the seed are "
        f"set), in float32; ours trains as it comes, here in {result.precision}. Each program predicts with its own "
        "command (tiles at half a patch, no mirroring); the masks are P > 0.5 without post-processing, scored alike.",
    ]


def _row(run: QualityRun) -> str:
    dice = run.scores["dice"]
    return (
        f"| {NAMES[run.program]} | {run.seed} | {mean(dice):.4f} | {median(dice):.4f} | {run.mean('lesion_f1'):.4f} |"
    )


def _sum_up(program: Program, runs: Sequence[QualityRun]) -> str:
    means = [run.mean() for run in runs]
    spread = f"{stdev(means):.4f}" if len(means) > 1 else ""
    f1 = mean(run.mean("lesion_f1") for run in runs)
    return f"| {NAMES[program]} | {len(runs)} | **{mean(means):.4f}** | {spread} | {f1:.4f} |"


def _verdict(result: QualityResult) -> list[str]:
    difference, noise = result.mean("ours") - result.mean("nnunet"), result.noise("nnunet")
    if noise == 0:
        return [f"Ours minus nnU-Net: **{difference:+.4f}**; one seed tells nothing of the noise."]
    holds = "not lower" if difference >= -noise else "LOWER"
    return [
        f"Ours minus nnU-Net: **{difference:+.4f}**; the seeds of nnU-Net spread by {noise:.4f}. Ours is {holds} than "
        "nnU-Net by more than its seed noise."
    ]
