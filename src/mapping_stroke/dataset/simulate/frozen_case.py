"""Cases of the frozen hold-out, made from a bank of the people and masks that are for test."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np

from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.dataset.simulate.case import Look, draw_any_look
from mapping_stroke.dataset.simulate.contrasts import draw_rendering
from mapping_stroke.dataset.simulate.frozen_plan import FrozenCase, Resolution
from mapping_stroke.dataset.simulate.intensity import PROTOCOLS, Scanner, draw_any_scanner
from mapping_stroke.dataset.simulate.meninges import draw_meninges
from mapping_stroke.dataset.simulate.stream import DEFORMATION, Draft, SimulationBank, make_case, place_lesions
from mapping_stroke.dataset.simulate.variant_table import SHADES, VARIANTS
from mapping_stroke.dataset.simulate.variants import make_variants

T = TypeVar("T")

TRIES = 10_000
"""What is not drawn in so many tries cannot be drawn."""


def make_frozen(bank: SimulationBank, case: FrozenCase) -> CaseArrays:
    """Make a case of the plan.

    Args:
        bank: Brains and masks; its mix and scanner count for nothing here.
        case: The case. A twin has the voxels of the case whose twin it is, without the lesions.
    """
    rng = case.rng()
    draft = draft_frozen(bank, case, rng)
    return make_case(bank, draft.twin if case.role == "twin" else draft, rng)


def draft_frozen(bank: SimulationBank, case: FrozenCase, rng: np.random.Generator) -> Draft:
    """Draw what the plan leaves open: each part anew until it is what the plan says."""
    host = bank.hosts[int(case.place * len(bank.hosts))]
    dealt = replace(bank, mix=replace(bank.mix, drawn=0.0 if case.real_masks else 1.0))
    lesions = place_lesions(dealt, host, case.load_mm3, rng)
    return Draft(f"frozen-{case.number:03d}", host, lesions, _draw_look(case, rng))


def resolution_of(scanner: Scanner) -> Resolution:
    """What the voxels of a drawn scanner are called in the plan."""
    if scanner.slice_mm > 2:
        return "thick slices"
    return "2 mm" if scanner.plane_mm > 0 else "fine"


def _draw_look(case: FrozenCase, rng: np.random.Generator) -> Look:
    scanner = _draw_until(
        lambda: draw_any_scanner(rng, (PROTOCOLS[case.protocol],)),
        lambda scanner: resolution_of(scanner) == case.resolution,
    )
    look = draw_any_look(case.load_mm3, scanner, case.kind, DEFORMATION, rng, 1.0 if case.free else 0.0)
    meninges = look.meninges
    if meninges is not None:
        meninges = _draw_until(
            lambda: draw_meninges(look.age, rng), lambda meninges: meninges.enhanced == case.contrast_medium
        )
    rendering = _draw_until(lambda: draw_rendering(rng), lambda rendering: (rendering is not None) == case.rendered)
    pools = [row for row in VARIANTS if row.name in case.variants]
    dim = [row for row in SHADES if row.name in case.shades]
    return replace(look, meninges=meninges, rendering=rendering, variants=make_variants(pools, dim, rng))


def _draw_until(draw: Callable[[], T], fits: Callable[[T], bool]) -> T:
    """Draw until it fits: what is drawn is as it would be by chance, given that it fits."""
    for _ in range(TRIES):
        drawn = draw()
        if fits(drawn):
            return drawn
    raise AssertionError("the plan asks for what is never drawn")
