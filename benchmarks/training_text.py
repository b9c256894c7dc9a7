"""The result of `python -m benchmarks training` as Markdown: ratios, and where a step's time goes beside its floor."""

from collections.abc import Sequence

from benchmarks.heading import describe_head
from benchmarks.training import NNUNET, TrainingBench, TrainingLength, TrainingResult
from benchmarks.training_steps import StepFacts
from benchmarks.training_task import TrainingTask

MEGABYTE, GIGA = 1e6, 1e9
TITLE = "Training beside nnU-Net"
HEAD = "| way | steps/s | fastest epoch | slowest epoch | times nnU-Net | peak memory | share of nnU-Net's |"


def describe_training(result: TrainingResult, config: TrainingBench, command: str) -> str:
    """The whole report."""
    head = describe_head(TITLE, command, ("torch",), device=config.device, others=result.versions)
    lines = [*head, *_method(config)]
    for network, courses in result.courses.items():
        task = config.chosen.tasks[network]
        lines += ["", f"## {network[0].upper()}{network[1:]}", "", *_task(task), "", *_table(courses, task)]
        lines += ["", *_where_time_goes(result.steps[network], courses, task)]
    return "\n".join([*lines, ""])


def _method(config: TrainingBench) -> list[str]:
    task = next(iter(config.chosen.tasks.values()))
    return [
        f"{config.chosen.subjects} simulated strokes; patches of {'x'.join(map(str, task.patch))} voxels of "
        f"{task.spacing_mm:g} mm, {task.batch} a step. Each way is a process of its own with all cores"
        f"{' and the GPU' if config.device == 'cuda' else ''}, {config.repeats} time{'s' * (config.repeats > 1)}, in "
        f"turns: {task.epochs} epochs of {task.steps} training and {task.validation_steps} validation steps, the first "
        "and the last left out. An epoch is measured from its beginning to that of the next: loading, augmentation, "
        "validation, checkpoints and pictures included. nnU-Net is the stock `nnUNetTrainer` with its own loader "
        "processes; only the numbers of epochs and steps and the seed are set. Both use its default augmentation, "
        "loss and optimiser. nnU-Net's usual epoch has 250 steps: in shorter ones, what it does once an epoch (a "
        "second or so for a picture and a checkpoint) weighs more. Memory is the peak of the largest process; the "
        "loader processes of nnU-Net come on top.",
    ]


def _task(task: TrainingTask) -> list[str]:
    features = " ".join(map(str, task.network.features))
    depths = " ".join(map(str, task.network.depths))
    return [f"Features {features}; {'blocks' if task.network.encoder == 'residual' else 'convolutions'} {depths}."]


def _table(courses: Sequence[TrainingLength], task: TrainingTask) -> list[str]:
    reference = next((course for course in courses if course.way == NNUNET), None)
    on_gpu = any(course.gpu_bytes for course in courses)
    head = f"{HEAD} peak GPU memory | reserved | share of nnU-Net's |" if on_gpu else HEAD
    columns = head.count("|") - 1
    return [head, "|---" * columns + "|", *(_row(course, reference, task) for course in courses)]


def _row(course: TrainingLength, reference: TrainingLength | None, task: TrainingTask) -> str:
    speed = course.steps_per_s(task.steps)
    times = f"**{speed / reference.steps_per_s(task.steps):.2f}**" if reference else ""
    name = "stock nnU-Net" if course.way == NNUNET else course.way
    cells = [name, f"{speed:.3g}", f"{min(course.epochs_s):.2f} s", f"{max(course.epochs_s):.2f} s", times]
    cells += [
        f"{course.peak_bytes / MEGABYTE:.0f} MB",
        _share(course.peak_bytes, reference.peak_bytes if reference else 0),
    ]
    if course.gpu_bytes:
        cells += [f"{course.gpu_bytes[kind] / GIGA:.2f} GB" for kind in ("allocated", "reserved")]
        cells.append(_share(course.gpu_bytes["allocated"], reference.gpu_bytes["allocated"] if reference else 0))
    return f"| {' | '.join(cells)} |"


def _share(value: float, reference: float) -> str:
    return f"{value / reference:.2f}" if reference else ""


def _where_time_goes(facts: StepFacts, courses: Sequence[TrainingLength], task: TrainingTask) -> list[str]:
    default = next(course for course in courses if course.way != NNUNET)
    whole_s = 1 / default.steps_per_s(task.steps)
    rest_s = whole_s - facts.step_s
    rows = [*facts.seconds.items(), *([("validation, checkpoint, pictures", rest_s)] if rest_s > 0 else [])]
    total = max(whole_s, facts.step_s)
    slower = f" This pass was slow: its parts take {facts.step_s / whole_s:.2f} times a step of the whole epochs above."
    return [
        f"Where the time of a step goes, as it comes ({facts.precision}; medians of a pass with a clock between the "
        "parts, and what is left of a whole epoch):",
        "",
        "| part | seconds a step | share |",
        "|---|---|---|",
        *(f"| {part} | {seconds:.4f} | {100 * seconds / total:.0f} % |" for part, seconds in rows),
        "",
        f"Floor: the convolutions of a step are {facts.flop / GIGA:.3g} GFLOP (forward, and twice that backwards). The "
        f"best of this network's own 3x3x3 convolutions reaches {facts.flop_per_s / GIGA:.0f} GFLOP/s alone: "
        f"{facts.flop / facts.flop_per_s:.4f} s. They read and write {facts.moved_bytes / GIGA:.3g} GB, and copying "
        f"reaches {facts.bytes_per_s / GIGA:.3g} GB/s: {facts.moved_bytes / facts.bytes_per_s:.4f} s. A step of "
        f"{facts.step_s:.4f} s takes **{facts.step_s / facts.floor_s:.1f}** times the larger."
        f"{slower if rest_s <= 0 else ''}",
    ]
