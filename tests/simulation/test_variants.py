from dataclasses import replace

import numpy as np
import pytest
import torch

from mapping_stroke.simulation.brain import CSF_LEVEL, GREY_LEVEL, Brain
from mapping_stroke.simulation.variants import (
    NO_VARIANTS,
    SHADES,
    VARIANTS,
    Dimness,
    Pool,
    Variants,
    apply_variants,
    draw_variants,
)
from mapping_stroke.simulation.volume import Volume

CYST = Pool(centre_mm=(30.0, -18.0, 20.0), half_axes_mm=(12.0, 12.0, 12.0), level=0.25, push=0.0, wavy=0.0)


def applied(brain: Brain, variants: Variants, seed: int = 0) -> Volume:
    return apply_variants(brain.t1, brain, variants, np.random.default_rng(seed))


def distance_mm(brain: Brain, pool: Pool) -> Volume:
    x, y, z = (axis - at for axis, at in zip(brain.grid.axes_mm(brain.device), pool.centre_mm, strict=True))
    return torch.sqrt(x**2 + y**2 + z**2)


def test_a_pool_is_fluid_within_and_leaves_the_rest_alone(brain: Brain) -> None:
    t1 = applied(brain, Variants((CYST,)))
    away = distance_mm(brain, CYST)
    torch.testing.assert_close(t1[away < 8], torch.full_like(t1[away < 8], CSF_LEVEL), atol=0.02, rtol=0)
    far = away > 45
    torch.testing.assert_close(t1[far], brain.t1[far])
    assert float(t1[(away > 13) & (away < 14)].median()) == pytest.approx(GREY_LEVEL, abs=0.1)  # its cortex


def test_a_cyst_that_pushes_keeps_the_tissue_it_displaces(brain: Brain) -> None:
    """A bright spot in the middle of where the cyst comes to lie is found around it afterwards."""
    away = distance_mm(brain, CYST)
    marked = replace(brain, t1=torch.where(away < 6, torch.full_like(away, 2.0), brain.t1))
    pushed, replaced = (
        apply_variants(marked.t1, marked, Variants((replace(CYST, push=push),)), np.random.default_rng(0))
        for push in (0.9, 0.0)
    )
    assert float(pushed[away < 8].max()) < 0.5
    assert float(pushed[(away > 13) & (away < 18)].max()) > 1.5 > float(replaced.max())


def test_a_dim_patch_takes_its_share_and_has_no_border(brain: Brain) -> None:
    patch = Dimness((30.0, -18.0, 20.0), radius_mm=15.0, loss=0.4)
    left = applied(brain, Variants(dim=(patch,)))[brain.inside] / brain.t1[brain.inside]
    assert float(left.min()) == pytest.approx(0.6, abs=0.02)
    assert float(left.max()) == 1
    ratio = applied(brain, Variants(dim=(patch,))) / brain.t1.clamp(min=1e-3)
    steps = ratio.diff(dim=0)[brain.inside[1:] & brain.inside[:-1]]
    assert float(steps.abs().max()) < 0.06


@pytest.mark.parametrize("seed", range(12))
def test_what_a_person_has_stays_inside_the_brain(brain: Brain, seed: int) -> None:
    variants = draw_variants(1.0, np.random.default_rng(seed))
    t1 = applied(brain, variants)
    assert bool(torch.isfinite(t1).all())
    assert bool((t1[~brain.inside] == brain.t1[~brain.inside]).all())
    assert 0 <= float(t1[brain.inside].min()) <= float(t1.max()) < 1.5


def test_without_variants_nothing_changes(brain: Brain) -> None:
    assert applied(brain, NO_VARIANTS) is brain.t1


def test_pools_beyond_the_volume_are_left_out(brain: Brain) -> None:
    torch.testing.assert_close(applied(brain, Variants((replace(CYST, centre_mm=(300.0, 0.0, 0.0)),))), brain.t1)


def test_old_people_have_more_of_what_ages() -> None:
    young, old = (
        np.mean([len(draw_variants(age, np.random.default_rng(seed)).pools) for seed in range(300)]) for age in (0, 1)
    )
    assert old > 1.2 * young > 0


def test_each_variant_is_drawn_now_and_then_on_its_own_numbers() -> None:
    assert draw_variants(0.5, np.random.default_rng(3)) == draw_variants(0.5, np.random.default_rng(3))
    drawn = [draw_variants(0.5, np.random.default_rng(seed)) for seed in range(200)]
    assert any(one == NO_VARIANTS or not one.pools for one in drawn)
    assert 0.5 < np.mean([len(one.dim) for one in drawn]) < 2 * sum(row.probability for row in SHADES)
    assert all(0 < row.probability < 0.5 for row in VARIANTS)
