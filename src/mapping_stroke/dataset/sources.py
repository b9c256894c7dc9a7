"""Sources of training cases, and the fixed split of people and masks for simulated cases."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

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


Part = Literal["training", "validation", "test"]

PARTS: tuple[Part, ...] = ("training", "validation", "test")
VALIDATION_PEOPLE, TEST_PEOPLE = 0.12, 0.20
"""Shares of the people: of 25, three for validation and five for test."""
VALIDATION_MASKS, TEST_MASKS = 0.05, 0.15
"""Shares of the masks."""


@dataclass(frozen=True)
class Person:
    """Somebody whose brain is used, with all scans of it."""

    name: str
    scans: tuple[str, ...]


def part_of_mask(sha256: str) -> Part:
    """The part of a mask, from the SHA-256 of its file: copies of one mask are on one side."""
    place = int(sha256[:12], 16) / 16**12
    if place < TEST_MASKS:
        return "test"
    return "validation" if place < TEST_MASKS + VALIDATION_MASKS else "training"


def parts_of_people(people: Sequence[Person]) -> Mapping[str, Part]:
    """The part of every scan, by the scan's name; all scans of a person are in one part.

    People are ordered by the SHA-256 of their names: the first are for test, the next for validation, the rest for
    training. Of a single person all is for training.
    """
    ordered = sorted(people, key=lambda person: hashlib.sha256(person.name.encode()).hexdigest())
    tests, validations = (round(share * len(people)) for share in (TEST_PEOPLE, VALIDATION_PEOPLE))
    parts: dict[str, Part] = {}
    for index, person in enumerate(ordered):
        part: Part = "test" if index < tests else "validation" if index < tests + validations else "training"
        parts.update(dict.fromkeys(person.scans, part))
    return parts
