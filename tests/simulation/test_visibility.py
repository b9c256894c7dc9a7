from dataclasses import replace

import numpy as np
import pytest
import torch

from mapping_stroke.simulation.brain import Brain
from mapping_stroke.simulation.case import SimulatedCase, draw_look, simulate_case, unseen_lesion
from mapping_stroke.simulation.lesions import draw_lesions
from mapping_stroke.simulation.scanner import Scanner, noise_std
from mapping_stroke.simulation.volume import Region

CLEAR = Scanner(csf=0.25, grey=0.65, bias=0.0, noise=0.0, blur_mm=0.0)
NOISY = replace(CLEAR, noise=0.3)


def case_with_change(change: float) -> SimulatedCase:
    """A cube of lesion that painting changed by so much."""
    mask = torch.zeros(8, 8, 8, dtype=torch.bool)
    mask[2:6, 2:6, 2:6] = True
    return SimulatedCase(torch.ones(8, 8, 8), torch.ones(8, 8, 8), mask, change * mask)


def test_noise_is_less_in_larger_voxels_so_that_more_is_seen_there() -> None:
    case = case_with_change(-0.15)
    assert noise_std(NOISY, 3.0) == pytest.approx(0.1)
    assert not unseen_lesion(case, NOISY, 3.0).any()
    assert torch.equal(unseen_lesion(case, NOISY, 1.5), case.mask)


def test_a_case_without_lesion_hides_nothing() -> None:
    healthy = replace(case_with_change(0.0), mask=torch.zeros(8, 8, 8, dtype=torch.bool))
    assert not unseen_lesion(healthy, NOISY, 3.0).any()


def test_a_lesion_is_unseen_below_the_noise_and_seen_above_it() -> None:
    faint, strong = case_with_change(0.05), case_with_change(-0.5)
    assert torch.equal(unseen_lesion(faint, NOISY, 3.0), faint.mask)
    assert not unseen_lesion(strong, NOISY, 3.0).any()
    assert not unseen_lesion(faint, CLEAR, 3.0).any()


def test_a_thin_sulcus_between_lost_gyri_is_seen() -> None:
    case = case_with_change(-0.5)
    case.change[4] = 0
    assert not unseen_lesion(case, NOISY, 3.0).any()


def test_the_change_of_a_case_is_what_its_scanner_shows_of_the_painting(brain: Brain, allowed: Region) -> None:
    lesions = draw_lesions(brain, allowed, [20_000.0], np.random.default_rng(0))
    look = draw_look(20_000.0, CLEAR, 0.0, np.random.default_rng(0))
    look = replace(look, appearance=replace(look.appearance, kind="cavity", fade=0.0, degeneration=0.0))
    whole = simulate_case(brain, lesions, look, np.random.default_rng(0))
    flat = replace(look, scanner=replace(CLEAR, csf=0.6, grey=0.8))
    pale = simulate_case(brain, lesions, flat, np.random.default_rng(0))
    assert float(whole.change[whole.mask].median()) < -0.2
    assert 0.3 < float(pale.change[pale.mask].median() / whole.change[whole.mask].median()) < 0.7
    far = torch.zeros_like(whole.mask)
    far[: whole.mask.shape[0] // 2] = True
    x = whole.mask.nonzero()[:, 0].float().mean()
    other = far if x > whole.mask.shape[0] / 2 else ~far
    assert float(whole.change[other].abs().mean()) < 0.01
    healthy = simulate_case(brain, lesions & ~lesions, look, np.random.default_rng(0))
    assert not healthy.change.any()
