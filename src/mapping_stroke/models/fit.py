"""Fitting the rule `mapping` of a model on labelled cases that it was not trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from mapping_stroke.cohort.segmenter import Segmenter
from mapping_stroke.console import counted, name_files, progress, say, warn
from mapping_stroke.dataset.cases import FoundCase
from mapping_stroke.errors import CaseError
from mapping_stroke.evaluation.rule_fit import Fit, FitCases, Row, count_searches, fit_rule, start_rule
from mapping_stroke.files import fingerprint, given_name, write_json, write_text
from mapping_stroke.inference.segmentation import choose_rule
from mapping_stroke.models.describe import describe_rule
from mapping_stroke.models.judge import (
    MAPS_FORMAT,
    RuleScores,
    StoredMap,
    attempt,
    find_labelled,
    find_unlabelled,
    hash_case,
    make_model_segmenter,
    read_evaluation_case,
)
from mapping_stroke.models.pack import write_with_progress
from mapping_stroke.models.settings import FitConfig
from mapping_stroke.names import TABLE_RULES
from mapping_stroke.networks.bundle import Bundle, open_bundle, require_free
from mapping_stroke.report.tables import RuleRow, RuleTable, rule_page, rule_text, rule_values
from mapping_stroke.rules import find_rule
from mapping_stroke.run_folder import OWNER_FILE, claim_folder

FEW_CASES = 20
"""With fewer cases the fit is mostly chance."""
BEFORE, AFTER = "mapping, before", "mapping, fitted"


def fit_model(model: str | Path, config: FitConfig, target: Path, *, overwrite: bool = False) -> list[str]:
    """Fit the rule `mapping`, compare it with the other rules, and write the model with it.

    Every scan is predicted once; its map is kept next to the target until the model is written, so that an interrupted
    fit can be resumed. The rule is stored only if, cross-fitted, it is better than the model's present one.

    Args:
        model: See `open_bundle`.
        config: Labelled cases that the model was not trained on, healthy scans, in which what is marked counts like
            a metric, preset and device.
        target: Model to write, see `write_bundle`; the table is written next to it.
        overwrite: Replace an existing model.

    Returns:
        The ids of cases and scans that could not be used, after a warning for each.

    Raises:
        MappingError: There is no model, device or labelled case, fewer than two people are left, or the target holds
            something else.
    """
    require_free(target, overwrite=overwrite)
    bundle = open_bundle(model)
    cases, failed = find_labelled(config.cohort)
    found = [*cases, *find_unlabelled(config.healthy)]
    segmenter = make_model_segmenter(bundle, config.prediction)
    maps = target.with_name(f"{target.stem}-maps")
    claim_folder(maps, {"kind": "fit-maps"})
    files, its_failed = _predict_all(segmenter, found, maps)
    labelled = {case.case_id: case.subject or case.case_id for case in cases if _key(case) in files}
    if len(set(labelled.values())) < 2:
        raise CaseError(
            f"{config.cohort}: {counted(len(labelled), 'case')} can be used, expected cases of at least 2 people"
        )
    if len(labelled) < FEW_CASES:
        warn(f"{counted(len(labelled), 'case')}: too few to fit a rule on, give {FEW_CASES} or more")
    people = {_key(case): case.subject or case.case_id for case in found if _key(case) in files}
    table, fit = _fit(bundle, people, files)
    _write(bundle, target, config.cohort, table, fit, overwrite=overwrite)
    if not config.keep_maps:
        _remove_maps(maps)
    return failed + its_failed


def _key(case: FoundCase) -> str:
    """A key that distinguishes labelled cases from healthy scans of the same name."""
    return case.case_id if case.mask is not None else f"healthy/{case.case_id}"


def _predict_all(segmenter: Segmenter, found: Sequence[FoundCase], maps: Path) -> tuple[dict[str, Path], list[str]]:
    """Store the ensemble's map of every scan, unless it exists."""
    bundle, engine = segmenter.bundle, segmenter.ensemble.engine
    # maps do not depend on the rule, so those of an earlier fit are reused
    networks = replace(bundle, card=replace(bundle.card, postprocess=None)).sha256
    how = [MAPS_FORMAT, networks, segmenter.computation.preset, engine.precision, "auto"]
    files, failed = {}, []
    say(f"Predicting {counted(len(found), 'scan')} on {engine.description}")
    with progress("Predicting", len(found)) as show:
        for index, case in enumerate(found):
            work = partial(_predict_one, case, segmenter, how, maps)
            path = attempt(case, work, alone=len(found) == 1)
            if path is None:
                failed.append(case.case_id)
            else:
                files[_key(case)] = path
            show(index + 1, case.case_id)
    return files, failed


def _predict_one(case: FoundCase, segmenter: Segmenter, how: Sequence[object], maps: Path) -> Path:
    path = maps / f"{fingerprint([*how, hash_case(case)])}.npz"
    if not path.is_file():
        scan = read_evaluation_case(case, segmenter)
        probability = scan.turn(segmenter.predict(scan.loaded).probability)
        reference = None if case.mask is None else scan.reference
        StoredMap(probability, reference, scan.spacing_mm, scan.voxel_volume_mm3).write(path)
    return path


def _remove_maps(maps: Path) -> None:
    """Remove the stored maps, and the folder if nothing else is in it."""
    for path in (*maps.glob("*.npz"), maps / OWNER_FILE):
        path.unlink(missing_ok=True)
    if not any(maps.iterdir()):
        maps.rmdir()


def _fit(bundle: Bundle, people: Mapping[str, str], files: Mapping[str, Path]) -> tuple[RuleTable, Fit]:
    """Fit the rule, and score it and the others."""
    before = choose_rule(bundle, "mapping")
    scores = RuleScores(files)
    with progress("Fitting:", count_searches(people)) as show:
        fit = fit_rule(FitCases(people, scores.score), start_rule(before), show)
    shown = {name: find_rule(name) for name in TABLE_RULES if name != "mapping"} | {BEFORE: before}
    rows: dict[str, list[Row]] = {
        label: [scores.score(key, [rule])[0] for key in people] for label, rule in shown.items()
    }
    # the fitted rule by its cross-fitted values; all others are fixed and need no holding out
    rows[AFTER] = [fit.held_out[key] for key in people]
    return RuleTable(tuple(RuleRow(label, tuple(values)) for label, values in rows.items())), fit


def _write(bundle: Bundle, target: Path, cohort: Path, table: RuleTable, fit: Fit, *, overwrite: bool) -> None:
    """Write the model and, next to it, the table; the fitted rule is stored only if it is better."""
    card = bundle.card
    is_better = bool(table.gains([BEFORE, AFTER])[1] > 0)
    if is_better:
        card = replace(card, postprocess=fit.rule, postprocess_origin=_origin(table, fit, cohort))
    else:
        warn("on unseen cases the fitted rule is no better than the present one, which the model keeps")
    written = write_with_progress(target, card, bundle.read_stored, overwrite=overwrite)
    rules = {BEFORE: choose_rule(bundle, "mapping"), AFTER: fit.rule}
    facts = {"model": card.name, "cohort": given_name(cohort), "stored": is_better}
    facts["rules"] = {label: asdict(rule) for label, rule in rules.items()}
    lines = {label: describe_rule(rule) for label, rule in rules.items()}
    page, values = (target.with_name(f"{target.stem}-rules{suffix}") for suffix in (".md", ".json"))
    write_text(page, rule_page(table, facts, lines))
    write_json(values, rule_values(table, facts))
    say(rule_text(table))
    name_files("Rules", page, values)
    name_files("Model", written.path)


def _origin(table: RuleTable, fit: Fit, cohort: Path) -> str:
    """Provenance of the rule for the card, in one line."""
    dice, f1 = (table.mean(AFTER, metric) for metric in ("dice", "lesion_f1"))
    healthy = f" and {counted(table.healthy, 'healthy scan')}" if table.healthy else ""
    return (
        f"fitted on {counted(table.cases, 'case')}{healthy} of {given_name(cohort)} for the mean gain over the "
        f"metrics of atlas2022, {fit.tried} rules tried; cross-fitted Dice {dice:.3f} (before: "
        f"{table.mean(BEFORE, 'dice'):.3f}), lesion-wise F1 {f1:.3f} (before: {table.mean(BEFORE, 'lesion_f1'):.3f})"
    )
