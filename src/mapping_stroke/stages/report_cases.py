"""The cases of a report: read one at a time, defaced, for its pictures and its interactive view."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from mapping_stroke.console import track
from mapping_stroke.dataset.cases import Case
from mapping_stroke.errors import SCAN_FAILURES, CaseError, describe_failure
from mapping_stroke.evaluation.tables import CaseScore
from mapping_stroke.images.image import Image, read_image, require_same_grid
from mapping_stroke.report.distributions import typical_cases, worst_cases
from mapping_stroke.report.pages import Results, Section
from mapping_stroke.report.pictures import Comparison, compare
from mapping_stroke.report.scan_page import MOST_CASES, ScanContent, render_case_viewer
from mapping_stroke.report.style import load_words, short_id
from mapping_stroke.run_folder import ENSEMBLE, MASK_SUFFIX, PROBABILITY_SUFFIX, RunFolder
from mapping_stroke.space.model_input import deface


def read_comparisons(
    run: RunFolder, cases: Sequence[Case], scores: Sequence[CaseScore], results: Results
) -> tuple[dict[str, Comparison], list[str]]:
    """The slices of the cases to show, one case in memory at a time, and the problems."""
    wanted = {*typical_cases(results.cases), *worst_cases(results.cases)}
    chosen = [case for case in cases if case.case_id in wanted]
    rows: dict[str, Comparison] = {}
    problems = []
    for case in track(chosen, "Drawing cases", len(chosen)):
        dice = {score.method: score.values["dice"] for score in scores if score.case_id == case.case_id}
        try:
            masks = {method: run.masks(method) / f"{case.case_id}{MASK_SUFFIX}" for method in dice}
            rows[case.case_id] = read_comparison(case, masks, dice)
        except SCAN_FAILURES as error:
            problems.append(f"{case.case_id}: cannot be shown: {describe_failure(error)}")
    return rows, problems


def read_comparison(case: Case, masks: Mapping[str, Path], dice: Mapping[str, float]) -> Comparison:
    """Read the slice of a case that shows its reference and some masks, defaced.

    Args:
        case: A labelled case.
        masks: Files of its masks, by the names of the columns; missing ones are left out.
        dice: Their Dice, by the same names.

    Raises:
        CaseError: The case has no reference mask any more.
        GeometryError: A mask lies on another grid than the scan.
        ImageError: A file cannot be read.
    """
    scan, reference = _read_case(case)
    predictions = {}
    for method, path in masks.items():
        if path.is_file():
            mask = read_image(path)
            require_same_grid(mask, scan, (f"the mask of {method}", "its scan"), "run `mapping postprocess` again")
            predictions[method] = mask.voxels > 0
    title = f"{short_id(case.case_id)}\n{load_words(case.load_ml or 0)}"
    return compare(title, deface(scan), reference.voxels > 0, predictions, dice)


def show_worst(run: RunFolder, cases: Sequence[Case], results: Results) -> list[Section]:
    """An interactive section with the worst cases under the final method, defaced; none if no case can be read."""
    by_id = {case.case_id: case for case in cases}
    shown = []
    for case_id in worst_cases(results.cases)[:MOST_CASES]:
        # what cannot be read is listed by the picture of the same cases
        with suppress(*SCAN_FAILURES):
            dice = next(score.values["dice"] for score in results.cases if score.case_id == case_id)
            shown.append(_read_content(run, by_id[case_id], results.final, dice))
    return [render_case_viewer(shown, "Worst cases, slice by slice")] if shown else []


def _read_content(run: RunFolder, case: Case, method: str, dice: float) -> ScanContent:
    scan, reference = _read_case(case)
    mask = read_image(run.masks(method) / f"{case.case_id}{MASK_SUFFIX}")
    require_same_grid(mask, scan, ("its mask", "its scan"), "run `mapping postprocess` again")
    stored = run.probabilities(ENSEMBLE) / f"{case.case_id}{PROBABILITY_SUFFIX}"
    probability = read_image(stored).voxels if stored.is_file() else np.zeros(scan.shape, np.float32)
    return ScanContent(
        case.case_id,
        deface(scan),
        mask.voxels > 0,
        probability,
        None,
        (),
        reference=reference.voxels > 0,
        scores={"Dice": dice},
    )


def _read_case(case: Case) -> tuple[Image, Image]:
    """A case's scan and reference mask."""
    if case.mask is None:
        raise CaseError("it has scores but its reference mask is gone; run `mapping prepare` again")
    scan, reference = read_image(case.scan), read_image(case.mask)
    require_same_grid(reference, scan, ("its mask", "its scan"), "run `mapping prepare` again")
    return scan, reference
