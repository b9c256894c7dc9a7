"""The plan of the frozen hold-out: which cases there are, with every share kept to rather than left to chance."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, TypeVar

import numpy as np

from mapping_stroke.dataset.simulate.contrasts import RENDERED
from mapping_stroke.dataset.simulate.intensity import PROTOCOLS
from mapping_stroke.dataset.simulate.loads import atlas_load_mm3, spread_quantile
from mapping_stroke.dataset.simulate.meninges import CONTRAST_MEDIUM
from mapping_stroke.dataset.simulate.stream import KINDS, PLACED_MIX
from mapping_stroke.dataset.simulate.variant_table import SHADES, VARIANTS
from mapping_stroke.dataset.simulate.view import Kind

Role = Literal["lesion", "healthy", "twin"]
Resolution = Literal["fine", "2 mm", "thick slices"]
T = TypeVar("T")

FROZEN_CASES = 160
FROZEN_SEED = 6
CYCLE: tuple[Role, ...] = ("lesion", "lesion", "healthy", "lesion", "lesion", "twin")
"""Who comes after whom: two thirds have lesions, and half of the others are healthy twins of the case before them."""
RESOLUTIONS: dict[Resolution, float] = {"fine": 0.76, "2 mm": 0.10, "thick slices": 0.14}
"""Shares of the cases by their voxels, about those of `draw_any_scanner`."""
FEWEST_DEALT, FEWEST_OF_VARIANT = 2, 4
"""Every choice is in so many cases with lesions and of the healthy at least, every large variant in so many of both."""
LARGE_MM3 = 2_000.0
"""Variants that can become so large are large."""
USUAL_AGE = 0.65
"""Age for which the shares of variants are taken: about the mean of all cases."""


@dataclass(frozen=True)
class FrozenCase:
    """A case of the frozen hold-out; all that the plan leaves open is drawn from its own random numbers.

    Attributes:
        number: Its number, from 0.
        role: `lesion`; `healthy`, who never had one; or `twin`, the same person as a case with lesions, without them.
        twin_of: Number of that case; None for others.
        load_mm3: The load that is asked for, of a twin that of the other; 0 for the healthy.
        real_masks: Whether the lesions are of real masks rather than drawn, where there are masks.
        place: Which of the brains, in [0, 1).
        kind: What the scan shows of the head.
        free: Whether it lies in a space of its own rather than in MNI152 space.
        protocol: Row of `PROTOCOLS`.
        resolution: Of its voxels.
        contrast_medium: Whether it was given; only ever with the kind `intracranial`.
        rendered: Whether the brain is rendered from its tissue maps.
        variants: Names of the rows of `VARIANTS` that it has.
        shades: Likewise of `SHADES`.
    """

    number: int
    role: Role
    twin_of: int | None
    load_mm3: float
    real_masks: bool
    place: float
    kind: Kind
    free: bool
    protocol: int
    resolution: Resolution
    contrast_medium: bool
    rendered: bool
    variants: tuple[str, ...] = ()
    shades: tuple[str, ...] = ()

    def rng(self) -> np.random.Generator:
        """The random numbers of the case; twins have the same."""
        return np.random.default_rng([FROZEN_SEED, self.number if self.twin_of is None else self.twin_of])


@cache
def plan_frozen() -> tuple[FrozenCase, ...]:
    """All cases. What each dealing decides is independent of the others; the same everywhere."""
    roles = [CYCLE[number % len(CYCLE)] for number in range(FROZEN_CASES)]
    own: dict[int, FrozenCase] = {}
    for role in ("lesion", "healthy"):
        own |= _plan_people(role, [number for number, its in enumerate(roles) if its == role])
    own = _deal_variants(own)
    twins = {
        number: replace(own[number - 1], number=number, role="twin", twin_of=number - 1)
        for number, role in enumerate(roles)
        if role == "twin"
    }
    return tuple((own | twins)[number] for number in range(FROZEN_CASES))


def deal(options: Sequence[T], shares: Sequence[float], count: int, rng: np.random.Generator) -> list[T]:
    """Deal options among so many cases, each as often as its share says, but `FEWEST_DEALT` times at least if possible.

    Args:
        options: What is dealt.
        shares: How much of each; their sum is 1.
        count: Cases, 0 or more. Those that are rounded or lifted are made up for by the most frequent option.
        rng: Decides who gets what.
    """
    least = min(FEWEST_DEALT, count // len(options))
    counts = [max(round(share * count), least) for share in shares]
    counts[int(np.argmax(shares))] += count - sum(counts)
    dealt = [option for option, number in zip(options, counts, strict=True) for _ in range(number)]
    return [dealt[index] for index in rng.permutation(count)]


def _plan_people(role: Role, numbers: Sequence[int]) -> dict[int, FrozenCase]:
    count = len(numbers)

    def dealt(use: str, options: Sequence[T], shares: Sequence[float]) -> list[T]:
        return deal(options, shares, count, _stream(f"{role}: {use}"))

    def share(use: str, probability: float) -> list[bool]:
        return dealt(use, (False, True), (1 - probability, probability))

    offset = float(_stream("load").random())
    places = (_stream(f"{role}: place").permutation(count) + 0.5) / max(count, 1)
    columns = zip(
        numbers,
        share("masks", 1 - PLACED_MIX.drawn),
        dealt("kind", KINDS, PLACED_MIX.kinds),
        share("free", PLACED_MIX.free),
        dealt("protocol", range(len(PROTOCOLS)), [protocol.share for protocol in PROTOCOLS]),
        dealt("resolution", tuple(RESOLUTIONS), tuple(RESOLUTIONS.values())),
        share("rendered", RENDERED),
        strict=True,
    )
    cases = {}
    for order, (number, masks, kind, free, protocol, resolution, rendered) in enumerate(columns):
        load_mm3 = atlas_load_mm3(spread_quantile(order, offset)) if role == "lesion" else 0.0
        who = (number, role, None, load_mm3, masks, float(places[order]))
        cases[number] = FrozenCase(*who, kind, free, protocol, resolution, contrast_medium=False, rendered=rendered)
    shown = [case.number for case in cases.values() if case.kind == "intracranial"]
    enhanced = _chosen(shown, CONTRAST_MEDIUM, f"{role}: contrast medium", 1)
    return cases | {number: replace(cases[number], contrast_medium=True) for number in enhanced}


def _deal_variants(cases: dict[int, FrozenCase]) -> dict[int, FrozenCase]:
    """Every row among cases of its own, whatever the other rows are: one that changes moves no other."""
    for row in VARIANTS:
        least = FEWEST_OF_VARIANT if row.largest_mm3 >= LARGE_MM3 else 0
        having = _chosen(list(cases), row.share(USUAL_AGE), row.name, least)
        cases |= {number: replace(cases[number], variants=(*cases[number].variants, row.name)) for number in having}
    for shade in SHADES:
        having = _chosen(list(cases), shade.probability, f"dim: {shade.name}", FEWEST_OF_VARIANT)
        cases |= {number: replace(cases[number], shades=(*cases[number].shades, shade.name)) for number in having}
    return cases


def _chosen(numbers: Sequence[int], share: float, use: str, least: int) -> list[int]:
    """This share of the numbers, but so many at least if there are."""
    count = min(max(round(share * len(numbers)), least), len(numbers))
    return [numbers[index] for index in sorted(_stream(use).permutation(len(numbers))[:count].tolist())]


def _stream(use: str) -> np.random.Generator:
    """Random numbers of one use."""
    return np.random.default_rng([FROZEN_SEED, zlib.crc32(use.encode())])
