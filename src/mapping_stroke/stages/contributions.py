"""What each scheme of a run adds to the ensemble, from the maps of `mapping predict`."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from mapping_stroke.console import counted, track
from mapping_stroke.dataset.cases import Case
from mapping_stroke.errors import SCAN_FAILURES, CaseError, describe_failure
from mapping_stroke.evaluation.contributions import MOST_SCHEMES, Contributions, all_subsets, dice_of_subsets
from mapping_stroke.evaluation.tables import order_methods
from mapping_stroke.files import file_state, fingerprint, list_files, read_object, write_json
from mapping_stroke.images.image import read_image, require_same_grid
from mapping_stroke.run_folder import ENSEMBLE, PROBABILITY_SUFFIX, RunFolder

LEDGER_FILE = "members.json"
"""Next to the page: Dice of every subset of schemes for each case, under the state of its files."""
STEPS = 10_000
"""Steps from P = 0 to 1: stored maps have four decimals."""
READERS = 2
"""Threads that read maps; most of that time is outside Python's lock."""


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
