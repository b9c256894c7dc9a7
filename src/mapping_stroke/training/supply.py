"""Where a long training takes its cases from, what it remembers of them, and where it stands."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from torch import Tensor

from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.dataset.case_source import CaseSource


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


@dataclass(eq=False)
class Position:
    """Where a training on a schedule stands, beside its network, its optimiser and its random numbers.

    Attributes:
        average: Of the weights, by name: what is validated and packed in the end.
        patches: Done.
        restarted_at: After how many patches the optimiser last began anew, without its moments; None for never.
        memory: Of cases.
    """

    average: dict[str, Tensor]
    patches: int = 0
    restarted_at: int | None = None
    memory: Memory = field(default_factory=Memory)


class Supply(CaseSource, Protocol):
    """Cases for a long training; `draw` gives any of them."""

    def is_ready(self) -> bool:
        """Whether there are cases to draw; if not, there will be, or `TrainingError` is raised."""
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
