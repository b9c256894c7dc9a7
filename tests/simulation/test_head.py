from dataclasses import replace

import numpy as np
import pytest
import torch

from mapping_stroke.simulation.brain import Brain
from mapping_stroke.simulation.case import draw_any_look, head_grid, simulate_case
from mapping_stroke.simulation.head import EYES_MM, Kind, View, build_head, cover, draw_head, draw_view, limit
from mapping_stroke.simulation.lesions import draw_lesions
from mapping_stroke.simulation.scanner import draw_scanner
from mapping_stroke.simulation.volume import Region, Volume, refine

QUIET = replace(draw_scanner(np.random.default_rng(0)), noise=0.0, bias=0.0)


@pytest.fixture(scope="module")
def around(brain: Brain) -> tuple[Volume, Volume, Volume]:
    """Distance outside the brain, intensities and depth below the skin, on the grid of the head."""
    grid = head_grid(brain)
    around_mm = refine(brain.around_mm, brain.around_grid, grid)
    rng = np.random.default_rng(0)
    return around_mm, *build_head(around_mm, grid, replace(draw_head(0.5, rng), marrow=0.1), rng)


def test_the_distance_outside_the_brain_is_right_to_a_few_mm(brain: Brain) -> None:
    around_mm = refine(brain.around_mm, brain.around_grid, brain.grid)
    x, y, z = brain.grid.axes_mm(brain.device)
    above = (x.abs() < 3) & ((y + 18).abs() < 3) & ((z - (9 + 62 + 9)).abs() < 2)
    assert float(around_mm[above].mean()) == pytest.approx(9, abs=3)
    assert float(around_mm[brain.depth_mm > 10].max()) <= 0


def test_a_skull_is_dark_between_brain_and_bright_scalp(brain: Brain, around: tuple[Volume, Volume, Volume]) -> None:
    around_mm, level, skin_mm = around
    z = head_grid(brain).axes_mm(brain.device)[2].expand(level.shape)
    vault = (z > 20) & (skin_mm > 0)
    skull = level[vault & (around_mm > 1.5) & (around_mm < 4)].median()
    scalp = level[vault & (skin_mm > 2) & (skin_mm < 4)].median()
    assert float(skull) < 0.4 < float(scalp)


def test_eyes_are_dark_in_bright_fat(brain: Brain) -> None:
    grid = head_grid(brain)
    far = torch.full(grid.shape, 30.0)
    rng = np.random.default_rng(0)
    level, _ = build_head(far, grid, draw_head(0.5, rng), rng)
    x, y, z = grid.axes_mm(brain.device)
    away = torch.sqrt((x.abs() - EYES_MM[0]) ** 2 + (y - EYES_MM[1]) ** 2 + (z - EYES_MM[2]) ** 2)
    assert float(level[away < 6].median()) < 0.25
    assert float(level[(away > 15) & (away < 16)].median()) > 0.6


@pytest.mark.parametrize(("kind", "compare"), [("too much", 1), ("too little", -1), ("stripped", 0)])
def test_stripping_leaves_more_less_or_just_the_brain(brain: Brain, kind: Kind, compare: int) -> None:
    around_mm = refine(brain.around_mm, brain.around_grid, brain.grid)
    shown = cover(brain, around_mm, View(kind, margin_mm=6.0 * abs(compare)), np.random.default_rng(0))
    more = float((shown - brain.inside.float()).sum())
    assert np.sign(round(more)) == compare


def test_a_tight_stripping_takes_outer_csf_only(brain: Brain) -> None:
    shown = cover(brain, None, View("stripped", margin_mm=2.5), np.random.default_rng(0))
    lost = brain.inside & (shown == 0)
    assert 0 < int(lost.sum()) < 0.2 * int(brain.inside.sum())
    assert float(brain.depth_mm[lost].max()) < 6


def test_a_field_of_view_ends_where_it_ends_and_a_removed_face_is_gone(brain: Brain) -> None:
    shown = limit(torch.ones(brain.grid.shape), brain.grid, View("head", 0.0, -40.0, 60.0, 60.0))
    _, y, z = (axis.expand(brain.grid.shape) for axis in brain.grid.axes_mm(brain.device))
    assert not shown[(z < -40) | (z > 60) | (0.8 * y - 0.6 * z > 60)].any()
    assert bool(shown[(z.abs() < 30) & (y < 40)].all())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["intracranial", "stripped", "too much", "too little", "head"])
def test_every_view_of_a_case_shows_its_lesions_inside_what_it_shows(
    brain: Brain, allowed: Region, kind: Kind, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    lesions = draw_lesions(brain, allowed, [20_000.0], rng)
    case = simulate_case(brain, lesions, draw_any_look(20_000.0, QUIET, kind, 0.7, rng), rng)
    assert bool((case.coverage[case.mask] > 0.5).all())
    assert bool(torch.isfinite(case.scan).all())
    assert float(case.scan.min()) >= 0
    assert int(case.mask.sum()) > 0.2 * int(lesions.sum())
    assert (case.scan.numel() > brain.t1.numel()) == (kind == "head")


def test_air_is_shown_or_0() -> None:
    views = [draw_view("head", np.random.default_rng(seed)) for seed in range(20)]
    assert {view.air for view in views} == {True, False}
    assert {view.faceless_mm is None for view in views} == {True, False}
