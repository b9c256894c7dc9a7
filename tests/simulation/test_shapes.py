import numpy as np
import pytest
import torch

from mapping_stroke.simulation.brain import Brain
from mapping_stroke.simulation.lesions import DEEP_SITES, draw_lesions
from mapping_stroke.simulation.volume import Region


def test_lesions_may_be_in_tissue_only(brain: Brain, allowed: Region) -> None:
    assert not (allowed & ~brain.inside).any()
    assert not (allowed & brain.ventricles).any()
    tissue = brain.grey + brain.white
    assert float((allowed & (tissue > 0.5)).sum() / (tissue > 0.5).sum()) > 0.9


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("load_mm3", [27.0, 2_000.0, 30_000.0, 150_000.0])
def test_a_drawn_lesion_has_the_load_asked_for_where_it_may_be(
    brain: Brain, allowed: Region, load_mm3: float, seed: int
) -> None:
    lesions = draw_lesions(brain, allowed, [load_mm3], np.random.default_rng(seed))
    assert not (lesions & ~allowed).any()
    assert int(lesions.sum()) == pytest.approx(load_mm3 / brain.grid.spacing_mm**3, rel=0.05, abs=1)


def test_lesions_do_not_overlap(brain: Brain, allowed: Region) -> None:
    lesions = draw_lesions(brain, allowed, [8_100.0, 2_700.0, 2_700.0], np.random.default_rng(0))
    assert int(lesions.sum()) == 500


def test_a_large_lesion_keeps_to_its_side_and_is_no_ball(brain: Brain, allowed: Region) -> None:
    lesions = draw_lesions(brain, allowed, [80_000.0], np.random.default_rng(4))
    x, y, z = (lesions.nonzero().float() * brain.grid.spacing_mm + torch.tensor(brain.grid.origin_mm)).T
    assert float(x.min()) > -5 or float(x.max()) < 5
    spread = [float(axis.std()) for axis in (x, y, z)]
    assert max(spread) > 1.15 * min(spread)


def surface(region: Region) -> int:
    """Number of faces between a region and its surroundings."""
    return sum(int((region.roll(1, axis) != region).sum()) for axis in range(3))


@pytest.mark.parametrize("load_mm3", [4_000.0, 30_000.0])
def test_smooth_lesions_have_the_load_asked_for_and_less_surface(
    brain: Brain, allowed: Region, load_mm3: float
) -> None:
    faces = {}
    for smooth in (False, True):
        drawn = [draw_lesions(brain, allowed, [load_mm3], np.random.default_rng(s), smooth=smooth) for s in range(8)]
        assert all(not (lesion & ~allowed).any() for lesion in drawn)
        assert [int(one.sum()) for one in drawn] == pytest.approx([load_mm3 / brain.grid.spacing_mm**3] * 8, rel=0.05)
        faces[smooth] = float(np.median([surface(lesion) for lesion in drawn]))
    assert faces[True] < 0.85 * faces[False]


def test_the_same_numbers_draw_the_same_lesion(brain: Brain, allowed: Region) -> None:
    first, second = (draw_lesions(brain, allowed, [5_000.0], np.random.default_rng(9)) for _ in range(2))
    assert torch.equal(first, second)


def test_the_deep_sites_are_weighted_to_1() -> None:
    assert sum(site.weight for site in DEEP_SITES) == pytest.approx(1)


@pytest.mark.parametrize("seed", range(12))
def test_a_lesion_does_not_cross_the_tentorium(brain: Brain, allowed: Region, seed: int) -> None:
    lesions = draw_lesions(brain, allowed, [12_000.0], np.random.default_rng(seed))
    _, y, z = (lesions.nonzero().float() * brain.grid.spacing_mm + torch.tensor(brain.grid.origin_mm)).T
    below = (z < -25) & (y < -50)
    assert not below.any() or not (z > 0).any()
