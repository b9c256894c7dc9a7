"""Plan of a simulated cohort: people, masks and lesion loads, determined by the seed and the case number."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from mapping_stroke.dataset.sources import Person
from mapping_stroke.errors import CaseError
from mapping_stroke.simulation.lesions import atlas_load_mm3, spread_quantile
from mapping_stroke.simulation.scanner import Scanner, draw_scanner, vary_scanner
from mapping_stroke.simulation.settings import CohortSize

T = TypeVar("T")

SUBJECTS_PER_SITE = 10
"""People who share a site, and so a scanner; ATLAS has about 20."""
TESTING_SHARE = 0.2
"""Share of the people, and of the real masks, reserved for unlabelled scans."""
MASKS_PER_HAND = 12
"""Real masks dealt to one person, and the largest number considered for one case."""
STREAMS = {"training": 0, "testing": 1, "site": 2, "people": 3, "masks": 4, "load": 5, "hand": 6}
"""Each use of the seed has its own stream of random numbers."""


@dataclass(frozen=True)
class PlannedCase:
    """A case to simulate.

    Attributes:
        split: `training` cases come with a mask, `testing` scans without.
        index: Number in its split, from 0.
        person: Number of the person in its split, from 0; all cases of one person share a subject.
        session: 1 for the first case of a person.
        brain: Source scan, None for the template.
        load_mm3: Target lesion load.
        seed: Seed of the cohort.
    """

    split: Literal["training", "testing"]
    index: int
    person: int
    session: int
    brain: str | None
    load_mm3: float
    seed: int

    @property
    def site(self) -> str:
        """Site, such as `R001`."""
        return f"R{self.person // SUBJECTS_PER_SITE + 1:03d}"

    @property
    def subject(self) -> str:
        """Subject label, such as `simulatedr001s001`. Unlabelled ones have a `u` before their number."""
        letter = "s" if self.split == "training" else "u"
        return f"simulated{self.site.lower()}{letter}{self.person % SUBJECTS_PER_SITE + 1:03d}"

    @property
    def case_id(self) -> str:
        """Case id, such as `sub-simulatedr001s001_ses-1`."""
        return f"sub-{self.subject}_ses-{self.session}"

    def rng(self) -> np.random.Generator:
        """The case's own random numbers, independent of the other cases."""
        return stream(self.seed, self.split, self.index)

    def scanner(self, rng: np.random.Generator) -> Scanner:
        """The site's scanner on the day of this case."""
        return vary_scanner(draw_scanner(stream(self.seed, "site", self.person // SUBJECTS_PER_SITE)), rng)


def stream(seed: int, use: str, *numbers: int) -> np.random.Generator:
    """Random numbers for one use of the seed, independent of all others."""
    return np.random.default_rng([seed, STREAMS[use], *numbers])


def divide(items: Sequence[T], use: str, seed: int, *, reserve: bool) -> dict[str, list[T]]:
    """Shuffle items and split them between training and testing without overlap.

    Args:
        items: People or masks, in a fixed order.
        use: Name of the stream of random numbers.
        seed: Seed of the cohort.
        reserve: Whether there is a testing split; otherwise all items are for training.

    Returns:
        Items by split: a fifth for testing, at least one if there are two or more.
    """
    order = [items[index] for index in stream(seed, use).permutation(len(items))]
    testing = max(round(TESTING_SHARE * len(items)), 1) if reserve and len(items) > 1 else 0
    return {"training": order[: len(order) - testing], "testing": order[len(order) - testing :]}


def plan_cohort(size: CohortSize, people: Sequence[Person] | None = None) -> list[PlannedCase]:
    """Plan all cases. A longer plan begins with the cases of a shorter one.

    Args:
        size: Number of cases, and the seed; whether there are unlabelled scans decides which people are reserved.
        people: People whose brains are used; None for the template, and a person of its own for every case.
            If there are fewer people than cases, they return, deformed differently, as further sessions.

    Raises:
        CaseError: Unlabelled scans are wanted, but there is only one person.
    """
    seed, subjects, unlabelled = size.seed, size.subjects, size.unlabelled
    if people is not None and unlabelled and len(people) < 2:
        raise CaseError(
            "unlabelled scans need people other than those of the training cases; give brains of two or more people"
        )
    by_split = divide(people, "people", seed, reserve=unlabelled > 0) if people is not None else None
    cases = []
    splits: tuple[tuple[Literal["training", "testing"], int], ...] = (("training", subjects), ("testing", unlabelled))
    for split, count in splits:
        offset = float(stream(seed, "load", STREAMS[split]).random())
        for index in range(count):
            load_mm3 = atlas_load_mm3(spread_quantile(index, offset))
            person, session, brain = index, 1, None
            if by_split is not None:
                # once everyone has been used, people return with another session
                turn, person = divmod(index, len(by_split[split]))
                scans = by_split[split][person].scans
                session, brain = turn + 1, scans[turn % len(scans)]
            cases.append(PlannedCase(split, index, person, session, brain, load_mm3, seed))
    return cases


def deal_masks(case: PlannedCase, masks: Sequence[T], people: int | None, *, reserve: bool) -> list[T]:
    """The real masks that may become the lesions of a case.

    Masks are dealt among the people like cards, so that people share masks only if there are too few.

    Args:
        case: The case.
        masks: All masks, in a fixed order.
        people: Number of people; None if every case is a person of its own.
        reserve: See `divide`.

    Returns:
        Between one and `MASKS_PER_HAND` masks.
    """
    pile = divide(masks, "masks", case.seed, reserve=reserve)[case.split] or list(masks)
    hands = max(len(pile) // MASKS_PER_HAND, 1)
    if people is not None:
        hands = min(hands, people)
    # every `hands`-th mask, as cards are dealt
    hand = pile[case.person % hands :: hands]
    chosen = stream(case.seed, "hand", STREAMS[case.split], case.index).permutation(len(hand))[:MASKS_PER_HAND]
    return [hand[index] for index in chosen]
