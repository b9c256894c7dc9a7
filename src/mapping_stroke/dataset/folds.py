"""Folds with near-equal distributions of lesion load, how equal they are, and assignments from files."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import numpy as np

from mapping_stroke.dataset.cases import Case
from mapping_stroke.dataset.fold_search import deal_out, largest_distance, search_folds
from mapping_stroke.errors import FoldsError
from mapping_stroke.files import read_csv, write_csv

COLUMNS = ("case_id", "fold")
"""Of `folds.csv`."""
AUTHORS_COLUMNS = ("Name", "Fold")
"""Of the authors' `fold_index.csv`: names are those of the scans, without suffix."""
SHOWN = 3
"""Cases named in an error; the rest are counted."""


def size_balanced_folds(
    loads: Mapping[str, int], folds: int = 5, seed: int = 0, groups: Mapping[str, str] | None = None
) -> dict[str, int]:
    """Split cases into folds with near-equal distributions of lesion load and near-equal numbers of cases.

    Args:
        loads: Case id to its lesion load in voxels, 0 or more; their order does not matter.
        folds: Number of folds, 2 or more.
        seed: The same seed gives the same folds; another seed gives others of like quality.
        groups: Case id to its group (person, site), for every case; a group stays in one fold. None: no groups.

    Returns:
        Case id to fold, 0..folds-1, in the order of `loads`; no fold is empty. Without groups, the numbers of cases
        differ by at most one, and where they do not, no assignment has a smaller Kolmogorov-Smirnov distance.

    Raises:
        FoldsError: Fewer cases or groups than folds, fewer than two folds, a negative load or seed, or a case
            without a group.

    Source: the paper balances its folds by lesion size (Huo et al. 2022) and does not say how; see
    `docs/decisions/0005-size-balanced-folds.md`.
    """
    case_ids, group_of = _number_groups(loads, folds, seed, groups)
    negative = [case_id for case_id in case_ids if not loads[case_id] >= 0]  # nor NaN
    if negative:
        raise FoldsError(f"{negative[0]}: has a load of {loads[negative[0]]} voxels, expected 0 or more")
    rng = np.random.default_rng(seed)
    load_of = np.array([loads[case_id] for case_id in case_ids], np.int64)
    ascending = np.lexsort((rng.permutation(load_of.size), load_of))
    fold_of = search_folds(load_of[ascending], group_of[ascending], folds, rng)[group_of]
    found = dict(zip(case_ids, fold_of.tolist(), strict=True))
    return {case_id: found[case_id] for case_id in loads}


def random_folds(
    case_ids: Iterable[str], folds: int = 5, seed: int = 0, groups: Mapping[str, str] | None = None
) -> dict[str, int]:
    """Split cases into folds at random, with near-equal numbers of cases: what `size_balanced_folds` is compared with.

    Arguments and errors as there; the loads play no part.
    """
    case_ids, group_of = _number_groups(case_ids, folds, seed, groups)
    fold_of = deal_out(np.bincount(group_of), folds, np.random.default_rng(seed))[group_of]
    return dict(zip(case_ids, fold_of.tolist(), strict=True))


def fold_distances(loads: Mapping[str, int], assignment: Mapping[str, int]) -> dict[int, float]:
    """Two-sample Kolmogorov-Smirnov distance of each fold's loads to those of all other folds.

    Args:
        loads: Case id to load in voxels, for every case of the assignment at least.
        assignment: Case id to fold.

    Returns:
        Fold to its distance, in [0, 1], ascending by fold; 0.0 for two like distributions.

    Raises:
        FoldsError: There are fewer than two folds, or a case has no load.
    """
    numbers = sorted(set(assignment.values()))
    if len(numbers) < 2:
        raise FoldsError(
            f"all cases lie in {len(numbers)} fold, expected two or more; a fold is compared with the rest"
        )
    unknown = [case_id for case_id in assignment if case_id not in loads]
    if unknown:
        raise FoldsError(f"{_named(unknown)}: no lesion load is known; run `mapping prepare` again")
    ordered = sorted(assignment, key=lambda case_id: loads[case_id])
    fold_of = np.searchsorted(numbers, [assignment[case_id] for case_id in ordered])
    distances = largest_distance(np.array([loads[case_id] for case_id in ordered]), fold_of, len(numbers))
    return dict(zip(numbers, distances.tolist(), strict=True))


def largest_fold_distance(loads: Mapping[str, int], assignment: Mapping[str, int]) -> float:
    """The largest of `fold_distances`: how unlike the rest the most unlike fold is, in [0, 1]."""
    return max(fold_distances(loads, assignment).values())


def require_whole_groups(assignment: Mapping[str, int], groups: Mapping[str, str], noun: str = "subject") -> None:
    """Raise `FoldsError` if cases of one group lie in two folds, and name the first such group.

    Args:
        assignment: Case id to fold.
        groups: Case id to group, for every case of the assignment.
        noun: What a group is, for the message.
    """
    first: dict[str, str] = {}
    for case_id in sorted(assignment):
        other = first.setdefault(groups[case_id], case_id)
        if assignment[other] != assignment[case_id]:
            raise FoldsError(
                f"{noun} {groups[case_id]} lies in two folds ({other} in {assignment[other]}, {case_id} in "
                f"{assignment[case_id]}), so networks would be tested on whom they were trained on; give it one fold"
            )


def write_folds(path: Path, assignment: Mapping[str, int]) -> None:
    """Write `folds.csv`, sorted by case id."""
    rows = ({"case_id": case_id, "fold": assignment[case_id]} for case_id in sorted(assignment))
    write_csv(path, COLUMNS, rows)


def read_folds(path: Path, cases: Iterable[Case]) -> dict[str, int]:
    """Read a fold assignment: our `folds.csv`, or the authors' form.

    Args:
        path: CSV with the columns `case_id,fold`, or `Name,Fold` with names such as
            `sub-r001s001_ses-1_space-MNI152NLin2009aSym_T1w`, which are matched to case ids by their leading parts.
        cases: The labelled cases; each must have a fold, and no other may.

    Returns:
        Case id to fold (0 or more), in the order of `cases`.

    Raises:
        FoldsError: The file is missing or damaged, names a case that is unknown or twice, leaves one out, has a fold
            that is no whole number or only one fold, or splits a person.
    """
    subjects = {case.case_id: case.subject for case in cases}
    rows = _read_rows(path, subjects)
    unknown = [name for name, case_id, _ in rows if case_id is None]
    if unknown:
        raise FoldsError(
            f"{path}: {_named(unknown)}: unknown case id; remove it, or prepare the data set it belongs to"
        )
    assignment: dict[str, int] = {}
    for _, case_id, fold in rows:
        if case_id in assignment:
            raise FoldsError(f"{path}: case {case_id} comes more than once, expected one fold for each; remove a line")
        if not fold.strip().isdecimal():
            raise FoldsError(f"{path}: case {case_id} has fold {fold!r}, expected a whole number 0, 1, ...; correct it")
        assignment[str(case_id)] = int(fold)
    missing = [case_id for case_id in subjects if case_id not in assignment]
    if missing:
        raise FoldsError(f"{path}: {_named(missing)}: no fold; add a line for each labelled case")
    if len(set(assignment.values())) < 2:
        raise FoldsError(f"{path}: all cases lie in one fold, expected two or more; nothing would be left to train on")
    require_whole_groups(assignment, subjects)
    return {case_id: assignment[case_id] for case_id in subjects}


def _number_groups(
    case_ids: Iterable[str], folds: int, seed: int, groups: Mapping[str, str] | None
) -> tuple[list[str], np.ndarray]:
    """Sorted case ids and the number of each one's group, after checking the request."""
    ordered = sorted(case_ids)
    if folds < 2:
        raise FoldsError(f"got {folds} folds, expected 2 or more; give --number 2 or more")
    if seed < 0:
        raise FoldsError(f"got seed {seed}, expected 0 or more; give --seed 0 or more")
    if len(ordered) < folds:
        raise FoldsError(
            f"fewer cases than folds: {len(ordered)} labelled cases for {folds} folds; ask for fewer folds"
        )
    if groups is None:
        return ordered, np.arange(len(ordered))
    lacking = [case_id for case_id in ordered if not groups.get(case_id)]
    if lacking:
        raise FoldsError(f"{_named(lacking)}: group unknown, expected one for every case; group by something else")
    number = {group: index for index, group in enumerate(dict.fromkeys(groups[case_id] for case_id in ordered))}
    if len(number) < folds:
        raise FoldsError(
            f"fewer groups than folds: {len(number)} groups of cases for {folds} folds; ask for fewer folds"
        )
    return ordered, np.array([number[groups[case_id]] for case_id in ordered])


def _read_rows(path: Path, case_ids: Collection[str]) -> list[tuple[str, str | None, str]]:
    """Name, case id (None where unknown) and fold of every line."""
    try:
        rows = read_csv(path)
    except (OSError, ValueError) as error:
        raise FoldsError(f"{path}: cannot be read ({error}); give a CSV file with the columns case_id,fold") from error
    known = set(case_ids)
    columns = rows[0].keys() if rows else ()
    if set(COLUMNS) <= set(columns):
        return [
            (row["case_id"], row["case_id"] if row["case_id"] in known else None, row["fold"] or "") for row in rows
        ]
    if set(AUTHORS_COLUMNS) <= set(columns):
        return [(row["Name"], _case_of_scan(row["Name"], known), row["Fold"] or "") for row in rows]
    found = f"the columns {', '.join(map(str, columns))}" if rows else "no lines"
    raise FoldsError(f"{path}: has {found}, expected case_id,fold (or Name,Fold); correct its first line")


def _case_of_scan(name: str, case_ids: Collection[str]) -> str | None:
    """The longest case id that a scan's name is or starts with, at the end of a part; None if there is none."""
    parts = name.split("_")
    leading = ("_".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((case_id for case_id in leading if case_id in case_ids), None)


def _named(case_ids: Collection[str]) -> str:
    shown = ", ".join(list(case_ids)[:SHOWN])
    return shown if len(case_ids) <= SHOWN else f"{shown} and {len(case_ids) - SHOWN} more"
