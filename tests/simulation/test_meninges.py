from dataclasses import replace

import numpy as np
import pytest
import torch

from mapping_stroke.simulation.brain import CSF_LEVEL, Brain
from mapping_stroke.simulation.head import Meninges, draw_meninges, surround_brain
from mapping_stroke.simulation.volume import Volume, refine

EVEN = Meninges(
    fluid_mm=4.0,
    dura_mm=1.0,
    dura=0.5,
    sinus=0.5,
    membranes=0.0,
    marrow=0.1,
    outline_mm=3.0,
    waves_mm=0.0,
    patch_mm=0.0,
)


def surrounded(brain: Brain, meninges: Meninges) -> tuple[Volume, Volume, Volume]:
    around_mm = refine(brain.around_mm, brain.around_grid, brain.grid)
    return around_mm, *surround_brain(around_mm, brain.inside, brain.grid, meninges, np.random.default_rng(0))


def test_a_mask_ends_where_it_is_told_to(brain: Brain) -> None:
    around_mm, _, coverage = surrounded(brain, EVEN)
    assert bool((coverage[around_mm < 1.4] == 1).all())
    assert bool((coverage[around_mm > 4.6] == 0).all())
    wide = surrounded(brain, replace(EVEN, outline_mm=6.0))[2]
    assert float(wide.sum()) > float(coverage.sum())


def test_fluid_lies_next_to_the_brain_and_bone_beyond_the_dura(brain: Brain) -> None:
    around_mm, level, coverage = surrounded(brain, replace(EVEN, outline_mm=10.0, fluid_mm=3.0))
    x, y, _ = (axis.expand(level.shape) for axis in brain.grid.axes_mm(brain.device))
    shown = (coverage == 1) & ~brain.inside & (x.abs() > 20) & (y > -40)
    assert float(level[shown & (around_mm < 1)].median()) == pytest.approx(CSF_LEVEL, abs=0.05)
    assert float(level[shown & (around_mm > 6)].median()) < 0.15


def test_bright_blood_shows_in_the_midline_at_the_top(brain: Brain) -> None:
    around_mm, level, coverage = surrounded(brain, replace(EVEN, sinus=1.8, fluid_mm=2.0, outline_mm=6.0))
    x, _, z = (axis.expand(level.shape) for axis in brain.grid.axes_mm(brain.device))
    top = (coverage > 0.5) & ~brain.inside & (z > 40) & (around_mm > 2)
    assert float(level[top & (x.abs() < 2)].max()) > 1.0
    assert float(level[top & (x.abs() > 18)].max()) < 0.6


def test_old_people_have_more_fluid_and_a_few_had_contrast_medium() -> None:
    rng = np.random.default_rng(0)
    young, old = ([draw_meninges(age, rng) for _ in range(400)] for age in (0.0, 1.0))
    assert np.mean([one.fluid_mm for one in old]) > 1.5 * np.mean([one.fluid_mm for one in young])
    assert 0.02 < np.mean([one.dura > 0.7 for one in young + old]) < 0.12
    assert -1.5 < np.median([one.outline_mm for one in old]) < 1


def test_intensities_are_finite_and_above_0(brain: Brain) -> None:
    rng = np.random.default_rng(0)
    for _ in range(4):
        _, level, _ = surrounded(brain, draw_meninges(1.0, rng))
        assert bool(torch.isfinite(level).all())
        assert float(level.min()) > 0
