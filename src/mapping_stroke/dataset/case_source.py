"""Where training takes its cases from: arrays that are there, or cases that are made as they are drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from mapping_stroke.dataset.arrays import CaseArrays


@runtime_checkable
class CaseSource(Protocol):
    """Gives a random case whenever it is asked; the same generator in the same state gives the same case."""

    def draw(self, rng: np.random.Generator) -> CaseArrays:
        """One case, on the training device."""
        ...


Cases = Sequence[CaseArrays] | CaseSource
"""Cases that are there already, each as likely as any other; or a source of cases."""


def draw_case(cases: Cases, rng: np.random.Generator) -> CaseArrays:
    """One random case; of a sequence, which holds at least one, each is as likely as any other."""
    return cases.draw(rng) if isinstance(cases, CaseSource) else cases[int(rng.integers(len(cases)))]


@dataclass(frozen=True, eq=False)
class Mixture:
    """Two kinds of cases in one source.

    Attributes:
        usual: Drawn otherwise.
        other: Drawn with the probability `share`.
        share: In [0, 1].
    """

    usual: Cases
    other: Cases
    share: float

    def draw(self, rng: np.random.Generator) -> CaseArrays:
        """One case of either kind."""
        return draw_case(self.other if rng.random() < self.share else self.usual, rng)
