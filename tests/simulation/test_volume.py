import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis.strategies import integers, tuples

from mapping_stroke.simulation.volume import (
    blur,
    blur_region,
    depth_in,
    enlarge,
    erode,
    gradient,
    smooth_field,
    stretch,
    top_voxels,
    warp,
    white_noise,
)

CPU = torch.device("cpu")


def test_a_smooth_field_has_mean_0_and_standard_deviation_1() -> None:
    field = smooth_field((60, 60, 60), 3.0, np.random.default_rng(0), CPU)
    assert abs(float(field.mean())) < 0.1
    assert float(field.std()) == pytest.approx(1, abs=0.1)


def test_a_smooth_field_with_wide_knots_changes_little_from_voxel_to_voxel() -> None:
    field = smooth_field((20, 20, 20), 20.0, np.random.default_rng(0), CPU)
    assert float(gradient(field).abs().max()) < 0.15


def test_blurring_keeps_the_sum_of_a_point_and_is_symmetric() -> None:
    point = torch.zeros(15, 15, 15)
    point[7, 7, 7] = 1
    soft = blur(point, 1.2)
    assert float(soft.sum()) == pytest.approx(1, abs=1e-4)
    torch.testing.assert_close(soft, soft.flip(0, 1, 2))
    assert blur(point, 0.0) is point


def test_a_warp_by_whole_voxels_is_a_shift_and_shows_0_beyond_the_border() -> None:
    row = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1, 1).expand(1, 4, 2, 2)
    displacement = torch.zeros(3, 4, 2, 2)
    displacement[0] = 1
    assert warp(row, displacement)[0, :, 0, 0].tolist() == pytest.approx([2, 3, 4, 0])


@given(tuples(integers(1, 4), integers(1, 4), integers(1, 4)), integers(0, 70))
def test_top_voxels_are_as_many_as_asked_or_all(shape: tuple[int, int, int], count: int) -> None:
    score = torch.arange(float(np.prod(shape))).reshape(shape)
    allowed = score % 2 == 0
    chosen = top_voxels(score, allowed, count)
    assert int(chosen.sum()) == min(count, int(allowed.sum()))
    assert not (chosen & ~allowed).any()
    left = allowed & ~chosen
    assert not left.any() or not chosen.any() or float(score[left].max()) < float(score[chosen].min())


def test_eroding_a_cube_by_faces_or_corners() -> None:
    cube = torch.zeros(5, 5, 5, dtype=torch.bool)
    cube[1:4, 1:4, 1:4] = True
    cube[0, 2, 2] = True
    assert erode(cube, diagonal=False).nonzero().tolist() == [[1, 2, 2], [2, 2, 2]]
    assert erode(cube, diagonal=True).nonzero().tolist() == [[2, 2, 2]]


def test_depth_counts_from_1_at_the_border() -> None:
    cube = torch.zeros(9, 9, 9, dtype=torch.bool)
    cube[1:8, 1:8, 1:8] = True
    assert depth_in(cube, 8)[:, 4, 4].tolist() == [0, 1, 2, 3, 4, 3, 2, 1, 0]
    assert float(depth_in(cube, 2).max()) == 2


def test_stretching_follows_the_lines_between_knots() -> None:
    values = torch.tensor([-1.0, 0.0, 1.0, 2.0, 4.0]).view(1, 1, 5)
    assert stretch(values, (0, 1, 2), (0, 10, 11)).flatten().tolist() == [0, 0, 10, 11, 13]


def test_enlarging_every_second_voxel_of_a_ramp_gives_the_ramp() -> None:
    ramp = torch.arange(7.0).view(7, 1, 1).expand(7, 5, 4)
    torch.testing.assert_close(enlarge(ramp[::2, ::2, ::2], (7, 5, 4), 2), ramp.contiguous())


def test_noise_is_decided_by_the_generator() -> None:
    first, second = (white_noise((3, 3, 3), np.random.default_rng(1), CPU) for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_a_region_is_blurred_as_the_whole_volume_is() -> None:
    region = torch.zeros(20, 22, 24, dtype=torch.bool)
    region[9:12, 8:12, 10:13] = True
    torch.testing.assert_close(blur_region(region, 1.2), blur(region.float(), 1.2), atol=1e-4, rtol=0)
    assert not blur_region(torch.zeros_like(region), 1.2).any()
