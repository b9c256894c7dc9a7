"""Plan of the frozen hold-out: 160 cases with prescribed properties, the same on every machine."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, TypeVar

import numpy as np

from mapping_stroke.simulation.bank import COMPARISON_MIX, KINDS
from mapping_stroke.simulation.brain import RENDERED
from mapping_stroke.simulation.head import CONTRAST_MEDIUM, Kind
from mapping_stroke.simulation.lesions import atlas_load_mm3, spread_quantile
from mapping_stroke.simulation.scanner import PROTOCOLS
from mapping_stroke.simulation.settings import FROZEN_CASES
from mapping_stroke.simulation.variants import SHADES, VARIANTS

Role = Literal["lesion", "healthy", "twin"]
Resolution = Literal["fine", "2 mm", "thick slices"]
T = TypeVar("T")

FROZEN_SEED = 6
CYCLE: tuple[Role, ...] = ("lesion", "lesion", "healthy", "lesion", "lesion", "twin")
"""Repeating order of roles: two thirds have lesions, and half of the others are twins of the preceding case."""
RESOLUTIONS: dict[Resolution, float] = {"fine": 0.76, "2 mm": 0.10, "thick slices": 0.14}
"""Shares of the cases by voxel size, close to those of `draw_any_scanner`."""
FEWEST_DEALT, FEWEST_OF_VARIANT = 2, 4
"""Fewest cases, with and without lesions, for every option and for every large variant."""
LARGE_MM3 = 2_000.0
"""Variants that can reach this volume count as large."""
USUAL_AGE = 0.65
"""Age at which the frequencies of variants are taken: about the mean of all cases."""


@dataclass(frozen=True)
class FrozenCase:
    """A case of the frozen hold-out. Everything else is drawn from its own random numbers.

    Attributes:
        number: Number of the case, from 0.
        role: `lesion`; `healthy`, without any lesion; or `twin`, a case with lesions once more, without them.
        twin_of: Number of the case with lesions; None for other roles.
        load_mm3: Target lesion load, for a twin that of the other case; 0 for the healthy.
        real_masks: Whether the lesions come from real masks, if there are any, instead of being drawn.
        place: Position of the brain among all brains, in [0, 1).
        kind: Part of the head that the scan shows.
        free: Whether it lies in scanner space instead of MNI152 space.
        protocol: Index in `PROTOCOLS`.
        resolution: Kind of voxel size.
        contrast_medium: Whether the scan is contrast-enhanced; only with the kind `intracranial`.
        rendered: Whether the brain is rendered from its tissue maps.
        variants: Names of its rows of `VARIANTS`.
        shades: Names of its rows of `SHADES`.
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
        """The random numbers of the case. Twins share them."""
        return np.random.default_rng([FROZEN_SEED, self.number if self.twin_of is None else self.twin_of])


@cache
def plan_frozen() -> tuple[FrozenCase, ...]:
    """Plan all cases, identically on every machine. Each property is dealt independently of the others."""
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
    """Deal options among cases according to their shares, but each at least `FEWEST_DEALT` times if possible.

    Args:
        options: The options.
        shares: Share of each, with sum 1.
        count: Number of cases. The most frequent option absorbs rounding and minimum counts.
        rng: Source of the permutation.
    """
    least = min(FEWEST_DEALT, count // len(options))
    counts = [max(round(share * count), least) for share in shares]
    # the largest share absorbs rounding and minimum counts
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
    # one case per equal part of [0, 1), in random order, so that all brains are used
    places = (_stream(f"{role}: place").permutation(count) + 0.5) / max(count, 1)
    columns = zip(
        numbers,
        share("masks", 1 - COMPARISON_MIX.drawn),
        dealt("kind", KINDS, COMPARISON_MIX.kinds),
        share("free", COMPARISON_MIX.free),
        dealt("protocol", range(len(PROTOCOLS)), [protocol.share for protocol in PROTOCOLS]),
        dealt("resolution", tuple(RESOLUTIONS), tuple(RESOLUTIONS.values())),
        share("rendered", RENDERED),
        strict=True,
    )
    cases = {}
    for order, (number, masks, kind, free, protocol, resolution, rendered) in enumerate(columns):
        # evenly spread quantiles: even a small hold-out covers all loads
        load_mm3 = atlas_load_mm3(spread_quantile(order, offset)) if role == "lesion" else 0.0
        who = (number, role, None, load_mm3, masks, float(places[order]))
        cases[number] = FrozenCase(*who, kind, free, protocol, resolution, contrast_medium=False, rendered=rendered)
    shown = [case.number for case in cases.values() if case.kind == "intracranial"]
    enhanced = _chosen(shown, CONTRAST_MEDIUM, f"{role}: contrast medium", 1)
    return cases | {number: replace(cases[number], contrast_medium=True) for number in enhanced}


def _deal_variants(cases: dict[int, FrozenCase]) -> dict[int, FrozenCase]:
    """Deal every variant independently, so that changing one row leaves the others as they are."""
    for row in VARIANTS:
        least = FEWEST_OF_VARIANT if row.largest_mm3 >= LARGE_MM3 else 0
        having = _chosen(list(cases), row.share(USUAL_AGE), row.name, least)
        cases |= {number: replace(cases[number], variants=(*cases[number].variants, row.name)) for number in having}
    for shade in SHADES:
        having = _chosen(list(cases), shade.probability, f"dim: {shade.name}", FEWEST_OF_VARIANT)
        cases |= {number: replace(cases[number], shades=(*cases[number].shades, shade.name)) for number in having}
    return cases


def _chosen(numbers: Sequence[int], share: float, use: str, least: int) -> list[int]:
    """Choose this share of the numbers, but at least `least` if possible."""
    count = min(max(round(share * len(numbers)), least), len(numbers))
    return [numbers[index] for index in sorted(_stream(use).permutation(len(numbers))[:count].tolist())]


def _stream(use: str) -> np.random.Generator:
    """Random numbers for one use, independent of all others."""
    return np.random.default_rng([FROZEN_SEED, zlib.crc32(use.encode())])
