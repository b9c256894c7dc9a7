from dataclasses import replace

import numpy as np
import pytest
import torch

from mapping_stroke.simulation.brain import CSF_LEVEL, GREY_LEVEL, Brain
from mapping_stroke.simulation.person import Ageing, age_brain, draw_ageing
from mapping_stroke.simulation.volume import Volume

YOUNG = Ageing(
    folds=1.0,
    atrophy=0.0,
    foci=0,
    ventricles_mm=0.0,
    asymmetry=0.0,
    caps_mm=0.0,
    confluent=0.0,
    punctate=0.0,
    pale_level=0.7,
    spaces=0.0,
    deep_grey=0.0,
)


def aged(brain: Brain, ageing: Ageing, seed: int = 0) -> Volume:
    return age_brain(brain, torch.zeros_like(brain.inside), ageing, np.random.default_rng(seed))


def fluid_ml(brain: Brain, t1: Volume) -> float:
    return float((t1[brain.inside] < CSF_LEVEL + 0.1).sum()) * brain.grid.spacing_mm**3 / 1000


def test_the_young_change_only_where_there_is_csf(brain: Brain) -> None:
    t1 = aged(brain, YOUNG)
    torch.testing.assert_close(t1[brain.csf == 0], brain.t1[brain.csf == 0])
    assert draw_ageing(0.0, np.random.default_rng(0)).foci == 0


def test_atrophy_turns_the_tissue_beside_csf_into_csf_and_leaves_the_depth(brain: Brain) -> None:
    t1 = aged(brain, replace(YOUNG, atrophy=1.0))
    assert fluid_ml(brain, t1) > 1.3 * fluid_ml(brain, brain.t1)
    deep = (brain.near_csf < 1e-3) & brain.inside
    torch.testing.assert_close(t1[deep], brain.t1[deep], atol=0.02, rtol=0)
    assert fluid_ml(brain, aged(brain, replace(YOUNG, foci=3))) > fluid_ml(brain, brain.t1)


def test_sulci_widen_beside_a_lesion(brain: Brain) -> None:
    x, y, z = brain.grid.axes_mm(brain.device)
    lesions = ((x - 50) ** 2 + (y + 18) ** 2 + (z - 9) ** 2) < 15**2
    t1 = age_brain(brain, lesions, YOUNG, np.random.default_rng(0))
    right, left = ((side * x > 30).expand(brain.grid.shape) & brain.inside for side in (1, -1))
    lost = [float((brain.t1 - t1)[half].sum()) for half in (right, left)]
    assert lost[0] > 1.5 * max(lost[1], 0.0)


def test_ventricles_grow_more_on_one_side(brain: Brain) -> None:
    t1 = aged(brain, replace(YOUNG, ventricles_mm=5.0, asymmetry=0.5))
    lost = brain.t1 - t1
    x = brain.grid.axes_mm(brain.device)[0].flatten()
    assert bool((lost > -1e-5).all())
    assert float(lost[x > 0].sum()) > 1.1 * float(lost[x < 0].sum()) > 0


@pytest.mark.parametrize("change", [{"caps_mm": 10.0}, {"confluent": 1.0}, {"punctate": 1.0}])
def test_old_white_matter_is_paler_but_not_as_dark_as_fluid(brain: Brain, change: dict[str, float]) -> None:
    t1 = aged(brain, replace(YOUNG, **change))  # type: ignore[arg-type]
    white = brain.white > 0.5
    assert bool((t1[white] <= brain.t1[white] + 1e-5).all())
    assert float(t1[white].min()) > GREY_LEVEL
    assert float((t1[white] < 0.95).float().mean()) > 0.005


def test_vessel_spaces_are_small_and_dark(brain: Brain) -> None:
    t1 = aged(brain, replace(YOUNG, spaces=1.0))
    dark = (t1 < brain.t1 - 0.2) & (brain.csf == 0)
    assert 0 < float(dark.float().mean()) < 0.01


def test_iron_brightens_deep_grey_matter_only(brain: Brain) -> None:
    deep = replace(brain, grey=torch.ones_like(brain.grey), white=torch.zeros_like(brain.white))
    brighter = aged(deep, replace(YOUNG, deep_grey=0.1)) - deep.t1
    assert float(brighter[brain.depth_mm > 40].median()) == pytest.approx(0.1, abs=0.02)
    assert float(brighter[(brain.depth_mm < 10) & brain.inside].abs().max()) < 0.02


def test_what_the_years_do_is_drawn_from_the_numbers_given() -> None:
    old = [draw_ageing(1.0, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert old[0] == old[1] != old[2]
    assert 0 <= old[0].atrophy <= 1
