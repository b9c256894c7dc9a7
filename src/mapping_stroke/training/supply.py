"""Where a long training takes its cases from, and where it stands."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from torch import Tensor

from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.dataset.sources import CaseSource

MOST_USES = 25
"""Patches that are cut from one case."""
READY_SHARE = 0.25
"""Of the cases that are kept: with fewer the training waits, rather than see the same few again and again."""
HARDEST_SHARE = 0.1
"""Of the kept cases: those that count as hard."""


@dataclass(eq=False)
class Memory:
    """What is remembered of the cases that are there now.

    Attributes:
        uses: By case, how many patches were cut from it.
        hardness: By case, how hard its last patch was; see `patch_hardness`.
        made: How many cases were made so far: the number of the next one.
    """

    uses: dict[str, int] = field(default_factory=dict)
    hardness: dict[str, float] = field(default_factory=dict)
    made: int = 0

    def count_use(self, name: str) -> bool:
        """Count a patch of a case; whether it has been used `MOST_USES` times now, and should go."""
        self.uses[name] = self.uses.get(name, 0) + 1
        return self.uses[name] >= MOST_USES

    def forget(self, name: str) -> None:
        """A case has gone."""
        self.uses.pop(name, None)
        self.hardness.pop(name, None)

    def forget_all_but(self, present: Collection[str]) -> None:
        """All other cases have gone."""
        for name in (self.uses.keys() | self.hardness.keys()) - set(present):
            self.forget(name)

    def note(self, case_ids: Sequence[str], hardness: Sequence[float]) -> None:
        """Remember how hard the last patch of each case was that has not gone."""
        self.hardness |= {name: value for name, value in zip(case_ids, hardness, strict=True) if name in self.uses}

    def hardest(self, present: Sequence[str]) -> Sequence[str]:
        """The hardest tenth of the cases that are there, of those that were used before; all if none was."""
        known = sorted((name for name in present if name in self.hardness), key=lambda name: -self.hardness[name])
        return known[: max(round(HARDEST_SHARE * len(present)), 1)] or present


@dataclass(eq=False)
class Position:
    """Where a training on a schedule stands, beside its network, its optimiser and its random numbers.

    Attributes:
        average: Of the weights, by name: what is validated and packed in the end.
        patches: Done.
        seconds: Of a schedule by the clock that are done; 0 for others.
        restarted_at: After how many patches the optimiser last began anew, without its moments; None for never.
        memory: Of cases.
    """

    average: dict[str, Tensor]
    patches: int = 0
    seconds: float = 0.0
    restarted_at: int | None = None
    memory: Memory = field(default_factory=Memory)


class Supply(CaseSource, Protocol):
    """Cases for a long training; `draw` gives any of them."""

    def is_ready(self) -> bool:
        """Whether there are cases to draw; if not, there will be, or `TrainingError` is raised.

        Asked before every step, so a supply may make cases here.
        """
        ...

    def draw_hard(self, rng: np.random.Generator) -> CaseArrays:
        """One of the hardest cases of those that are kept; any case if none is."""
        ...

    def note(self, case_ids: Sequence[str], hardness: Sequence[float]) -> None:
        """Take note of how hard the patches of these cases were."""
        ...


@dataclass(frozen=True, eq=False)
class Endless:
    """A new case for every patch: none is kept, so none is known to be hard. It is a `Supply`."""

    source: CaseSource

    def is_ready(self) -> bool:
        """Always."""
        return True

    def draw(self, rng: np.random.Generator) -> CaseArrays:
        """A new case."""
        return self.source.draw(rng)

    def draw_hard(self, rng: np.random.Generator) -> CaseArrays:
        """A new case."""
        return self.source.draw(rng)

    def note(self, case_ids: Sequence[str], hardness: Sequence[float]) -> None:
        """Nothing is remembered."""


MADE_AT_ONCE = 16
"""At the beginning, between two looks at whether to stop."""


@dataclass(frozen=True, eq=False)
class PoolPlan:
    """Which cases a pool holds.

    Attributes:
        source: Makes them on the training device.
        size: How many there are at once.
        seed: Case `i` is drawn from (*seed, i).
    """

    source: CaseSource
    size: int
    seed: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Pool:
    """So many cases, each for at most `MOST_USES` patches: then another one is made in its place. It is a `Supply`.

    What was there is not kept with a training: it goes on with new cases.

    Attributes:
        plan: Which cases.
        memory: How often each was used, and how hard it was; part of the training's state.
        cases: By name, oldest first.
    """

    plan: PoolPlan
    memory: Memory
    cases: dict[str, CaseArrays] = field(default_factory=dict)
    drawn: list[str] = field(default_factory=list)
    """Names of the cases of the patches since the pool was last asked."""

    def is_ready(self) -> bool:
        """Make cases: at first until a quarter of the pool is there, then as many as are used up, and one at least."""
        self.memory.forget_all_but(self.cases)
        few = max(round(READY_SHARE * self.plan.size), 2)
        missing = self.plan.size - len(self.cases)
        at_once = MADE_AT_ONCE if len(self.cases) < few else max(math.ceil(len(self.drawn) / MOST_USES), 1)
        self.drawn.clear()
        for _ in range(min(missing, at_once)):
            self._make()
        return len(self.cases) >= few

    def draw(self, rng: np.random.Generator) -> CaseArrays:
        """A random case of those that are there, each as likely as any other; a new one where none is."""
        return self._use(list(self.cases) or [self._make()], rng)

    def draw_hard(self, rng: np.random.Generator) -> CaseArrays:
        """A random one of the hardest tenth of the cases that were used before; any case where none was."""
        return self._use(self.memory.hardest(list(self.cases)) or [self._make()], rng)

    def note(self, case_ids: Sequence[str], hardness: Sequence[float]) -> None:
        """Remember how hard the last patch of each case was."""
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
