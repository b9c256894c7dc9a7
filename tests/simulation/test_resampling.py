import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis.strategies import permutations, sampled_from, tuples

from mapping_stroke.dataset.grid import Grid
from mapping_stroke.simulation.volume import average, resample

GRID = Grid((6, 7, 8), 1.0, (-2.0, -3.0, -1.0))


def test_a_voxel_on_another_grid_lands_at_its_place() -> None:
    mask = torch.zeros(4, 4, 4)
    mask[3, 0, 2] = 1  # LAS, first voxel at (1, -2, 0) mm: this one lies at (-2, -2, 2)
    affine = np.array([[-1.0, 0, 0, 1], [0, 1, 0, -2], [0, 0, 1, 0], [0, 0, 0, 1]])
    assert (resample(mask, affine, GRID) > 0.5).nonzero().tolist() == [[0, 1, 3]]


@given(permutations([0, 1, 2]), tuples(*[sampled_from([1, -1])] * 3))
def test_reorienting_an_array_and_its_affine_changes_nothing(order: list[int], signs: tuple[int, int, int]) -> None:
    volume = torch.from_numpy(np.random.default_rng(0).random(GRID.shape, dtype=np.float32))
    flips = [axis for axis in range(3) if signs[axis] < 0]
    turned = volume.flip(flips).permute(order).contiguous()
    to_volume = np.zeros((4, 4))  # index in `turned` -> index in `volume`
    to_volume[3, 3] = 1
    for new, old in enumerate(order):
        to_volume[old, new] = signs[old]
        to_volume[old, 3] = volume.shape[old] - 1 if signs[old] < 0 else 0
    torch.testing.assert_close(resample(turned, GRID.affine @ to_volume, GRID), volume, atol=1e-4, rtol=0)


def test_a_larger_voxel_becomes_many_small_ones() -> None:
    mask = torch.zeros(4, 4, 4)
    mask[2, 2, 2] = 1
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = (-2, -3, -1)
    fine = resample(mask, affine, GRID)
    assert float(fine[4, 4, 4]) == pytest.approx(1)
    assert float(fine[3, 4, 4]) == pytest.approx(0.5)
    assert float(fine.sum()) == pytest.approx(8, abs=1e-3)


def test_a_volume_elsewhere_gives_an_empty_one() -> None:
    affine = np.eye(4)
    affine[0, 3] = 100
    assert not resample(torch.ones(3, 3, 3), affine, GRID).any()
    assert not average(torch.ones(3, 3, 3), affine, Grid((3, 3, 3), 3.0, GRID.origin_mm)).any()
