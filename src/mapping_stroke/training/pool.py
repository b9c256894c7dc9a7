"""Cases in the memory of the training device, made there between the steps of a training and used up by it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.dataset.case_source import CaseSource
from mapping_stroke.training.supply import MOST_USES, READY_SHARE, Memory

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
