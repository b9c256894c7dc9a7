"""Supply of cases for a long training, and its position in the schedule."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from torch import Tensor

from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.dataset.sources import CaseSource

MOST_USES = 25
"""Patches cut from one case, unless another number is asked for."""
READY_SHARE = 0.25
"""Share of the kept cases below which the training waits instead of reusing a few cases."""
HARDEST_SHARE = 0.1
"""Share of the kept cases that count as hard."""


def fewest_ready(size: int) -> int:
    """Fewest cases with which a training goes on, of this many that are kept at a time."""
    return max(round(READY_SHARE * size), 2)


@dataclass(eq=False)
class Memory:
    """Statistics of the kept cases.

    Attributes:
        uses: Number of patches cut from each case.
        hardness: Hardness of the last patch of each case; see `patch_hardness`.
        made: Number of cases made so far, which is the number of the next one.
    """

    uses: dict[str, int] = field(default_factory=dict)
    hardness: dict[str, float] = field(default_factory=dict)
    made: int = 0

    def count_use(self, name: str, most: int = MOST_USES) -> bool:
        """Count a patch of a case; return whether it has now been used as often as it may be and should be removed."""
        self.uses[name] = self.uses.get(name, 0) + 1
        return self.uses[name] >= most

    def forget(self, name: str) -> None:
        """Drop a removed case."""
        self.uses.pop(name, None)
        self.hardness.pop(name, None)

    def forget_all_but(self, present: Collection[str]) -> None:
        """Drop all other cases."""
        for name in (self.uses.keys() | self.hardness.keys()) - set(present):
            self.forget(name)

    def note(self, case_ids: Sequence[str], hardness: Sequence[float]) -> None:
        """Record the hardness of the last patch of each case that is still kept."""
        self.hardness |= {name: value for name, value in zip(case_ids, hardness, strict=True) if name in self.uses}

    def hardest(self, present: Sequence[str]) -> Sequence[str]:
        """The hardest tenth of the present cases, among those used before; all if none was."""
        known = sorted((name for name in present if name in self.hardness), key=lambda name: -self.hardness[name])
        return known[: max(round(HARDEST_SHARE * len(present)), 1)] or present


@dataclass(eq=False)
class Position:
    """Position of a training on a schedule, in addition to its network, optimiser and random numbers.

    Attributes:
        average: Running average of the weights, by name; it is validated, and packed in the end.
        patches: Patches done.
        seconds: Seconds done of a schedule by the clock; 0 for others.
        restarted_at: Patches done when the optimiser last restarted without its moments; None for never.
        memory: Statistics of the cases.
    """

    average: dict[str, Tensor]
    patches: int = 0
    seconds: float = 0.0
    restarted_at: int | None = None
    memory: Memory = field(default_factory=Memory)


class Supply(CaseSource, Protocol):
    """Cases for a long training; `draw` returns any of them."""

    def is_ready(self) -> bool:
        """Whether there are cases to draw; raises `TrainingError` if there will be none.

        Called before every step, so a supply may make cases here.
        """
        ...

    def draw_hard(self, rng: np.random.Generator) -> CaseArrays:
        """One of the hardest kept cases; any case if none is kept."""
        ...

    def note(self, case_ids: Sequence[str], hardness: Sequence[float]) -> None:
        """Record the hardness of the patches of these cases."""
        ...


@dataclass(frozen=True, eq=False)
class Endless:
    """A `Supply` with a new case for every patch; none is kept, so none is known to be hard."""

    source: CaseSource

    def is_ready(self) -> bool:
        """Always True."""
        return True

    def draw(self, rng: np.random.Generator) -> CaseArrays:
        """A new case."""
        return self.source.draw(rng)

    def draw_hard(self, rng: np.random.Generator) -> CaseArrays:
        """A new case."""
        return self.source.draw(rng)

    def note(self, case_ids: Sequence[str], hardness: Sequence[float]) -> None:
        """Do nothing."""


MADE_AT_ONCE = 16
"""Cases made at the beginning between two checks for a request to stop."""


@dataclass(frozen=True, eq=False)
class PoolPlan:
    """Cases of a pool.

    Attributes:
        source: Source of the cases, on the training device.
        size: Number of cases at a time.
        seed: Case `i` is drawn from (*seed, i).
    """

    source: CaseSource
    size: int
    seed: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Pool:
    """A `Supply` of cases in memory; after `MOST_USES` patches a case is replaced by a new one.

    The cases are not part of a checkpoint: a resumed training has new ones.

    Attributes:
        plan: The cases.
        memory: Number of uses and hardness of each case; part of the training's state.
        cases: Cases by name, oldest first.
    """

    plan: PoolPlan
    memory: Memory
    cases: dict[str, CaseArrays] = field(default_factory=dict)
    drawn: list[str] = field(default_factory=list)
    """Names of the cases drawn since the last call of `is_ready`."""

    def is_ready(self) -> bool:
        """Make cases: at first a quarter of the pool, then as many as are used up, but at least one."""
        self.memory.forget_all_but(self.cases)  # a resumed training starts without cases
        few = fewest_ready(self.plan.size)
        missing = self.plan.size - len(self.cases)
        at_once = MADE_AT_ONCE if len(self.cases) < few else max(math.ceil(len(self.drawn) / MOST_USES), 1)
        self.drawn.clear()
        for _ in range(min(missing, at_once)):
            self._make()
        return len(self.cases) >= few

    def draw(self, rng: np.random.Generator) -> CaseArrays:
        """A random case of the pool, all equally likely; a new one if it is empty."""
        return self._use(list(self.cases) or [self._make()], rng)

    def draw_hard(self, rng: np.random.Generator) -> CaseArrays:
        """A random one of the hardest tenth of the cases used before; any case if none was."""
        return self._use(self.memory.hardest(list(self.cases)) or [self._make()], rng)

    def note(self, case_ids: Sequence[str], hardness: Sequence[float]) -> None:
        """Record the hardness of the last patch of each case."""
        self.memory.note(case_ids, hardness)

    def _use(self, names: Sequence[str], rng: np.random.Generator) -> CaseArrays:
        name = names[int(rng.integers(len(names)))]
        case = self.cases[name]
        self.drawn.append(name)
        if self.memory.count_use(name):
            del self.cases[name]
            self.memory.forget(name)
        return case

    def _make(self) -> str:
        number = self.memory.made
        made = self.plan.source.draw(np.random.default_rng([*self.plan.seed, number]))
        name = f"case-{number:08d}"
        self.cases[name] = CaseArrays(name, made.scan, made.mask, made.lesion_voxels)
        self.memory.made += 1
        return name
