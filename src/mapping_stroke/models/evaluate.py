"""Evaluation of a model on cases that it was not trained on, with a picture of its failures."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mapping_stroke.console import counted, name_files, progress, say, warn
from mapping_stroke.dataset.cases import FoundCase
from mapping_stroke.errors import CaseError
from mapping_stroke.evaluation.cohorts import (
    HARD,
    HEADS,
    HEALTHY,
    CohortScores,
    Failure,
    Marked,
    MarkedScan,
    ScoredCase,
    choose_failures,
)
from mapping_stroke.evaluation.profiles import ATLAS2022
from mapping_stroke.files import given_name, read_object, remove, write_csv, write_json, write_text
from mapping_stroke.images.image import reorient
from mapping_stroke.inference.segmentation import choose_rule
from mapping_stroke.models.describe import FAILURES_PICTURE, VALUES_FILE
from mapping_stroke.models.judge import (
    PART_NOUNS,
    Entry,
    Evaluator,
    Part,
    attempt,
    find_labelled,
    find_unlabelled,
    make_model_segmenter,
    read_evaluation_case,
)
from mapping_stroke.models.settings import EvaluateConfig
from mapping_stroke.names import TABLE_RULES
from mapping_stroke.networks.bundle import open_bundle
from mapping_stroke.report.model_pages import FINAL, Evaluation, evaluation_page, evaluation_values
from mapping_stroke.rules import apply_rule
from mapping_stroke.run_folder import claimed
from mapping_stroke.space.model_input import deface

if TYPE_CHECKING:
    from mapping_stroke.report.pictures import FailureRow


def picture_failures(
    failures: Sequence[Failure], scans: Mapping[Part, Sequence[FoundCase]], evaluator: Evaluator, path: Path
) -> None:
    """Draw each failure under the rule `mapping`; warn of a scan that cannot be read and leave it out.

    Args:
        failures: In the order of the rows.
        scans: The scans that they come from.
        evaluator: Ensemble and rules.
        path: JPEG to write; removed if there is nothing to draw.
    """
    from mapping_stroke.report.pictures import draw_failures

    cases = {(part, case.case_id): case for part, found in scans.items() for case in found}
    rows = []
    # predicted again, because maps of all scans would not fit in memory or be worth the disk
    with progress("Drawing failures:", len(failures)) as show:
        for number, failure in enumerate(failures, start=1):
            case = cases["healthy" if failure.group == HEALTHY else "labelled", failure.name]
            row = attempt(case, partial(_segment, number, failure, case, evaluator), alone=False)
            rows += [] if row is None else [row]
            show(number, failure.name)
    if rows:
        draw_failures(rows, path)
    else:
        remove(path)


def _segment(number: int, failure: Failure, case: FoundCase, evaluator: Evaluator) -> "FailureRow":
    """Segment a scan again, and keep only the slices to draw."""
    from mapping_stroke.report.pictures import failure_sentence, show_failure

    scan = read_evaluation_case(case, evaluator.segmenter, again=True)
    probability = scan.turn(evaluator.segmenter.predict(scan.loaded).probability)
    mask = apply_rule(probability, evaluator.rules["mapping"], scan.voxel_volume_mm3)
    text = f"{number}. {failure_sentence(failure)}"
    shown = deface(scan.loaded.image, scan.loaded.model_input.placed)
    return show_failure(text, reorient(shown), scan.reference, (mask, probability), failure.look)


LEDGER_FILE, SCORES_FILE, HEALTHY_FILE = "judged.json", "scores.csv", "healthy.csv"
PAGE_FILE, PICTURE_FILE = "evaluation.md", "evaluation.png"
CONTENTS = (LEDGER_FILE, SCORES_FILE, HEALTHY_FILE, PAGE_FILE, VALUES_FILE, PICTURE_FILE, FAILURES_PICTURE)
SCORE_COLUMNS = ("method", "case_id", "load_vox", "load_ml", *ATLAS2022.keys, "false_ml")
GROUPS: dict[Part, str] = {"healthy": HEALTHY, "heads": HEADS, "hard": HARD}
Scans = Mapping[Part, Sequence[FoundCase]]
HEALTHY_COLUMNS = ("method", "group", "scan", "volume_mm3", "lesions")


def evaluate_model(model: str | Path, config: EvaluateConfig, output: Path, *, overwrite: bool = False) -> list[str]:
    """Score each single member and the ensemble with each rule, and write tables, a page and pictures.

    Scans are registered and prepared as by `mapping segment`.

    Args:
        model: See `open_bundle`.
        config: Labelled cases that the model was not trained on, healthy scans, preset and device.
        output: New folder, or one of the same call, which is then resumed.
        overwrite: Replace results of another model or other settings.

    Returns:
        The ids of cases and scans that could not be evaluated, after a warning for each.

    Raises:
        MappingError: There is no labelled case, model or device, the folder holds something else, or the only case or
            all cases failed.
    """
    bundle, preset = open_bundle(model), config.prediction.preset
    cases, failed = find_labelled(config.cohort)
    others: dict[Part, tuple[Path, ...]] = {"healthy": config.healthy, "heads": config.heads, "hard": config.hard}
    scans: Scans = {"labelled": cases, **{part: find_unlabelled(given) for part, given in others.items()}}
    segmenter = make_model_segmenter(bundle, config.prediction)
    ensemble = segmenter.ensemble
    settings = {
        **{"preset": preset, "precision": ensemble.engine.precision, "space": "auto"},
        "cohort": str(config.cohort.resolve()),
    }
    identity = {"kind": "evaluate-model", "model_sha256": bundle.sha256, **settings}
    with claimed(output, identity, CONTENTS, overwrite=overwrite):
        rules = {rule: choose_rule(bundle, rule) for rule in TABLE_RULES}
        evaluator = Evaluator(segmenter, rules, output / LEDGER_FILE)
        counts = ", ".join(counted(len(found), PART_NOUNS[part]) for part, found in scans.items())
        say(f"Evaluating {counts} with {counted(len(ensemble.members), 'member')} on {ensemble.engine.description}")
        entries = {}
        for part, found in scans.items():
            entries[part], its_failed = evaluator.evaluate(part, found)
            failed += its_failed
        facts = {
            **{"model": bundle.card.name, "model_sha256": bundle.sha256, "preset": preset},
            **{"precision": ensemble.engine.precision, "cohort": given_name(config.cohort), "failed": failed},
            "rules": {name: asdict(rule) for name, rule in evaluator.rules.items()},
        }
        _write(output, _collect(evaluator, entries, facts), scans, evaluator)
    if failed:
        warn(
            f"{counted(len(failed), 'scan')} failed and {'is' if len(failed) == 1 else 'are'} left out: "
            f"{', '.join(failed)}"
        )
    return failed


def _collect(
    evaluator: Evaluator, entries: Mapping[Part, Mapping[str, Entry]], facts: Mapping[str, object]
) -> Evaluation:
    """The results for all outputs; raises `CaseError` if no case could be evaluated."""
    if not entries["labelled"]:
        raise CaseError(
            "none of the labelled cases could be evaluated; fix the problems named above and rerun the command"
        )
    cases = tuple(
        ScoredCase(name, entry["load_vox"], entry["load_ml"], _defined(entry["scores"]), _marked(entry))
        for name, entry in entries["labelled"].items()
    )
    others = [
        MarkedScan(name, group, _marked(entry))
        for part, group in GROUPS.items()
        for name, entry in entries[part].items()
    ]
    healthy = tuple(scan for scan in others if scan.group != HARD)
    hard = tuple(scan for scan in others if scan.group == HARD)
    scores = CohortScores(cases, tuple(evaluator.methods))
    failures = choose_failures(scores, healthy, FINAL)
    return Evaluation(scores, healthy, evaluator.methods, tuple(evaluator.members), failures, facts, hard)


def _marked(entry: Entry) -> dict[str, Marked]:
    return {method: Marked(**values) for method, values in entry["marked"].items()}


def _defined(scores: Mapping[str, Mapping[str, float | None]]) -> dict[str, dict[str, float]]:
    return {
        method: {metric: math.nan if value is None else value for metric, value in values.items()}
        for method, values in scores.items()
    }


def _write(output: Path, evaluation: Evaluation, scans: Scans, evaluator: Evaluator) -> None:
    from mapping_stroke.report.curves import draw_evaluation

    values = evaluation_values(evaluation)
    # drawing predicts each failure again, so pictures of the same failures are kept
    if values["failures"] != read_object(output / VALUES_FILE).get("failures") or not _pictures(output):
        picture_failures(evaluation.failures, scans, evaluator, output / FAILURES_PICTURE)
    write_csv(output / SCORES_FILE, SCORE_COLUMNS, _score_rows(evaluation))
    write_csv(output / HEALTHY_FILE, HEALTHY_COLUMNS, _healthy_rows(evaluation))
    write_json(output / VALUES_FILE, values)
    write_text(output / PAGE_FILE, evaluation_page(evaluation, *_pictures(output)))
    draw_evaluation(evaluation, output / PICTURE_FILE)
    written = [output / name for name in CONTENTS if name != LEDGER_FILE]
    name_files("Evaluation", *(path for path in written if path.is_file()))


def _pictures(output: Path) -> list[str]:
    """The name of the picture of failures, if it was drawn."""
    return [FAILURES_PICTURE] if (output / FAILURES_PICTURE).is_file() else []


def _score_rows(evaluation: Evaluation) -> Iterator[dict[str, object]]:
    for case in evaluation.scores.cases:
        for method in evaluation.labels:
            scores = {metric: "" if math.isnan(value) else value for metric, value in case.scores[method].items()}
            yield {
                **{"method": method, "case_id": case.case_id},
                **{"load_vox": case.load_vox, "load_ml": round(case.load_ml, 6)},
                **{**scores, "false_ml": case.marked[method].volume_mm3 / 1000},
            }


def _healthy_rows(evaluation: Evaluation) -> Iterator[dict[str, object]]:
    for scan in (*evaluation.healthy, *evaluation.hard):
        for method in evaluation.labels:
            yield {"method": method, "group": scan.group, "scan": scan.name, **asdict(scan.marked[method])}
