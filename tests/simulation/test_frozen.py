"""The frozen hold-out: its plan, and cases that are what the plan says."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from mapping_stroke.simulation.bank import COMPARISON_MIX, KINDS, TRAINING_MIX, Host, SimulationBank
from mapping_stroke.simulation.brain import Brain
from mapping_stroke.simulation.frozen import draft_frozen, make_frozen, resolution_of
from mapping_stroke.simulation.frozen_plan import (
    FEWEST_OF_VARIANT,
    FROZEN_CASES,
    LARGE_MM3,
    RESOLUTIONS,
    FrozenCase,
    deal,
    plan_frozen,
)
from mapping_stroke.simulation.lesions import atlas_load_mm3
from mapping_stroke.simulation.scanner import PROTOCOLS
from mapping_stroke.simulation.variants import SHADES, VARIANTS
from mapping_stroke.simulation.volume import Region

PLAN = plan_frozen()
ILL = [case for case in PLAN if case.role == "lesion"]


@pytest.fixture
def bank(brain: Brain, allowed: Region) -> SimulationBank:
    return SimulationBank([Host(brain, allowed)], [])


def first(**wanted: object) -> FrozenCase:
    return next(case for case in PLAN if all(getattr(case, key) == value for key, value in wanted.items()))


@pytest.mark.parametrize("number", [case.number for case in ILL if not case.real_masks][:3])
def test_the_mix_of_a_training_changes_no_case(bank: SimulationBank, number: int) -> None:
    of_training, others = (
        draft_frozen(replace(bank, mix=mix), PLAN[number], PLAN[number].rng()) for mix in (TRAINING_MIX, COMPARISON_MIX)
    )
    assert torch.equal(of_training.lesions, others.lesions)
    assert of_training.look == others.look


def test_a_third_of_the_plan_is_healthy_and_half_of_that_are_twins() -> None:
    assert len(PLAN) == FROZEN_CASES
    assert [case.number for case in PLAN] == list(range(FROZEN_CASES))
    assert Counter(case.role for case in PLAN) == {"lesion": 107, "healthy": 27, "twin": 26}
    for twin in PLAN:
        if twin.twin_of is not None:
            partner = PLAN[twin.twin_of]
            assert partner.role == "lesion"
            assert replace(twin, number=partner.number, role="lesion", twin_of=None) == partner


def test_loads_are_those_of_atlas_evenly_and_so_are_those_with_twins() -> None:
    for loads in ([case.load_mm3 for case in ILL], [case.load_mm3 for case in PLAN if case.role == "twin"]):
        edges = [atlas_load_mm3(quantile) for quantile in (0.0, 0.25, 0.5, 0.75, 1.0)]
        counts, _ = np.histogram(loads, edges)
        assert counts.sum() == len(loads)
        assert np.abs(counts / len(loads) - 0.25).max() < 0.06


def test_every_choice_is_there_in_about_its_share() -> None:
    kinds, voxels = (Counter(getattr(case, name) for case in PLAN) for name in ("kind", "resolution"))
    protocols = Counter(PROTOCOLS[case.protocol] for case in PLAN)
    for counts, shares in (
        (kinds, dict(zip(KINDS, COMPARISON_MIX.kinds, strict=True))),
        (voxels, RESOLUTIONS),
        (protocols, {row: row.share for row in PROTOCOLS}),
    ):
        for option, share in shares.items():
            assert counts[option] / FROZEN_CASES == pytest.approx(share, abs=0.05)
            assert counts[option] >= 5
    assert {case.kind for case in PLAN if case.contrast_medium} == {"intracranial"}


def test_every_large_variant_is_there_a_few_times() -> None:
    pools = Counter(name for case in PLAN for name in case.variants if case.role != "twin")
    shades = Counter(name for case in PLAN for name in case.shades if case.role != "twin")
    assert min(pools[row.name] for row in VARIANTS if row.largest_mm3 >= LARGE_MM3) >= FEWEST_OF_VARIANT
    assert min(shades[row.name] for row in SHADES) >= FEWEST_OF_VARIANT
    assert {"cyst of the convexity", "large cisterna magna"} <= {
        row.name for row in VARIANTS if row.largest_mm3 >= LARGE_MM3
    }


def test_shares_are_dealt_exactly_with_a_few_of_the_rarest() -> None:
    rng = np.random.default_rng(0)
    assert Counter(deal("ab", (0.75, 0.25), 20, rng)) == {"a": 15, "b": 5}
    assert Counter(deal("ab", (0.99, 0.01), 20, rng)) == {"a": 18, "b": 2}
    assert Counter(deal("ab", (0.99, 0.01), 1, rng)) == {"a": 1}
    assert deal("ab", (0.5, 0.5), 0, rng) == []


@pytest.mark.parametrize(
    "case",
    [
        first(contrast_medium=True),
        first(rendered=True, resolution="thick slices"),
        first(kind="head", role="lesion"),
        first(free=True),
        first(protocol=2),
    ],
    ids=lambda case: f"{case.number}",
)
def test_what_is_drawn_is_what_is_planned(bank: SimulationBank, case: FrozenCase) -> None:
    look = draft_frozen(bank, case, case.rng()).look
    assert look.view.kind == case.kind
    assert resolution_of(look.scanner) == case.resolution
    assert (look.rendering is not None) == case.rendered
    assert (look.deformation.turn_deg != (0.0, 0.0, 0.0)) == case.free
    assert (look.meninges is not None and look.meninges.enhanced) == case.contrast_medium
    assert (look.scanner.ceiling is not None) == (PROTOCOLS[case.protocol].ceiling is not None)
    assert len(look.variants.pools) >= len(case.variants)
    assert len(look.variants.dim) == len(case.shades)


def test_variants_of_a_case_are_those_of_the_plan_alone(bank: SimulationBank) -> None:
    case = replace(first(role="healthy"), variants=("cavum vergae",), shades=("ear",))
    variants = draft_frozen(bank, case, case.rng()).look.variants
    assert [pool.level < 0.31 for pool in variants.pools] == [True]
    assert abs(variants.pools[0].centre_mm[0]) < 2
    assert len(variants.dim) == 1
    none = replace(case, variants=(), shades=())
    assert draft_frozen(bank, none, none.rng()).look.variants.pools == ()


def test_a_twin_has_the_voxels_of_its_case_but_no_lesion(bank: SimulationBank) -> None:
    twin = next(case for case in PLAN if case.role == "twin" and case.load_mm3 > 20_000 and case.kind != "head")
    assert twin.twin_of is not None
    ill, healthy = make_frozen(bank, PLAN[twin.twin_of]), make_frozen(bank, twin)
    assert ill.scan.shape == healthy.scan.shape
    assert float((ill.mask > 0).sum()) * 27 == pytest.approx(twin.load_mm3, rel=0.5)
    assert not healthy.mask.any()
    assert torch.equal(ill.scan != 0, healthy.scan != 0)
    assert torch.equal(make_frozen(bank, twin).scan, healthy.scan)
