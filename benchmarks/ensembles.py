"""Which members form an ensemble: in greedy and random order, by scheme and by fold."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from mapping_stroke.evaluation.contributions import GREEDY, RANDOM, Subset, greedy_order
from mapping_stroke.evaluation.tables import order_methods
from mapping_stroke.networks.cards import MemberCard

CHOSEN_ELSEWHERE, SCHEMES, ONE_FOLD = "greedy on other cases", "all folds", "one fold"
"""Further orders, see `Group`."""

DiceOf = Callable[[Subset], Float64[np.ndarray, " case"]]
"""Dice of an ensemble on each case."""


@dataclass(frozen=True)
class Group:
    """Ensembles of the same number of members, over which the mean is taken.

    Attributes:
        order: `random`: the first members of random orders. `greedy`: the first of an order in which each next member
            raises the mean Dice of these cases most. `greedy on other cases`: the same, chosen on the other half of
            the people. `all folds`: all members of some schemes. `one fold`: the members of all schemes on one fold.
        members: Number of members of each ensemble.
        which: The schemes or folds, or the member that joins; empty for the other orders.
        ensembles: One or more; each has the members of every case, by number.
    """

    order: str
    members: int
    which: str
    ensembles: tuple[tuple[Subset, ...], ...]


def budgets(members: int) -> list[int]:
    """1, 2, 4, ... up to half of the members, and all of them."""
    return [2**power for power in range(members.bit_length()) if 2 ** (power + 1) <= members] + [members]


def random_groups(members: int, orders: int, seed: int, cases: int) -> list[Group]:
    """The first members of random orders, for each budget; the same seed gives the same orders."""
    rng = np.random.default_rng(seed)
    drawn = [rng.permutation(members).tolist() for _ in range(orders)]
    groups = []
    for size in budgets(members):
        subsets = [tuple(sorted(order[:size])) for order in (drawn if size < members else drawn[:1])]
        groups.append(Group(RANDOM, size, "", tuple((subset,) * cases for subset in subsets)))
    return groups


def greedy_groups(names: Sequence[str], dice_of: DiceOf, cases: int) -> list[Group]:
    """The first members of the greedy order, for each number of members; `which` names the one that joins."""
    order = greedy_order(len(names), lambda subset: float(dice_of(_sorted(subset)).mean()))
    return [
        Group(GREEDY, place + 1, names[number], ((_sorted(order[: place + 1]),) * cases,))
        for place, number in enumerate(order)
    ]


def groups_chosen_elsewhere(members: int, dice_of: DiceOf, people: Sequence[str]) -> list[Group]:
    """For each budget, the greedy choice of either half of the people, scored on the other half."""
    halves = split_people(people)
    if not halves.any():  # one person
        return []
    orders = [
        greedy_order(members, lambda subset, half=half: float(dice_of(_sorted(subset))[half].mean()))  # type: ignore[misc]
        for half in (halves, ~halves)
    ]
    return [
        Group(
            CHOSEN_ELSEWHERE,
            size,
            "",
            (tuple(_sorted(orders[int(in_first)][:size]) for in_first in halves.tolist()),),
        )
        for size in budgets(members)[:-1]  # all members leave no choice
    ]


def split_people(people: Sequence[str]) -> Bool[np.ndarray, " case"]:
    """Whether each case belongs to the first half of the people, who are dealt in turn; none of a single person."""
    numbers = {person: number for number, person in enumerate(dict.fromkeys(people))}
    return np.array([numbers[person] % 2 == 1 for person in people], np.bool_)


def scheme_and_fold_groups(cards: Sequence[MemberCard], cases: int) -> list[Group]:
    """All folds of each scheme, of the first schemes in the paper's order, and all schemes of one fold."""
    schemes = order_methods(card.scheme for card in cards)
    wanted = [[scheme] for scheme in schemes] + [schemes[:count] for count in range(2, len(schemes) + 1)]
    groups = []
    for some in wanted:
        subset = tuple(number for number, card in enumerate(cards) if card.scheme in some)
        groups.append(Group(SCHEMES, len(subset), ", ".join(some), ((subset,) * cases,)))
    by_fold = [
        tuple(number for number, card in enumerate(cards) if card.fold == fold)
        for fold in sorted({card.fold for card in cards})
    ]
    complete = [subset for subset in by_fold if len(subset) == len(schemes)]
    if complete:
        ensembles = tuple((subset,) * cases for subset in complete)
        groups.append(Group(ONE_FOLD, len(schemes), ", ".join(schemes), ensembles))
    return groups


def _sorted(subset: Sequence[int]) -> Subset:
    return tuple(sorted(subset))
