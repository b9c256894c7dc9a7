from dataclasses import replace

import numpy as np
import pytest
import torch

from mapping_stroke.simulation.scanner import Scanner, acquire, draw_any_scanner

PLAIN = Scanner(csf=0.25, grey=0.65, bias=0.0, noise=0.0, blur_mm=0.0)
STEP = torch.cat([torch.full((10, 12, 14), 0.65), torch.full((10, 12, 14), 1.0)])


def scan(scanner: Scanner, spacing_mm: float = 1.0) -> torch.Tensor:
    return acquire(STEP, spacing_mm, scanner, np.random.default_rng(0))


def test_a_plain_scanner_changes_nothing() -> None:
    torch.testing.assert_close(scan(PLAIN), STEP)


def test_thick_slices_average_across_and_not_along_them() -> None:
    thick = scan(replace(PLAIN, slice_axis=0, slice_mm=5.0))[2:-2]
    assert len(thick[:, 0, 0].unique()) > 4
    assert float(thick[:, 0, 0].std()) < float(STEP[2:-2, 0, 0].std())
    torch.testing.assert_close(scan(replace(PLAIN, slice_axis=1, slice_mm=5.0)), STEP)


def test_slices_no_thicker_than_a_voxel_change_nothing() -> None:
    torch.testing.assert_close(scan(replace(PLAIN, slice_axis=0, slice_mm=2.0), spacing_mm=2.0), STEP)


def test_a_cut_of_high_frequencies_rings_beside_an_edge() -> None:
    ringing = scan(replace(PLAIN, ringing=1.0, ringing_axis=0))[:, 5, 5]
    assert float(ringing.max()) > 1.02
    assert float(ringing.diff().abs()[2:7].max()) > 0.005


@pytest.mark.parametrize("rician", [True, False])
def test_noise_has_its_strength_and_less_in_larger_voxels(*, rician: bool) -> None:
    noisy = replace(PLAIN, noise=0.1, rician=rician)
    assert float((scan(noisy) - STEP).std()) == pytest.approx(0.1, rel=0.1)
    assert float((scan(noisy, spacing_mm=2.0) - STEP).std()) == pytest.approx(0.05, rel=0.1)


def test_gamma_and_bias_keep_the_order_of_tissues_on_the_whole() -> None:
    changed = scan(replace(PLAIN, gamma=1.3, bias=0.05))
    assert float(changed[:10].mean()) < float(changed[10:].mean())


def test_any_scanner_shows_csf_darker_than_grey_and_grey_than_white() -> None:
    rng = np.random.default_rng(0)
    scanners = [draw_any_scanner(rng) for _ in range(300)]
    assert all(scanner.csf + 0.2 < scanner.grey < 0.9 for scanner in scanners)
    assert 0.15 < np.mean([scanner.slice_mm > 0 for scanner in scanners]) < 0.35
    assert 0.05 < np.mean([scanner.plane_mm > 0 for scanner in scanners]) < 0.2
    assert 0.05 < np.mean([scanner.ceiling is not None for scanner in scanners]) < 0.25
    assert 0.03 < np.mean([scanner.csf < 0.04 for scanner in scanners]) < 0.15


def test_coarse_voxels_average_within_the_slices_too() -> None:
    coarse = replace(PLAIN, slice_axis=2, slice_mm=2.0, plane_mm=4.0)
    assert len(scan(coarse)[:, 5, 5].unique()) > len(scan(replace(coarse, plane_mm=0.0))[:, 5, 5].unique())


def test_nothing_is_brighter_than_the_ceiling() -> None:
    flat = scan(replace(PLAIN, noise=0.1, ceiling=1.0))
    assert float(flat.max()) == 1.0
    assert float((flat == 1.0).float().mean()) > 0.2  # half of white matter has one value


def test_a_signal_that_fades_does_so_downwards() -> None:
    left = scan(replace(PLAIN, fading=0.5, fading_mm=6.0)) / STEP
    down = left[0, 0]
    assert bool((down.diff() > 0).all())
    assert float(down[0]) == pytest.approx(0.52, abs=0.05)
    assert float(down[-1]) > 0.95
