"""Folds with near-equal distributions of lesion load: the search, their distances, and their file."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from mapping_stroke.console import listed
from mapping_stroke.dataset.cases import Case, FoundCase
from mapping_stroke.errors import FoldsError
from mapping_stroke.files import read_csv, write_csv

CaseLoads = Int64[np.ndarray, " cases"]  # lesion voxels, ascending
CaseGroups = Int64[np.ndarray, " cases"]  # group of each case, 0..groups-1, in the order of the loads
GroupFolds = Int64[np.ndarray, " groups"]  # fold of each group

COARSE_LEVELS, FINE_LEVELS = 128, 1024
"""Number of loads (quantiles) at which distributions are compared, in every attempt and then in the best one."""
ATTEMPTS = 2000
"""Groups dealt out in all attempts together: few groups get many attempts, at least 3 and at most one per group."""
PARTNERS = 64
"""Exchanges compared for a group at a time."""
PATIENCE = 150
"""A search ends after this many groups in a row without an improvement, or after all of them."""
EMPTY_FOLD = 1e3
"""Cost of a fold without cases, above that of any other."""
GROUP_TOO_LARGE, SHARE_TOO_LARGE = 0.04, 0.15
"""Kolmogorov-Smirnov distances that weigh as much as a fold too large by one average group, or by its own size."""
SQUARINGS = 3
"""Distances are squared this many times before they are averaged, so that the largest dominate."""


@dataclass(frozen=True, eq=False)
class Counts:
    """Cumulative numbers of cases of every group, by levels of load.

    Attributes:
        below: Number of the group's cases with at most the level's load.
        sizes: Number of the group's cases.
        folds: Number of folds to make.
    """

    below: Float64[np.ndarray, "groups levels"]
    sizes: Float64[np.ndarray, " groups"]
    folds: int


def largest_distance(loads: CaseLoads, fold_of: CaseGroups, folds: int) -> Float64[np.ndarray, " folds"]:
    """Two-sample Kolmogorov-Smirnov distance between each fold's loads and all others, in [0, 1].

    Args:
        loads: Ascending.
        fold_of: Fold of each case, each 0..folds-1 at least once and not all the same.
        folds: Number of folds.
    """
    # distributions are compared after the last case of each load, since ties have no order
    below = np.cumsum(np.equal.outer(np.arange(folds), fold_of), axis=1)[:, np.append(loads[1:] != loads[:-1], True)]
    sizes = below[:, -1:]
    rest = below.sum(axis=0) - below
    return np.asarray(np.abs(below / sizes - rest / rest[:, -1:]).max(axis=1))


def search_folds(loads: CaseLoads, group_of: CaseGroups, folds: int, rng: np.random.Generator) -> GroupFolds:
    """Assign groups to folds such that the largest distance and the differences in size are small.

    If every group is a single case, no search is needed: each run of as many cases, ordered by load, as there are folds
    is dealt out one to a fold, and no assignment to folds of equal size has a smaller distance. Otherwise, groups of
    several cases are dealt out at random and improved by moves and exchanges, single cases fill the gaps, and all are
    improved together. The best of several such attempts is improved once more, at finer levels of load.

    Args:
        loads: Ascending.
        group_of: Group of each case; at least as many groups as folds.
        folds: 2 or more.
        rng: Decides among assignments of similar quality.

    Returns:
        The fold of each group; no fold is empty.
    """
    sizes = np.bincount(group_of)
    if sizes.max() == 1:
        wanted = np.full(folds, float(loads.size // folds))
        wanted[rng.permutation(folds)[: loads.size % folds]] += 1  # which folds get one case more is random
        return _fill_with_singles(np.full(sizes.size, -1), group_of, wanted, rng)
    counts = _count(loads, group_of, folds, COARSE_LEVELS)
    several = np.flatnonzero(sizes > 1)
    of_several = Counts(counts.below[several], counts.sizes[several], folds)
    equal = np.full(folds, loads.size / folds)
    attempts = []
    for _ in range(max(3, min(ATTEMPTS // sizes.size, sizes.size))):
        fold_of = np.full(sizes.size, -1)
        fold_of[several] = _improve(of_several, deal_out(sizes[several], folds, rng), rng)
        attempts.append(_improve(counts, _fill_with_singles(fold_of, group_of, equal, rng), rng))
    # the search compares coarse levels; the winner is chosen by the exact distance
    best = min(attempts, key=lambda fold_of: _badness(loads, group_of, fold_of, folds))
    finer = _improve(_count(loads, group_of, folds, FINE_LEVELS), best, rng)
    return min(best, finer, key=lambda fold_of: _badness(loads, group_of, fold_of, folds))


def deal_out(sizes: Int64[np.ndarray, " groups"], folds: int, rng: np.random.Generator) -> GroupFolds:
    """Deal out groups in random order, each to the fold with the fewest cases so far (ties at random)."""
    fold_of = np.empty(sizes.size, np.int64)
    cases = np.zeros(folds)
    for group in rng.permutation(sizes.size):
        fold_of[group] = rng.choice(np.flatnonzero(cases == cases.min()))
        cases[fold_of[group]] += sizes[group]
    return fold_of


def _count(loads: CaseLoads, group_of: CaseGroups, folds: int, levels: int) -> Counts:
    ends = np.append(np.flatnonzero(loads[1:] != loads[:-1]), loads.size - 1)  # last case of each load
    if ends.size > levels:
        ends = ends[np.unique(np.linspace(0, ends.size - 1, levels).round().astype(np.int64))]
    level_of = np.searchsorted(ends, np.arange(loads.size))
    within = np.zeros((int(group_of.max()) + 1, ends.size))
    np.add.at(within, (group_of, level_of), 1)
    return Counts(within.cumsum(axis=1), within.sum(axis=1), folds)


def _fill_with_singles(
    fold_of: GroupFolds, group_of: CaseGroups, wanted: Float64[np.ndarray, " folds"], rng: np.random.Generator
) -> GroupFolds:
    """Assign each group without a fold (-1), which has one case, in order of load to the fold that lags behind most.

    `wanted` is the final number of cases of each fold; ties are broken at random.
    """
    filled = fold_of.copy()
    cases = np.zeros(wanted.size)
    for group in group_of:  # once per case, in order of load
        if filled[group] < 0:
            done = (cases + 0.5) / wanted  # as if half of the next case were in
            filled[group] = rng.choice(np.flatnonzero(done == done.min()))
        cases[filled[group]] += 1
    return filled


def _badness(loads: CaseLoads, group_of: CaseGroups, fold_of: GroupFolds, folds: int) -> float:
    sizes = np.bincount(fold_of[group_of], minlength=folds)
    too_large = np.abs(sizes - loads.size / folds).max() * _imbalance(loads.size, fold_of.size, folds)
    return float(largest_distance(loads, fold_of[group_of], folds).max() + too_large)


def _imbalance(cases: float, groups: int, folds: int) -> float:
    """Distance that weighs as much as a fold too large by one case."""
    return GROUP_TOO_LARGE * groups / cases + SHARE_TOO_LARGE * folds / cases


@dataclass(frozen=True, eq=False)
class Changes:
    """Ways to move one group out of its fold: exchanges with other groups, then plain moves.

    Attributes:
        partners: The other group of each exchange.
        targets: The group's new fold, for each exchange and then each move.
        below: The gain of the group's fold (and loss of the target), as `Counts.below`.
        sizes: The same, as `Counts.sizes`.
    """

    partners: Int64[np.ndarray, " exchanges"]
    targets: Int64[np.ndarray, " changes"]
    below: Float64[np.ndarray, "changes levels"]
    sizes: Float64[np.ndarray, " changes"]


def _improve(counts: Counts, fold_of: GroupFolds, rng: np.random.Generator) -> GroupFolds:
    """Move groups to another fold, or exchange two, as long as the folds become more similar."""
    fold_of = fold_of.copy()
    below = np.zeros((counts.folds, counts.below.shape[1]))
    np.add.at(below, fold_of, counts.below)
    sizes = np.bincount(fold_of, counts.sizes, counts.folds)
    costs = _costs(counts, below, sizes)
    order, turn, in_vain = rng.permutation(fold_of.size), 0, 0
    while in_vain < min(PATIENCE, fold_of.size):
        group = int(order[turn % fold_of.size])
        turn, in_vain = turn + 1, in_vain + 1
        fold = fold_of[group]
        changes = _propose(counts, fold_of, group, rng)
        here = _costs(counts, below[fold] + changes.below, sizes[fold] + changes.sizes)
        there = _costs(counts, below[changes.targets] - changes.below, sizes[changes.targets] - changes.sizes)
        gains = costs[fold] + costs[changes.targets] - here - there
        best = int(gains.argmax())
        if gains[best] <= 1e-9 * costs.sum():  # rounding must not keep the search going
            continue
        in_vain, target = 0, changes.targets[best]
        for its_fold, sign, cost in ((fold, 1, here[best]), (target, -1, there[best])):
            below[its_fold] += sign * changes.below[best]
            sizes[its_fold] += sign * changes.sizes[best]
            costs[its_fold] = cost
        fold_of[group] = target
        fold_of[changes.partners[best : best + 1]] = fold  # an empty slice for a plain move
    return fold_of


def _propose(counts: Counts, fold_of: GroupFolds, group: int, rng: np.random.Generator) -> Changes:
    partners = np.flatnonzero(fold_of != fold_of[group])
    if partners.size > PARTNERS:
        partners = rng.choice(partners, PARTNERS, replace=False)
    moves = np.delete(np.arange(counts.folds), fold_of[group])
    incoming = np.vstack([counts.below[partners], np.zeros((moves.size, counts.below.shape[1]))])
    return Changes(
        partners=partners,
        targets=np.append(fold_of[partners], moves),
        below=incoming - counts.below[group],
        sizes=np.append(counts.sizes[partners], np.zeros(moves.size)) - counts.sizes[group],
    )


def _costs(
    counts: Counts, below: Float64[np.ndarray, "n levels"], sizes: Float64[np.ndarray, " n"]
) -> Float64[np.ndarray, " n"]:
    """Cost of folds with these counts: their distance from the rest in load and in size. The search minimises it."""
    total = float(counts.sizes.sum())
    inside = np.clip(sizes, 1, total - 1)[:, None]  # no division by 0 for an empty fold or an empty rest
    distances = below / inside - (counts.below.sum(axis=0) - below) / (total - inside)
    for _ in range(SQUARINGS):
        distances *= distances
    too_large = (sizes - total / counts.folds) * _imbalance(total, counts.sizes.size, counts.folds)
    cost = distances.mean(axis=1) + too_large ** (2**SQUARINGS)
    return np.where(sizes > 0, cost, EMPTY_FOLD)


COLUMNS = ("case_id", "fold")
"""Columns of `folds.csv`."""
AUTHORS_COLUMNS = ("Name", "Fold")
"""Columns of the authors' `fold_index.csv`; its names are those of the scans, without suffix."""
SHOWN = 3
"""Number of cases listed in an error; the rest are counted."""


def size_balanced_folds(
    loads: Mapping[str, int], folds: int = 5, seed: int = 0, groups: Mapping[str, str] | None = None
) -> dict[str, int]:
    """Split cases into folds with near-equal distributions of lesion load and near-equal numbers of cases.

    Args:
        loads: Case id to its lesion load in voxels, 0 or more; their order does not matter.
        folds: Number of folds, 2 or more.
        seed: The same seed gives the same folds; another seed gives others of similar quality.
        groups: Case id to its group (person, site), for every case; a group stays in one fold. None for no groups.

    Returns:
        Case id to fold, 0..folds-1, in the order of `loads`; no fold is empty. Without groups, the sizes of the folds
        differ by at most one; if they are equal, no assignment has a smaller Kolmogorov-Smirnov distance.

    Raises:
        FoldsError: Fewer cases or groups than folds, fewer than two folds, a negative load or seed, or a case
            without a group.

    Source: the paper balances its folds by lesion size (Huo et al. 2022) but does not say how; see
    `docs/decisions/0005-size-balanced-folds.md`.
    """
    case_ids, group_of = _number_groups(loads, folds, seed, groups)
    negative = [case_id for case_id in case_ids if not loads[case_id] >= 0]  # nor NaN
    if negative:
        raise FoldsError(f"{negative[0]}: has a load of {loads[negative[0]]} voxels, expected 0 or more")
    rng = np.random.default_rng(seed)
    load_of = np.array([loads[case_id] for case_id in case_ids], np.int64)
    ascending = np.lexsort((rng.permutation(load_of.size), load_of))  # equal loads in random order
    fold_of = search_folds(load_of[ascending], group_of[ascending], folds, rng)[group_of]
    found = dict(zip(case_ids, fold_of.tolist(), strict=True))
    return {case_id: found[case_id] for case_id in loads}


def random_folds(
    case_ids: Iterable[str], folds: int = 5, seed: int = 0, groups: Mapping[str, str] | None = None
) -> dict[str, int]:
    """Split cases into folds at random, with near-equal numbers of cases, for comparison with `size_balanced_folds`.

    Same arguments and errors; the loads are not used.
    """
    case_ids, group_of = _number_groups(case_ids, folds, seed, groups)
    fold_of = deal_out(np.bincount(group_of), folds, np.random.default_rng(seed))[group_of]
    return dict(zip(case_ids, fold_of.tolist(), strict=True))


def fold_distances(loads: Mapping[str, int], assignment: Mapping[str, int]) -> dict[int, float]:
    """Two-sample Kolmogorov-Smirnov distance between each fold's loads and those of all other folds.

    Args:
        loads: Case id to load in voxels, for at least every case of the assignment.
        assignment: Case id to fold.

    Returns:
        Fold to its distance, in [0, 1], ascending by fold; 0.0 if the distributions are equal.

    Raises:
        FoldsError: There are fewer than two folds, or a case has no load.
    """
    numbers = sorted(set(assignment.values()))
    if len(numbers) < 2:
        raise FoldsError(
            f"all cases are in {len(numbers)} fold, expected two or more; each fold is compared with the rest"
        )
    unknown = [case_id for case_id in assignment if case_id not in loads]
    if unknown:
        raise FoldsError(f"{listed(unknown, SHOWN)}: the lesion load is unknown; run `mapping prepare` again")
    ordered = sorted(assignment, key=lambda case_id: loads[case_id])
    fold_of = np.searchsorted(numbers, [assignment[case_id] for case_id in ordered])
    distances = largest_distance(np.array([loads[case_id] for case_id in ordered]), fold_of, len(numbers))
    return dict(zip(numbers, distances.tolist(), strict=True))


def largest_fold_distance(loads: Mapping[str, int], assignment: Mapping[str, int]) -> float:
    """The largest of `fold_distances`, in [0, 1]."""
    return max(fold_distances(loads, assignment).values())


def require_whole_groups(assignment: Mapping[str, int], groups: Mapping[str, str], noun: str = "subject") -> None:
    """Raise `FoldsError`, naming the first such group, if cases of one group are in two folds.

    Args:
        assignment: Case id to fold.
        groups: Case id to group, for every case of the assignment.
        noun: Kind of group, for the message.
    """
    first: dict[str, str] = {}
    for case_id in sorted(assignment):
        other = first.setdefault(groups[case_id], case_id)
        if assignment[other] != assignment[case_id]:
            raise FoldsError(
                f"{noun} {groups[case_id]} is in two folds ({other} in {assignment[other]}, {case_id} in "
                f"{assignment[case_id]}), so networks would be tested on training subjects; give it one fold"
            )


def write_folds(path: Path, assignment: Mapping[str, int]) -> None:
    """Write `folds.csv`, sorted by case id."""
    rows = ({"case_id": case_id, "fold": assignment[case_id]} for case_id in sorted(assignment))
    write_csv(path, COLUMNS, rows)


def read_folds(path: Path, cases: Iterable[Case | FoundCase]) -> dict[str, int]:
    """Read a fold assignment: our `folds.csv`, or the authors' format.

    Args:
        path: CSV with the columns `case_id,fold`, or `Name,Fold` with names such as
            `sub-r001s001_ses-1_space-MNI152NLin2009aSym_T1w`, which are matched to case ids by their leading parts.
        cases: The labelled cases; each must have a fold, and no other may.

    Returns:
        Case id to fold (0 or more), in the order of `cases`.

    Raises:
        FoldsError: The file is missing or damaged, lists an unknown case or one twice, omits one, has a fold that is
            not a whole number or only one fold, or splits a person.
    """
    subjects = {case.case_id: case.subject for case in cases}
    rows = _read_rows(path, subjects)
    unknown = [name for name, case_id, _ in rows if case_id is None]
    if unknown:
        raise FoldsError(f"{path}: {listed(unknown, SHOWN)}: unknown case id; remove it, or prepare its data set")
    assignment: dict[str, int] = {}
    for _, case_id, fold in rows:
        if case_id in assignment:
            raise FoldsError(f"{path}: case {case_id} occurs more than once, expected one fold for each; remove a line")
        if not fold.strip().isdecimal():
            raise FoldsError(f"{path}: case {case_id} has fold {fold!r}, expected a whole number 0, 1, ...; correct it")
        assignment[str(case_id)] = int(fold)
    missing = [case_id for case_id in subjects if case_id not in assignment]
    if missing:
        raise FoldsError(f"{path}: {listed(missing, SHOWN)}: no fold; add a line for each labelled case")
    if len(set(assignment.values())) < 2:
        raise FoldsError(f"{path}: all cases are in one fold, expected two or more; nothing would be left to train on")
    require_whole_groups(assignment, subjects)
    return {case_id: assignment[case_id] for case_id in subjects}


def _number_groups(
    case_ids: Iterable[str], folds: int, seed: int, groups: Mapping[str, str] | None
) -> tuple[list[str], np.ndarray]:
    """Sorted case ids and the number of each case's group, after checking the request."""
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
        raise FoldsError(
            f"{listed(lacking, SHOWN)}: group unknown, expected one for every case; group by something else"
        )
    number = {group: index for index, group in enumerate(dict.fromkeys(groups[case_id] for case_id in ordered))}
    if len(number) < folds:
        raise FoldsError(
            f"fewer groups than folds: {len(number)} groups of cases for {folds} folds; ask for fewer folds"
        )
    return ordered, np.array([number[groups[case_id]] for case_id in ordered])


def _read_rows(path: Path, case_ids: Collection[str]) -> list[tuple[str, str | None, str]]:
    """Name, case id (None if unknown) and fold of every line."""
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
    """The longest case id that consists of leading parts of a scan's name; None if there is none."""
    parts = name.split("_")
    leading = ("_".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((case_id for case_id in leading if case_id in case_ids), None)
