"""Where a long training takes its cases from, what it remembers of them, and where it stands."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from torch import Tensor

from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.dataset.case_source import CaseSource

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
