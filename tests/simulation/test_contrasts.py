import numpy as np
import pytest

from mapping_stroke.simulation.brain import GREY_LEVEL, RENDERED, Brain, Rendering, draw_rendering, render

PLAIN = Rendering(kept=0.0, cortex=0.0, deep_grey=0.0, cerebellum=0.0, texture=0.0)


def test_a_plain_rendering_has_the_levels_of_the_tissues(brain: Brain) -> None:
    t1 = render(brain, PLAIN, np.random.default_rng(0)).t1
    assert float(t1[brain.grey == 1].median()) == pytest.approx(GREY_LEVEL)
    assert float(t1[brain.white == 1].median()) == pytest.approx(1)
    assert float(t1[~brain.inside].abs().max()) == 0


def test_no_rendering_leaves_the_brain_as_it_is(brain: Brain) -> None:
    assert render(brain, None, np.random.default_rng(0)) is brain


@pytest.mark.parametrize("seed", range(5))
def test_tissues_keep_their_order(brain: Brain, seed: int) -> None:
    rng = np.random.default_rng(seed)
    drawn = next(one for one in iter(lambda: draw_rendering(rng), 0) if one is not None)
    t1 = render(brain, drawn, rng).t1
    csf, grey, white = (float(t1[part > 0.99].median()) for part in (brain.csf, brain.grey, brain.white))
    assert csf + 0.1 < grey < white


def test_as_many_are_rendered_as_said() -> None:
    rng = np.random.default_rng(0)
    assert np.mean([draw_rendering(rng) is not None for _ in range(1000)]) == pytest.approx(RENDERED, abs=0.04)
