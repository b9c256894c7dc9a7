"""The share of each scheme, or of each member, in the ensemble: Dice of subsets, in greedy and in random order."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
from jaxtyping import Bool, Float64, Int32

from mapping_stroke.evaluation.cohorts import Estimate, estimate_mean
from mapping_stroke.files import none_if_nan

MOST_SCHEMES = 8
"""The number of subsets doubles with each scheme: 255 of 8."""
GREEDY, RANDOM, JOINS, LEFT_OUT = "greedy", "random", "joins", "left out"
"""Ways to add schemes, see `Step`."""

Subset = tuple[int, ...]


def all_subsets(schemes: int) -> list[Subset]:
    """All non-empty subsets of the numbers below `schemes`, small ones first."""
    return [subset for size in range(1, schemes + 1) for subset in combinations(range(schemes), size)]


def dice_of_mean(
    steps: Int32[np.ndarray, "maps voxels"], half: int, reference: Bool[np.ndarray, " voxels"], load_vox: int
) -> float:
    """Dice of the mean of one or more maps, thresholded at P > 0.5; 1 if both masks are empty.

    Args:
        steps: P(lesion) of each map as a whole number of steps, so that sums are exact. Voxels in which no map exceeds
            0.5 may be left out, because no mean does there.
        half: Number of steps of P = 0.5.
        reference: Whether each of these voxels belongs to a lesion.
        load_vox: Lesion voxels of the reference, also outside these voxels.
    """
    marked = steps.sum(axis=0) > half * len(steps)
    total_vox = int(marked.sum()) + load_vox
    return 1.0 if total_vox == 0 else 2 * int((marked & reference).sum()) / total_vox


def dice_of_subsets(
    steps: Int32[np.ndarray, "scheme voxels"], half: int, reference: Bool[np.ndarray, " voxels"], load_vox: int
) -> list[float]:
    """`dice_of_mean` of every subset of schemes, in the order of `all_subsets`."""
    return [dice_of_mean(steps[list(subset)], half, reference, load_vox) for subset in all_subsets(len(steps))]


def greedy_order(number: int, mean_dice: Callable[[Sequence[int]], float]) -> list[int]:
    """Order the numbers below `number` such that each next one raises the mean Dice most; the first of equals.

    Args:
        number: Number of schemes, or of members.
        mean_dice: Mean Dice of some of them; called `number` (`number` + 1) / 2 times.
    """
    chosen: list[int] = []
    while len(chosen) < number:
        left = [each for each in range(number) if each not in chosen]
        chosen.append(max(left, key=lambda each: mean_dice([*chosen, each])))
    return chosen


@dataclass(frozen=True)
class Step:
    """One way to add a scheme.

    Attributes:
        order: `greedy`: the scheme that raises the mean Dice most is added next. `random`: the mean over all orders.
            `joins`: a scheme alone, and its mean gain over all orders in which it is not the first. `left out`: all
            other schemes, and the gain by adding it last.
        schemes: Number of schemes after it (`joins`: 1; `left out`: before it).
        scheme: The scheme; empty for `random`.
        dice: Mean Dice of these schemes.
        gain: Mean gain of Dice, paired by case; None for a first scheme.
    """

    order: str
    schemes: int
    scheme: str
    dice: Estimate
    gain: Estimate | None


@dataclass(frozen=True, eq=False)
class Contributions:
    """Dice of every subset of schemes on the same cases.

    Attributes:
        schemes: At least two, at most `MOST_SCHEMES`.
        people: The person of each case.
        dice: One row for each case, one column for each subset, in the order of `all_subsets`.
    """

    schemes: tuple[str, ...]
    people: tuple[str, ...]
    dice: Float64[np.ndarray, "case subset"]

    def steps(self) -> list[Step]:
        """All ways to add schemes: greedy, random, joins, left out."""
        return [*self._greedy(), *self._random(), *self._joins(), *self._left_out()]

    def _of(self, subset: Sequence[int]) -> Float64[np.ndarray, " case"]:
        return self.dice[:, all_subsets(len(self.schemes)).index(tuple(sorted(subset)))]

    def _step(
        self, order: str, names: tuple[int, str], dice: Float64[np.ndarray, " case"], gain: np.ndarray | None
    ) -> Step:
        estimated = None if gain is None else estimate_mean(gain, self.people)
        return Step(order, *names, estimate_mean(dice, self.people), estimated)

    def _greedy(self) -> list[Step]:
        order = greedy_order(len(self.schemes), lambda subset: float(self._of(subset).mean()))
        steps = []
        for place, number in enumerate(order):
            dice = self._of(order[: place + 1])
            gain = dice - self._of(order[:place]) if place else None
            steps.append(self._step(GREEDY, (place + 1, self.schemes[number]), dice, gain))
        return steps

    def _random(self) -> list[Step]:
        sizes = range(1, len(self.schemes) + 1)
        means = [
            np.mean([self._of(subset) for subset in combinations(range(len(self.schemes)), size)], axis=0)
            for size in sizes
        ]
        gains = [None, *(after - before for before, after in pairwise(means))]
        return [self._step(RANDOM, (size, ""), means[size - 1], gains[size - 1]) for size in sizes]

    def _joins(self) -> list[Step]:
        steps = []
        for number, scheme in enumerate(self.schemes):
            others = [other for other in range(len(self.schemes)) if other != number]
            # in a random order every position is as likely, and at a position every subset before it
            by_position = [
                np.mean([self._of([*s, number]) - self._of(s) for s in combinations(others, size)], axis=0)
                for size in range(1, len(self.schemes))
            ]
            steps.append(self._step(JOINS, (1, scheme), self._of([number]), np.mean(by_position, axis=0)))
        return steps

    def _left_out(self) -> list[Step]:
        everyone = self._of(range(len(self.schemes)))
        steps = []
        for number, scheme in enumerate(self.schemes):
            others = self._of([other for other in range(len(self.schemes)) if other != number])
            steps.append(self._step(LEFT_OUT, (len(self.schemes) - 1, scheme), others, everyone - others))
        return steps


STEP_COLUMNS = (
    "order",
    "schemes",
    "scheme",
    "cases",
    "dice_mean",
    "dice_low",
    "dice_high",
    "gain_mean",
    "gain_low",
    "gain_high",
)


def step_row(step: Step) -> dict[str, object]:
    """The step as a row of `members.csv`; undefined values are None."""
    row: dict[str, object] = {
        "order": step.order,
        "schemes": step.schemes,
        "scheme": step.scheme,
        "cases": step.dice.cases,
    }
    for name, estimate in (("dice", step.dice), ("gain", step.gain)):
        for part in ("mean", "low", "high"):
            value = math.nan if estimate is None else getattr(estimate, part)
            row[f"{name}_{part}"] = none_if_nan(value)
    return row
