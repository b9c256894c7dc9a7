"""The search behind size-balanced folds: deal out whole groups of cases so that every fold has the same loads."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

CaseLoads = Int64[np.ndarray, " cases"]  # lesion voxels, ascending
CaseGroups = Int64[np.ndarray, " cases"]  # group of each case, 0..groups-1, in the order of the loads
GroupFolds = Int64[np.ndarray, " groups"]  # fold of each group

COARSE_LEVELS, FINE_LEVELS = 128, 1024
"""Loads at which distributions are compared in every attempt, then in the best: quantiles, or all if they are fewer."""
ATTEMPTS = 2000
"""Attempts, by the number of groups: 2000 groups are dealt out in all, at least 3 times and at most once per group."""
PARTNERS = 64
"""Exchanges tried at once for a group."""
PATIENCE = 150
"""Groups tried in vain before a search ends; all, where there are fewer."""
EMPTY_FOLD = 1e3
"""Cost of a fold without cases: more than any other."""
GROUP_TOO_LARGE, SHARE_TOO_LARGE = 0.04, 0.15
"""Kolmogorov-Smirnov distance that is as bad as a fold too large by one average group; by its own size (add both)."""
SQUARINGS = 3
"""Distances are raised to the power 2 ** 3 before they are added up, so that the largest decide."""


@dataclass(frozen=True, eq=False)
class Counts:
    """The cases of every group up to each level of load.

    Attributes:
        below: Cases of the group with a load of at most the level's.
        sizes: Cases of the group.
        folds: Number of folds to make.
    """

    below: Float64[np.ndarray, "groups levels"]
    sizes: Float64[np.ndarray, " groups"]
    folds: int


def largest_distance(loads: CaseLoads, fold_of: CaseGroups, folds: int) -> Float64[np.ndarray, " folds"]:
    """Two-sample Kolmogorov-Smirnov distance of each fold's loads to those of the rest, in [0, 1].

    Args:
        loads: Ascending.
        fold_of: Fold of each case, each 0..folds-1 at least once and not all the same.
        folds: Number of folds.
    """
    below = np.cumsum(np.equal.outer(np.arange(folds), fold_of), axis=1)[:, np.append(loads[1:] != loads[:-1], True)]
    sizes = below[:, -1:]
    rest = below.sum(axis=0) - below
    return np.asarray(np.abs(below / sizes - rest / rest[:, -1:]).max(axis=1))


def search_folds(loads: CaseLoads, group_of: CaseGroups, folds: int, rng: np.random.Generator) -> GroupFolds:
    """Deal out the groups so that the largest distance and the differences in size are small.

    Groups of one case alone need no search: each block of as many neighbours in load as there are folds is dealt out,
    one to a fold, and no assignment into folds of one size has a smaller distance. Else groups of several cases are
    dealt out at random and improved by moves and exchanges, single cases fill what they leave, and all are improved
    together; the best of several such attempts is improved once more, at finer levels of load.

    Args:
        loads: Ascending.
        group_of: Group of each case; at least as many groups as folds.
        folds: 2 or more.
        rng: Decides among assignments of like quality.

    Returns:
        The fold of each group; no fold is empty.
    """
    sizes = np.bincount(group_of)
    if sizes.max() == 1:
        wanted = np.full(folds, float(loads.size // folds))
        wanted[rng.permutation(folds)[: loads.size % folds]] += 1
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
    ends = np.append(np.flatnonzero(loads[1:] != loads[:-1]), loads.size - 1)
    if ends.size > levels:
        ends = ends[np.unique(np.linspace(0, ends.size - 1, levels).round().astype(np.int64))]
    level_of = np.searchsorted(ends, np.arange(loads.size))
    within = np.zeros((int(group_of.max()) + 1, ends.size))
    np.add.at(within, (group_of, level_of), 1)
    return Counts(within.cumsum(axis=1), within.sum(axis=1), folds)


def _fill_with_singles(
    fold_of: GroupFolds, group_of: CaseGroups, wanted: Float64[np.ndarray, " folds"], rng: np.random.Generator
) -> GroupFolds:
    """Give each group without a fold (-1; of one case), small loads first, to the fold that lags behind most.

    `wanted` is the number of cases that each fold is to have in the end; ties are decided at random.
    """
    filled = fold_of.copy()
    cases = np.zeros(wanted.size)
    for group in group_of:
        if filled[group] < 0:
            done = (cases + 0.5) / wanted
            filled[group] = rng.choice(np.flatnonzero(done == done.min()))
        cases[filled[group]] += 1
    return filled


def _badness(loads: CaseLoads, group_of: CaseGroups, fold_of: GroupFolds, folds: int) -> float:
    sizes = np.bincount(fold_of[group_of], minlength=folds)
    too_large = np.abs(sizes - loads.size / folds).max() * _imbalance(loads.size, fold_of.size, folds)
    return float(largest_distance(loads, fold_of[group_of], folds).max() + too_large)


def _imbalance(cases: float, groups: int, folds: int) -> float:
    """Distance that is as bad as a fold too large by one case."""
    return GROUP_TOO_LARGE * groups / cases + SHARE_TOO_LARGE * folds / cases


@dataclass(frozen=True, eq=False)
class Changes:
    """Ways to take one group out of its fold: exchanges with other groups, then plain moves.

    Attributes:
        partners: The other group of each exchange.
        targets: The fold to go to, of each exchange and then of each move.
        below: What the group's fold gains (and the target loses), as `Counts.below`.
        sizes: The same, as `Counts.sizes`.
    """

    partners: Int64[np.ndarray, " exchanges"]
    targets: Int64[np.ndarray, " changes"]
    below: Float64[np.ndarray, "changes levels"]
    sizes: Float64[np.ndarray, " changes"]


def _improve(counts: Counts, fold_of: GroupFolds, rng: np.random.Generator) -> GroupFolds:
    """Move groups to another fold, or exchange two, as long as that makes the folds more alike."""
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
        if gains[best] <= 1e-9 * costs.sum():
            continue
        in_vain, target = 0, changes.targets[best]
        for its_fold, sign, cost in ((fold, 1, here[best]), (target, -1, there[best])):
            below[its_fold] += sign * changes.below[best]
            sizes[its_fold] += sign * changes.sizes[best]
            costs[its_fold] = cost
        fold_of[group] = target
        fold_of[changes.partners[best : best + 1]] = fold
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
    """How far folds with these counts are from the rest, in load and in size; what a search makes small."""
    total = float(counts.sizes.sum())
    inside = np.clip(sizes, 1, total - 1)[:, None]
    distances = below / inside - (counts.below.sum(axis=0) - below) / (total - inside)
    for _ in range(SQUARINGS):
        distances *= distances
    too_large = (sizes - total / counts.folds) * _imbalance(total, counts.sizes.size, counts.folds)
    cost = distances.mean(axis=1) + too_large ** (2**SQUARINGS)
    return np.where(sizes > 0, cost, EMPTY_FOLD)
