"""Benefit of fine-tuning: a model on scans of an unseen scanner, before and after training on some of them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64
from tyro.conf import Positional

from benchmarks.benchmark import Benchmark
from benchmarks.heading import describe_head
from mapping_stroke.cohort.segmenter import make_segmenter
from mapping_stroke.cohort.settings import Computation
from mapping_stroke.console import say, track
from mapping_stroke.dataset.cases import FoundCase
from mapping_stroke.errors import ConfigError
from mapping_stroke.evaluation.cohorts import Estimate, estimate_mean
from mapping_stroke.evaluation.score import score
from mapping_stroke.files import read_object, write_json
from mapping_stroke.images.image import Mask
from mapping_stroke.inference.engines import choose_device
from mapping_stroke.inference.segmentation import choose_rule
from mapping_stroke.lesions import find_lesions
from mapping_stroke.models.judge import EvaluationCase, find_labelled, read_evaluation_case
from mapping_stroke.names import Part
from mapping_stroke.networks.bundle import Bundle, open_bundle
from mapping_stroke.rules import PostprocessConfig, apply_rule, find_rule
from mapping_stroke.run_folder import RunFolder, claim_folder
from mapping_stroke.simulation import held_out
from mapping_stroke.simulation.bank import Mix, load_bank
from mapping_stroke.simulation.cohort import Sources, find_sources
from mapping_stroke.simulation.scanner import Scanner
from mapping_stroke.simulation.settings import SourceFolders
from mapping_stroke.stages.folds import folds_run
from mapping_stroke.stages.prepare import prepare_run
from mapping_stroke.stages.settings import FoldsConfig, TrainConfig
from mapping_stroke.stages.train import train_run
from mapping_stroke.stages.warm_start import fine_tuning_config

UNSEEN = Scanner(
    csf=0.46, grey=0.91, bias=0.20, noise=0.08, blur_mm=0.6, bias_knots_mm=70.0, rician=True, slice_axis=2, slice_mm=4.0
)
"""Resembles a clinical 2D spin-echo T1w scan at 3 T: grey matter nearly as bright as white, CSF not dark, axial slices
of 4 mm, stronger noise and bias field than almost all others. `draw_any_scanner` never draws such a contrast."""
ONE_LAB = Mix(healthy=0.0, twins=0.0, kinds=(0.0, 1.0, 0.0, 0.0, 0.0))
"""All cases have lesions, and all scans are skull-stripped by one program."""
PARTS: Mapping[str, Part] = {"learn": "validation", "judge": "test"}
"""Split of the people and masks of each cohort; members of `mapping models train` have seen neither."""
SEED = 5
FOLDS = 5
METRICS = ("dice", "lesion_f1", "false_lesions", "false_ml")
RULES = ("none", "mapping")

Scores = Mapping[str, Float64[np.ndarray, " n"]]
"""Value of every case, by `RULE/METRIC`; NaN if undefined."""


@dataclass(frozen=True)
class FineTuning(Benchmark):
    """Fine-tune a model on simulated cases of an unseen scanner, and evaluate it before and after on others.

    Give the brains and lesions that the model was trained on: people and masks it has seen are excluded.
    """

    work: Positional[Path]
    """Folder that keeps cases and trainings, for resuming."""
    model: str = "default"
    """A `.mapping` file, a model folder, a run folder, or the name of a model of this installation."""
    folders: SourceFolders = field(default_factory=SourceFolders)
    cases: int = 20
    """Training cases, and the number of further cases for evaluation."""
    folds: int = 1
    """Number of the five folds that are trained; members of each learn from four fifths of the cases."""
    epochs: int | None = None
    """As for `mapping train --from`."""
    learning_rate: float | None = None
    """As for `mapping train --from`."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `mps`."""
    jobs: int = 1
    """Folds trained at once."""

    def __post_init__(self) -> None:
        if self.cases < FOLDS or not 1 <= self.folds <= FOLDS:
            raise ConfigError(
                f"got --cases {self.cases} --folds {self.folds}, expected {FOLDS} or more cases, and 1 to {FOLDS} folds"
            )

    def report(self) -> str:
        """Fine-tune, and list the scores before and after and their differences."""
        given = {
            "--model": Path(self.model).name,
            "--brains": self.folders.brains and "BRAINS",
            "--lesions": self.folders.lesions and "LESIONS",
            "--rescans": " ".join(self.folders.rescans),
            "--cases": self.cases,
            "--folds": self.folds,
            "--epochs": self.epochs,
            "--learning-rate": self.learning_rate,
        }
        options = [f"{option} {value}" for option, value in given.items() if value]
        command = " ".join(["python -m benchmarks fine-tuning WORK", *options])
        return describe_fine_tuning(bench_fine_tuning(self), self, command)


@dataclass(frozen=True, eq=False)
class FineTuningResult:
    """Results of the benchmark.

    Attributes:
        before: Scores of the original model.
        after: Scores of its members after fine-tuning.
        start: The original model.
        config: Settings of the fine-tuning.
    """

    before: Scores
    after: Scores
    start: Bundle
    config: TrainConfig

    def difference(self, key: str) -> Estimate:
        """After minus before, paired, with a 95 % bootstrap interval over cases."""
        return estimate_mean(self.after[key] - self.before[key])


def bench_fine_tuning(bench: FineTuning) -> FineTuningResult:
    """Simulate two cohorts of one unseen scanner, fine-tune on one, and evaluate before and after on the other.

    Raises:
        MappingError: There is no such model, too few brains or masks, or the work folder holds something else.
    """
    sources, start, config = find_sources(bench.folders), open_bundle(bench.model), _config(bench)
    claim_folder(bench.work, _identity(bench, sources, start))
    device = choose_device(bench.device)
    learn, judge = (_write_cohort(bench, sources, name, device) for name in PARTS)
    run = RunFolder(bench.work / "run")
    prepare_run(learn, run)
    folds_run(run, FoldsConfig(FOLDS))
    train_run(run, config)
    rules = {name: choose_rule(start, name) if name == "mapping" else find_rule(name) for name in RULES}
    cases, _ = find_labelled(judge)
    before, after = (
        _evaluate(bundle, rules, cases, bench.work / f"{when}.json", bench.device)
        for when, bundle in (("before", start), ("after", open_bundle(run.path)))
    )
    return FineTuningResult(before, after, start, config)


def _identity(bench: FineTuning, sources: Sources, start: Bundle) -> dict[str, object]:
    """Everything that determines cases and model. Folds may be added, and the members refuse other epochs."""
    origin = {"brains": sources.brains_fingerprint, "masks": sources.masks_fingerprint, "people": sources.people}
    what = {"kind": "bench", "command": "fine-tuning", "model": start.sha256, "cases": bench.cases}
    return {**what, **origin, "scanner": asdict(UNSEEN)}


def _config(bench: FineTuning) -> TrainConfig:
    asked = TrainConfig(
        from_=bench.model,
        folds=tuple(range(bench.folds)),
        device=bench.device,
        epochs=bench.epochs,
        learning_rate=bench.learning_rate,
        jobs=bench.jobs,
    )
    return fine_tuning_config(asked)


def _write_cohort(bench: FineTuning, sources: Sources, name: str, device: torch.device) -> Path:
    part, spacing_mm = PARTS[name], held_out.SPACING_MM
    folder, cache = bench.work / name, bench.work / "sources"
    held_out.write_drawn(
        folder,
        name,
        bench.cases,
        lambda: replace(load_bank(sources, part, spacing_mm, cache, device, ONE_LAB), scanner=UNSEEN),
        (SEED, list(PARTS).index(name)),
    )
    return folder


def _evaluate(
    bundle: Bundle, rules: Mapping[str, PostprocessConfig], cases: Sequence[FoundCase], kept: Path, device: str
) -> Scores:
    """Scores of a model on cases. Scores in the file `kept` are not computed again."""
    by = {"model": bundle.sha256, "cases": [case.case_id for case in cases]}
    values = read_object(kept)
    if values.get("by") != by:
        as_stored = replace(bundle, card=replace(bundle.card, space="unknown", shows="unknown"))  # no registration
        segmenter = make_segmenter(Computation(device=device), as_stored)
        ensemble = segmenter.ensemble
        say(f"Evaluating {bundle.card.name} with {len(ensemble.members)} members on {ensemble.engine.description}")
        rows = []
        for case in track(cases, "Evaluating", len(cases)):
            scan = read_evaluation_case(case, segmenter)
            probability = scan.turn(segmenter.predict(scan.loaded).probability)
            masks = {name: apply_rule(probability, rule, scan.voxel_volume_mm3) for name, rule in rules.items()}
            rows.append({name: score_mask(mask, scan) for name, mask in masks.items()})
        table = {f"{rule}/{metric}": [row[rule][metric] for row in rows] for rule in rules for metric in METRICS}
        values = {"by": by, "scores": table}
        write_json(kept, values)
    return {key: np.array(scores, np.float64) for key, scores in values["scores"].items()}


def score_mask(mask: Mask, scan: EvaluationCase) -> dict[str, float]:
    """Dice, lesion-wise F1, and the number and volume of false positives, which touch no true lesion."""
    scores = score(mask, scan.reference, scan.spacing_mm)
    lesions = find_lesions(mask)
    # labels of lesions that touch a true lesion; 0 is the background
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
    "false_lesions": "false positives per case",
    "false_ml": "false positives per case, mL",
}
RULE_NAMES = {"none": "P > 0.5", "mapping": "the model's own rule, not refitted"}
DECIMALS = {"dice": 3, "lesion_f1": 3, "false_lesions": 2, "false_ml": 2}


def describe_fine_tuning(result: FineTuningResult, bench: FineTuning, command: str) -> str:
    """The complete report."""
    lines = [
        *describe_head(TITLE, command, ("torch",), device=choose_device(bench.device).type),
        *_method(result, bench),
        "",
        "| mask | mean over cases | before | after | after minus before |",
        "|---|---|---|---|---|",
        *(_row(result, rule, metric) for rule in RULES for metric in METRICS),
        "",
        "In brackets: 95 % bootstrap intervals over the cases, paired for the difference. A false positive is a lesion "
        "that touches no true one.",
    ]
    return "\n".join([*lines, ""])


def _method(result: FineTuningResult, bench: FineTuning) -> list[str]:
    config, size = result.config, result.config.wanted_size
    # without the validation fold, which is rounded up
    learned = bench.cases - -(-bench.cases // FOLDS)
    thick = f"axial slices of {UNSEEN.slice_mm:g} mm"
    return [
        "Simulated data: these scores compare a model with itself; they do not show how well it segments patients.",
        "",
        f"{bench.cases} training cases and {bench.cases} other cases for evaluation, from different people and masks, "
        "none of which the members of the model were trained on. All were scanned by one scanner whose contrast no "
        f"training case has: with white matter at 1, grey matter at {UNSEEN.grey:g} and CSF at {UNSEEN.csf:g} (within "
        f"0.03 from day to day), noise {UNSEEN.noise:g}, bias field {UNSEEN.bias:g}, {thick}.",
        "",
        f"Model: {result.start.card.name}, SHA-256 `{result.start.sha256[:16]}...`, "
        f"{len(result.start.card.members)} members; fine-tuned: {', '.join(config.schemes)}, {bench.folds} of {FOLDS} "
        f"folds, each on about {learned} cases; {size.epochs} epochs of {size.steps_per_epoch} steps{_share(result)}, "
        f"learning rate {size.learning_rate:g}, no unlabelled scans.",
    ]


def _share(result: FineTuningResult) -> str:
    """Length of the fine-tuning relative to the model's own training, if its card states it."""
    epochs = [member.card.training.get("epochs") for member in result.start.card.members]
    stated = [number for number in epochs if isinstance(number, int) and number > 0]
    if not stated or result.config.epochs is None:
        return ""
    return f" ({result.config.epochs / max(stated):.0%} of the epochs that its members were trained for)"


def _row(result: FineTuningResult, rule: str, metric: str) -> str:
    key = f"{rule}/{metric}"
    before, after = (_words(estimate_mean(scores[key]), metric) for scores in (result.before, result.after))
    difference = _words(result.difference(key), metric, sign="+")
    return f"| {RULE_NAMES[rule]} | {METRIC_NAMES[metric]} | {before} | {after} | {difference} |"


def _words(estimate: Estimate, metric: str, sign: str = "") -> str:
    form = f"{sign}.{DECIMALS[metric]}f"
    mean = f"{estimate.mean:{form}}"
    return mean if math.isnan(estimate.low) else f"{mean} [{estimate.low:{form}}, {estimate.high:{form}}]"
