"""Benefit of fine-tuning: a model on scans of an unseen scanner, before and after training on some of them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64

from benchmarks.heading import describe_head
from mapping_stroke.cohort.segmenter import make_segmenter
from mapping_stroke.cohort.settings import Computation
from mapping_stroke.console import say, track
from mapping_stroke.dataset.cases import FoundCase
from mapping_stroke.dataset.sources import Part
from mapping_stroke.errors import ConfigError
from mapping_stroke.evaluation.cohorts import Estimate, estimate_mean
from mapping_stroke.evaluation.score import score
from mapping_stroke.files import read_object, write_json
from mapping_stroke.images.image import Mask
from mapping_stroke.inference.engines import choose_device
from mapping_stroke.inference.segmentation import choose_rule
from mapping_stroke.lesions import find_lesions
from mapping_stroke.models.judge import EvaluationCase, find_labelled, read_evaluation_case
from mapping_stroke.models.lessons import fine_tuning_config
from mapping_stroke.networks.bundle import Bundle, open_bundle
from mapping_stroke.rules import PostprocessConfig, apply_rule, find_rule
from mapping_stroke.run_folder import RunFolder, claim_folder
from mapping_stroke.simulation import held_out
from mapping_stroke.simulation.bank import Mix, load_bank
from mapping_stroke.simulation.cohort import Sources
from mapping_stroke.simulation.scanner import Scanner
from mapping_stroke.stages.folds import folds_run
from mapping_stroke.stages.prepare import prepare_run
from mapping_stroke.stages.settings import FoldsConfig, TrainConfig
from mapping_stroke.stages.train import train_run

UNSEEN = Scanner(
    csf=0.46, grey=0.91, bias=0.20, noise=0.08, blur_mm=0.6, bias_knots_mm=70.0, rician=True, slice_axis=2, slice_mm=4.0
)
"""A clinical 2D spin-echo T1w at 3 T, as it were: grey matter nearly as bright as white, CSF not dark, axial slices of
4 mm, noise and bias field stronger than nearly all. Its contrast lies outside of all that `draw_any_scanner` draws."""
ONE_LAB = Mix(healthy=0.0, twins=0.0, kinds=(0.0, 1.0, 0.0, 0.0, 0.0))
"""All have lesions, and all scans are skull-stripped by one program."""
PARTS: Mapping[str, Part] = {"learn": "validation", "judge": "test"}
"""People and masks of the two cohorts; the members of `mapping models train` have seen neither."""
SEED = 5
FOLDS = 5
METRICS = ("dice", "lesion_f1", "false_lesions", "false_ml")
RULES = ("none", "mapping")

Scores = Mapping[str, Float64[np.ndarray, " n"]]
"""`RULE/METRIC` to the value of every case; NaN where it is undefined."""


@dataclass(frozen=True)
class FineTuningBench:
    """What is measured.

    Attributes:
        model: To begin with, see `open_bundle`.
        sources: Brains and masks, the same that the model was trained on, so that the split keeps them apart.
        work: Where cases and trainings are kept; a repeat goes on there.
        cases: To learn from, and as many others to judge by.
        folds: How many of the five folds are trained: members of one learn from four fifths of the cases.
        epochs: Of every member; None for what `mapping train --from` takes.
        learning_rate: Likewise.
        device: What computes.
        jobs: Folds trained at once.
    """

    model: str
    sources: Sources
    work: Path
    cases: int = 20
    folds: int = 1
    epochs: int | None = None
    learning_rate: float | None = None
    device: str = "auto"
    jobs: int = 1

    def __post_init__(self) -> None:
        if self.cases < FOLDS or not 1 <= self.folds <= FOLDS:
            raise ConfigError(
                f"got --cases {self.cases} --folds {self.folds}, expected {FOLDS} or more cases, and 1 to {FOLDS} folds"
            )


@dataclass(frozen=True, eq=False)
class FineTuningResult:
    """What came out.

    Attributes:
        before: Scores of the model as it was.
        after: Of its members after fine-tuning.
        start: The model.
        config: How its members were trained further.
    """

    before: Scores
    after: Scores
    start: Bundle
    config: TrainConfig

    def difference(self, key: str) -> Estimate:
        """After less before, paired, with a 95 % bootstrap interval over cases."""
        return estimate_mean(self.after[key] - self.before[key])


def bench_fine_tuning(bench: FineTuningBench) -> FineTuningResult:
    """Simulate two cohorts of one unseen scanner, fine-tune on one of them, judge before and after on the other.

    Raises:
        MappingError: There is no such model, too few brains or masks, or the work folder holds something else.
    """
    start, config = open_bundle(bench.model), _config(bench)
    claim_folder(bench.work, _identity(bench, start))
    device = choose_device(bench.device)
    learn, judge = (_write_cohort(bench, name, device) for name in PARTS)
    run = RunFolder(bench.work / "run")
    prepare_run(learn, run)
    folds_run(run, FoldsConfig(FOLDS))
    train_run(run, config)
    rules = {name: choose_rule(start, name) if name == "mapping" else find_rule(name) for name in RULES}
    cases, _ = find_labelled(judge)
    before, after = (
        _judge(bundle, rules, cases, bench.work / f"{when}.json", bench.device)
        for when, bundle in (("before", start), ("after", open_bundle(run.path)))
    )
    return FineTuningResult(before, after, start, config)


def _identity(bench: FineTuningBench, start: Bundle) -> dict[str, object]:
    """What decides the cases and the start; folds may be added, and other epochs are refused by the members."""
    sources = bench.sources
    origin = {"brains": sources.brains_fingerprint, "masks": sources.masks_fingerprint, "people": sources.people}
    what = {"kind": "bench", "command": "fine-tuning", "model": start.sha256, "cases": bench.cases}
    return {**what, **origin, "scanner": asdict(UNSEEN)}


def _config(bench: FineTuningBench) -> TrainConfig:
    asked = TrainConfig(
        from_=bench.model,
        folds=tuple(range(bench.folds)),
        device=bench.device,
        epochs=bench.epochs,
        learning_rate=bench.learning_rate,
        jobs=bench.jobs,
    )
    return fine_tuning_config(asked)


def _write_cohort(bench: FineTuningBench, name: str, device: torch.device) -> Path:
    part, spacing_mm = PARTS[name], held_out.SPACING_MM
    folder, cache = bench.work / name, bench.work / "sources"
    held_out.write_drawn(
        folder,
        name,
        bench.cases,
        lambda: replace(load_bank(bench.sources, part, spacing_mm, cache, device, ONE_LAB), scanner=UNSEEN),
        (SEED, list(PARTS).index(name)),
    )
    return folder


def _judge(
    bundle: Bundle, rules: Mapping[str, PostprocessConfig], cases: Sequence[FoundCase], kept: Path, device: str
) -> Scores:
    """Scores of a model on cases; what is in the file `kept` is not computed again."""
    by = {"model": bundle.sha256, "cases": [case.case_id for case in cases]}
    values = read_object(kept)
    if values.get("by") != by:
        as_stored = replace(bundle, card=replace(bundle.card, space="unknown", shows="unknown"))  # no registration
        segmenter = make_segmenter(Computation(device=device), as_stored)
        ensemble = segmenter.ensemble
        say(f"Judging {bundle.card.name} with {len(ensemble.members)} members on {ensemble.engine.description}")
        rows = []
        for case in track(cases, "Judging", len(cases)):
            scan = read_evaluation_case(case, segmenter)
            probability = scan.turn(segmenter.predict(scan.loaded).probability)
            masks = {name: apply_rule(probability, rule, scan.voxel_volume_mm3) for name, rule in rules.items()}
            rows.append({name: score_mask(mask, scan) for name, mask in masks.items()})
        table = {f"{rule}/{metric}": [row[rule][metric] for row in rows] for rule in rules for metric in METRICS}
        values = {"by": by, "scores": table}
        write_json(kept, values)
    return {key: np.array(scores, np.float64) for key, scores in values["scores"].items()}


def score_mask(mask: Mask, scan: EvaluationCase) -> dict[str, float]:
    """Dice, lesion-wise F1, and the number and volume of marked lesions that touch no true one."""
    scores = score(mask, scan.reference, scan.spacing_mm)
    lesions = find_lesions(mask)
    true = np.unique(lesions.labels[scan.reference[lesions.box]])
    sizes_vox = np.delete(lesions.sizes_vox, true[true > 0] - 1)
    false_ml = float(sizes_vox.sum()) * scan.voxel_volume_mm3 / 1000
    return {
        "dice": scores["dice"],
        "lesion_f1": scores["lesion_f1"],
        "false_lesions": float(len(sizes_vox)),
        "false_ml": false_ml,
    }


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
