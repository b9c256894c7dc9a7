"""The result of `python -m benchmarks fine-tuning` as Markdown."""

from benchmarks.fine_tuning import FOLDS, METRICS, RULES, UNSEEN, FineTuningBench, FineTuningResult
from benchmarks.heading import describe_head
from mapping_stroke.evaluation.cohorts import Estimate, estimate_mean
from mapping_stroke.inference.engines import choose_device

TITLE = "Fine-tuning on simulated cases of an unseen scanner"
METRIC_NAMES = {
    "dice": "Dice",
    "lesion_f1": "lesion-wise F1",
    "false_lesions": "false lesions a case",
    "false_ml": "false lesions a case, mL",
}
RULE_NAMES = {"none": "P > 0.5", "mapping": "the model's own rule, not refitted"}
DECIMALS = {"dice": 3, "lesion_f1": 3, "false_lesions": 2, "false_ml": 2}


def describe_fine_tuning(result: FineTuningResult, bench: FineTuningBench, command: str) -> str:
    """The whole report."""
    lines = [
        *describe_head(TITLE, command, ("torch",), device=choose_device(bench.device).type),
        *_method(result, bench),
        "",
        "| mask | mean over cases | before | after | after less before |",
        "|---|---|---|---|---|",
        *(_row(result, rule, metric) for rule in RULES for metric in METRICS),
        "",
        "In brackets: 95 % bootstrap intervals over the cases, paired for the difference. A false lesion touches no "
        "true one.",
    ]
    return "\n".join([*lines, ""])


def _method(result: FineTuningResult, bench: FineTuningBench) -> list[str]:
    config, size = result.config, result.config.wanted_size
    learned = bench.cases - -(-bench.cases // FOLDS)
    thick = f"axial slices of {UNSEEN.slice_mm:g} mm"
    return [
        "Simulated data: these scores compare a model with itself, and say nothing of how well either segments "
        "patients.",
        "",
        f"{bench.cases} cases to learn from and {bench.cases} others to be judged by, of people and masks that the "
        "members of the model were not trained on, and that are different in the two cohorts. All were scanned by one "
        f"scanner whose contrast no training case has: with white matter at 1, grey matter at {UNSEEN.grey:g} and CSF "
        f"at {UNSEEN.csf:g} (within 0.03 from day to day), noise {UNSEEN.noise:g}, bias field {UNSEEN.bias:g}, "
        f"{thick}.",
        "",
        f"Model: {result.start.card.name}, SHA-256 `{result.start.sha256[:16]}...`, "
        f"{len(result.start.card.members)} members; fine-tuned: {', '.join(config.schemes)}, {bench.folds} of {FOLDS} "
        f"folds, each on about {learned} cases; {size.epochs} epochs of {size.steps_per_epoch} steps{_share(result)}, "
        f"learning rate {size.learning_rate:g}, no unlabelled scans.",
    ]


def _share(result: FineTuningResult) -> str:
    """How long that is beside the training that the model had, where it tells."""
    epochs = [member.card.training.get("epochs") for member in result.start.card.members]
    told = [number for number in epochs if isinstance(number, int) and number > 0]
    if not told or result.config.epochs is None:
        return ""
    return f" ({result.config.epochs / max(told):.0%} of the epochs that its members were trained for)"


def _row(result: FineTuningResult, rule: str, metric: str) -> str:
    key = f"{rule}/{metric}"
    before, after = (_words(estimate_mean(scores[key]), metric) for scores in (result.before, result.after))
    difference = _words(result.difference(key), metric, sign="+")
    return f"| {RULE_NAMES[rule]} | {METRIC_NAMES[metric]} | {before} | {after} | {difference} |"


def _words(estimate: Estimate, metric: str, sign: str = "") -> str:
    form = f"{sign}.{DECIMALS[metric]}f"
    return f"{estimate.mean:{form}} [{estimate.low:{form}}, {estimate.high:{form}}]"
