"""The tables of a run's report as files, with what each scheme adds to the ensemble, and the statistics of its page."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from mapping_stroke.console import counted, track
from mapping_stroke.dataset.cases import Case
from mapping_stroke.dataset.voxels import voxels_of
from mapping_stroke.errors import SCAN_FAILURES, CaseError, describe_failure
from mapping_stroke.evaluation.contributions import (
    MOST_SCHEMES,
    STEP_COLUMNS,
    Contributions,
    Step,
    all_subsets,
    dice_of_subsets,
    step_row,
)
from mapping_stroke.evaluation.paired_tests import TEST_COLUMNS, compare_methods, paired_row
from mapping_stroke.evaluation.tables import CaseScore, order_methods
from mapping_stroke.files import file_state, fingerprint, list_files, read_object, remove, write_csv, write_json
from mapping_stroke.images.image import read_image, require_same_grid
from mapping_stroke.report.curves import draw_contributions
from mapping_stroke.report.pages import Picture, Results, Statistics
from mapping_stroke.report.publication import PublishedTable, interval_rows, publish, write_published
from mapping_stroke.report.strata import STRATA_COLUMNS, strata_rows, stratify
from mapping_stroke.run_folder import ENSEMBLE, PROBABILITY_SUFFIX, RunFolder
from mapping_stroke.stages.evaluate import read_scores

CONTRIBUTIONS = "Contribution of each scheme"
CONTRIBUTIONS_CAPTION = (
    "Dice of the mean map of some schemes, P > 0.5, without post-processing, on the {cases} labelled cases with "
    "maps of each scheme, by networks that never saw them. Lines: 95 % intervals. The greedy order was chosen on the "
    "same cases, so its curve is slightly optimistic."
)
TABLE_2_FILES = ("table2.csv", "table2.txt", "table2.md", "table2.tex")
LEDGER_FILE = "members.json"
"""Next to the page: Dice of every subset of schemes for each case, under the state of its files."""
STEPS = 10_000
"""Steps from P = 0 to 1: stored maps have four decimals."""
READERS = 2
"""Threads that read maps; most of that time is outside Python's lock."""


def people_of(cases: Sequence[Case]) -> dict[str, str]:
    """Case to person; a case of an unknown person is a person of its own."""
    return {case.case_id: case.subject or case.case_id for case in cases}


def write_statistics(
    run: RunFolder, cases: Sequence[Case], scores: Sequence[CaseScore], results: Results
) -> tuple[Statistics, list[str]]:
    """Write all tables of the report next to its page.

    Returns:
        The statistics for the page; and a line for every file that could not be used.
    """
    folder, people = run.report_html.parent, people_of(cases)
    write_published(results.published, folder)
    write_folds(results, folder / "table1_folds.csv")
    metrics = results.table.metrics
    tests = compare_methods(scores, metrics, people)
    write_csv(folder / "tests.csv", TEST_COLUMNS, map(paired_row, tests))
    strata = stratify(scores, cases)
    write_csv(folder / "strata.csv", STRATA_COLUMNS, strata_rows(strata))
    steps, picture, problems = write_contributions(run, cases)
    statistics = Statistics(
        tests=[(metric, [test for test in tests if test.metric == metric.key]) for metric in metrics],
        strata=strata,
        table_2=write_table_2(run, cases),
        steps=steps,
        contributions=picture,
    )
    return statistics, problems


def write_folds(results: Results, path: Path) -> None:
    """Write the table of each fold below one another; only the header without folds."""
    rows: list[Mapping[str, object]] = []
    for table in results.fold_tables:
        rows += [{"fold": table.title.removeprefix("Fold "), **row} for row in interval_rows(table)]
    write_csv(path, ["fold", *interval_rows(results.table)[0]], rows)


def write_table_2(run: RunFolder, cases: Sequence[Case]) -> PublishedTable | None:
    """Write the paper's Table 2 for the test scans of the run; without their scores, remove an outdated one."""
    if not run.test_scores_csv.is_file():
        for name in TABLE_2_FILES:
            remove(run.report_html.with_name(name))
        return None
    scores = read_scores(run.test_scores_csv, f"mapping evaluate {run.path} --references FOLDER")
    voxels = voxels_of(cases, {score.case_id for score in scores})
    published = publish(2, scores, people_of(cases), voxels)
    write_published(published, run.report_html.parent)
    return published


def write_contributions(run: RunFolder, cases: Sequence[Case]) -> tuple[list[Step], Picture | str, list[str]]:
    """Write `members.csv` and its picture, which is a note if there is nothing to compare; and problems."""
    found, problems = find_contributions(run, cases)
    steps = [] if isinstance(found, str) else found.steps()
    write_csv(run.report_html.with_name("members.csv"), STEP_COLUMNS, map(step_row, steps))
    png = run.report_html.with_name("members.png")
    if isinstance(found, str):
        remove(png)
        return steps, f"{CONTRIBUTIONS}: left out, {found}.", problems
    draw_contributions(steps, png)
    return steps, Picture(png, CONTRIBUTIONS, CONTRIBUTIONS_CAPTION.format(cases=len(found.people))), problems


def find_contributions(run: RunFolder, cases: Sequence[Case]) -> tuple[Contributions | str, list[str]]:
    """Score every subset of the run's schemes on the labelled cases that have a map of each scheme.

    Each labelled case was predicted by the members of its own fold, which never saw it. Cases whose maps and mask have
    not changed since the last report are not read again.

    Returns:
        The scores, or why there are none; and a line for each case that cannot be read.
    """
    schemes = _find_schemes(run)
    if not 2 <= len(schemes) <= MOST_SCHEMES:
        return f"this run has maps of {counted(len(schemes), 'scheme')}, expected 2 to {MOST_SCHEMES}", []
    files = {
        case.case_id: [run.probabilities(s) / f"{case.case_id}{PROBABILITY_SUFFIX}" for s in schemes] for case in cases
    }
    own = [case for case in cases if case.mask and all(path.is_file() for path in files[case.case_id])]
    ledger = run.report_html.with_name(LEDGER_FILE)
    scored, problems = _score(own, files, schemes, ledger)
    if not scored:
        return "no labelled case has a map of each scheme", problems
    people = tuple(case.subject or case.case_id for case in own if case.case_id in scored)
    dice = np.array([entry["dice"] for entry in scored.values()], np.float64)
    return Contributions(tuple(schemes), people, dice), problems


def _find_schemes(run: RunFolder) -> list[str]:
    folder = run.probabilities(ENSEMBLE).parent
    if not folder.is_dir():
        return []
    with_maps = (each.name for each in folder.iterdir() if list_files(each, f"*{PROBABILITY_SUFFIX}"))
    return order_methods(set(with_maps) - {ENSEMBLE})


Ledger = dict[str, dict]
"""Case to the state of its files (`files`) and the Dice of every subset (`dice`)."""


def _score(
    cases: Sequence[Case], files: Mapping[str, Sequence[Path]], schemes: Sequence[str], ledger: Path
) -> tuple[Ledger, list[str]]:
    """The scores of the cases in order, and the problems. Known scores are kept, new ones are stored."""
    states = {case.case_id: _state(case, files[case.case_id], schemes) for case in cases}
    scored: Ledger = {
        case_id: entry
        for case_id, entry in read_object(ledger).items()
        if isinstance(entry, dict) and _is_valid(entry, states.get(case_id), len(schemes))
    }
    new = [case for case in cases if case.case_id not in scored]
    problems = []
    pool = ThreadPoolExecutor(min(READERS, os.cpu_count() or 1))
    try:
        results = pool.map(lambda case: _try(case, files[case.case_id]), new)
        for case, dice in zip(new, track(results, "Comparing schemes", len(new)), strict=True):
            if isinstance(dice, str):
                problems.append(f"{case.case_id}: left out of the comparison of schemes: {dice}")
            else:
                scored[case.case_id] = {"files": states[case.case_id], "dice": dice}
    finally:  # also after an interruption, since reading takes long
        pool.shutdown(cancel_futures=True)
        ordered = {case.case_id: scored[case.case_id] for case in cases if case.case_id in scored}
        write_json(ledger, ordered)
    return ordered, problems


def _state(case: Case, maps: Sequence[Path], schemes: Sequence[str]) -> str:
    return fingerprint([list(schemes), *(file_state(path) for path in (case.mask, *maps) if path)])


def _is_valid(entry: dict, state: str | None, schemes: int) -> bool:
    dice = entry.get("dice")
    return entry.get("files") == state and isinstance(dice, list) and len(dice) == len(all_subsets(schemes))


def _try(case: Case, maps: Sequence[Path]) -> list[float] | str:
    try:
        return _read(case, maps)
    except SCAN_FAILURES as error:
        return describe_failure(error)


def _read(case: Case, maps: Sequence[Path]) -> list[float]:
    if case.mask is None:
        raise CaseError("it has no reference mask")
    mask = read_image(case.mask)
    volumes = []
    for path in maps:
        image = read_image(path)
        require_same_grid(image, mask, (f"{path}: the map", "its reference"), "run `mapping predict` again")
        volumes.append(image.voxels)
    inside = np.logical_or.reduce([volume > 0.5 for volume in volumes])  # no mean exceeds 0.5 elsewhere
    reference = mask.voxels > 0
    steps = np.rint(np.array([volume[inside] for volume in volumes]) * STEPS).astype(np.int32)
    return dice_of_subsets(steps, STEPS // 2, reference[inside], int(reference.sum()))
