"""Sources of training cases, and the fixed split of people and masks for simulated cases."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.names import Part


@runtime_checkable
class CaseSource(Protocol):
    """A source of random cases; the same generator in the same state gives the same case."""

    def draw(self, rng: np.random.Generator) -> CaseArrays:
        """One case, on the training device."""
        ...


Cases = Sequence[CaseArrays] | CaseSource
"""Existing cases, all equally likely, or a source of cases."""


def draw_case(cases: Cases, rng: np.random.Generator) -> CaseArrays:
    """One random case from a source, or from a sequence of at least one, all equally likely."""
    return cases.draw(rng) if isinstance(cases, CaseSource) else cases[int(rng.integers(len(cases)))]


@dataclass(frozen=True, eq=False)
class Mixture:
    """Two kinds of cases in one source.

    Attributes:
        usual: Cases that are drawn otherwise.
        other: Cases that are drawn with the probability `share`.
        share: In [0, 1].
    """

    usual: Cases
    other: Cases
    share: float

    def draw(self, rng: np.random.Generator) -> CaseArrays:
        """One case of either kind."""
        return draw_case(self.other if rng.random() < self.share else self.usual, rng)


@dataclass(frozen=True, eq=False)
class Reseeded:
    """The cases of a source for another seed, so that trainings that draw the same numbers share no case.

    Attributes:
        source: The source.
        seed: Combined with a number of the training's generator.
    """

    source: CaseSource
    seed: tuple[int, ...]

    def draw(self, rng: np.random.Generator) -> CaseArrays:
        """One case; the training's generator advances, too."""
        return self.source.draw(np.random.default_rng([*self.seed, int(rng.integers(2**63))]))


VALIDATION_PEOPLE, TEST_PEOPLE = 0.12, 0.20
"""Shares of the people: three of 25 for validation, and five for testing."""
VALIDATION_MASKS, TEST_MASKS = 0.05, 0.15
"""Shares of the masks."""


@dataclass(frozen=True)
class Person:
    """A person whose brain is used, with all its scans."""

    name: str
    scans: tuple[str, ...]


def part_of_mask(sha256: str) -> Part:
    """The split of a mask, from the SHA-256 of its file, so that copies of a mask are in one split."""
    place = int(sha256[:12], 16) / 16**12
    if place < TEST_MASKS:
        return "test"
    return "validation" if place < TEST_MASKS + VALIDATION_MASKS else "training"


def parts_of_people(people: Sequence[Person]) -> Mapping[str, Part]:
    """The split of every scan, by the scan's name; all scans of a person are in one split.

    People are ordered by the SHA-256 of their names: the first are for testing, the next for validation, the rest for
    training. A single person is for training.
    """
    ordered = sorted(people, key=lambda person: hashlib.sha256(person.name.encode()).hexdigest())
    tests, validations = (round(share * len(people)) for share in (TEST_PEOPLE, VALIDATION_PEOPLE))
    parts: dict[str, Part] = {}
    for index, person in enumerate(ordered):
        part: Part = "test" if index < tests else "validation" if index < tests + validations else "training"
        parts.update(dict.fromkeys(person.scans, part))
    return parts
