from dataclasses import replace

import numpy as np
import pytest
import torch

from mapping_stroke.training.augment import blur, change_contrast, change_gamma, change_intensity, lower_resolution
from mapping_stroke.training.schemes import DEFAULT, NONE, STRONG


def patch(edge: int = 12) -> torch.Tensor:
    scan = torch.randn(edge, edge, edge, generator=torch.Generator().manual_seed(0))
    scan[:2] = 0  # outside the brain
    return scan


def noise() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def test_the_set_none_changes_nothing() -> None:
    assert torch.equal(change_intensity(patch(), NONE, np.random.default_rng(0), noise()), patch())


@pytest.mark.parametrize("augmentation", [DEFAULT, STRONG])
def test_voxels_outside_the_brain_stay_zero(augmentation: object) -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        changed = change_intensity(patch(), augmentation, rng, noise())  # type: ignore[arg-type]
        assert not changed[:2].any()
        assert torch.isfinite(changed).all()


def test_gamma_keeps_mean_and_spread_and_order() -> None:
    changed = change_gamma(patch(), 1.5)
    assert float(changed.mean()) == pytest.approx(float(patch().mean()), abs=1e-5)
    assert float(changed.std()) == pytest.approx(float(patch().std()), abs=1e-5)
    assert torch.equal(changed.flatten().argsort(), patch().flatten().argsort())


def test_gamma_one_changes_nothing() -> None:
    torch.testing.assert_close(change_gamma(patch(), 1.0), patch(), atol=1e-5, rtol=0)


def test_contrast_stretches_about_the_mean_within_the_range() -> None:
    scan = torch.tensor([0.0, 4, 5, 6, 10]).reshape(1, 1, 5)
    assert change_contrast(scan, 0.5).flatten().tolist() == [2.5, 4.5, 5, 5.5, 7.5]
    assert change_contrast(scan, 2.0).flatten().tolist() == [0, 3, 5, 7, 10]


def test_blur_spreads_a_voxel_as_a_gaussian_along_each_axis() -> None:
    scan = torch.zeros(15, 15, 15)
    scan[7, 7, 7] = 1
    blurred = blur(scan, np.array([0.5, 1.0, 0.75]))
    assert float(blurred.sum()) == pytest.approx(1, abs=1e-5)
    along_y = blurred[7, :, 7]
    assert float(along_y[8] / along_y[7]) == pytest.approx(np.exp(-0.5), abs=1e-5)
    assert float(blurred[8, 7, 7] / blurred[7, 7, 7]) == pytest.approx(np.exp(-2), abs=1e-5)


def test_low_resolution_keeps_the_grid_and_flat_regions() -> None:
    scan = torch.full((8, 8, 8), 3.0)
    assert torch.equal(lower_resolution(scan, 0.5), scan)
    assert lower_resolution(patch(), 0.5).shape == patch().shape


def test_noise_has_the_standard_deviation_that_was_drawn() -> None:
    only_noise = replace(NONE, noise_probability=1, noise_sigma=(0.3, 0.3))
    scan = torch.ones(30, 30, 30)
    changed = change_intensity(scan, only_noise, np.random.default_rng(0), noise())
    assert float((changed - scan).std()) == pytest.approx(0.3, rel=0.02)


def test_brightness_factors_lie_on_both_sides_of_one_equally_often() -> None:
    only_brightness = replace(NONE, brightness_probability=1)
    rng, one = np.random.default_rng(0), torch.ones(1, 1, 1)
    factors = np.array([float(change_intensity(one, only_brightness, rng, noise())) for _ in range(2000)])
    assert factors.min() >= 0.75
    assert factors.max() <= 1.25
    assert np.mean(factors < 1) == pytest.approx(0.5, abs=0.04)
