from dataclasses import replace

import numpy as np
import pytest
import torch

from mapping_stroke.dataset.arrays import UNSURE, CaseArrays
from mapping_stroke.training.augment import Warp, _box_to_read, cut_warped, draw_warp, warped_points
from mapping_stroke.training.schemes import DEFAULT, NONE, STRONG

SIZE = (6, 6, 6)
NOISE = torch.Generator().manual_seed(0)
QUARTER_TURN_ABOUT_Z = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])


def make_arrays(edge: int = 12) -> CaseArrays:
    scan = torch.randn(edge, edge, edge, generator=torch.Generator().manual_seed(1)).half()
    mask = (scan > 0.5).to(torch.uint8)
    return CaseArrays("a", scan, mask, np.argwhere(mask.numpy()).astype(np.int16))


def test_without_warp_a_patch_is_the_volumes_own_voxels() -> None:
    scan, mask = cut_warped(make_arrays(), (2, 3, 4), SIZE, Warp(np.eye(3)), NOISE)
    assert torch.equal(scan, make_arrays().scan[2:8, 3:9, 4:10].float())
    assert torch.equal(mask, make_arrays().mask[2:8, 3:9, 4:10].long())


def test_an_interpolated_patch_equals_the_cut_one_where_nothing_moves() -> None:
    almost = Warp(np.eye(3) * (1 + 1e-9))
    scan, mask = cut_warped(make_arrays(), (2, 3, 4), SIZE, almost, NOISE)
    torch.testing.assert_close(scan, make_arrays().scan[2:8, 3:9, 4:10].float(), atol=1e-4, rtol=0)
    assert torch.equal(mask, make_arrays().mask[2:8, 3:9, 4:10].long())


def test_a_quarter_turn_turns_the_patch() -> None:
    plain, _ = cut_warped(make_arrays(), (2, 3, 4), SIZE, Warp(np.eye(3)), NOISE)
    turned, _ = cut_warped(make_arrays(), (2, 3, 4), SIZE, Warp(QUARTER_TURN_ABOUT_Z), NOISE)
    torch.testing.assert_close(turned, plain.rot90(-1, (0, 1)), atol=1e-4, rtol=0)


def test_outside_the_volume_there_is_zero() -> None:
    scan, mask = cut_warped(make_arrays(), (20, 20, 20), SIZE, Warp(QUARTER_TURN_ABOUT_Z), NOISE)
    assert not scan.any()
    assert not mask.any()


def test_a_scale_above_one_shows_more() -> None:
    ball = torch.zeros(24, 24, 24)
    ball[8:16, 8:16, 8:16] = 1
    whole = CaseArrays("a", ball.half(), ball.to(torch.uint8), np.zeros((0, 3), np.int16))
    _, mask = cut_warped(whole, (4, 4, 4), (16, 16, 16), Warp(np.eye(3) * 2), NOISE)
    assert int(mask.sum()) == 4**3


def test_elastic_deformation_moves_voxels_at_most_as_far_as_drawn() -> None:
    edge = 32
    ramp = torch.arange(edge, dtype=torch.float32).reshape(-1, 1, 1).expand(edge, edge, edge)
    whole = CaseArrays("a", ramp.half(), torch.zeros(edge, edge, edge, dtype=torch.uint8), np.zeros((0, 3), np.int16))
    warp = Warp(np.eye(3), (3.0, 3.0, 3.0), (1.5, 1.5, 1.5))
    scan, _ = cut_warped(whole, (8, 8, 8), (16, 16, 16), warp, torch.Generator().manual_seed(3))
    moved = (scan - ramp[8:24, :16, :16]).abs()
    assert 1.0 < float(moved.max()) <= 1.5 + 1e-2


@pytest.mark.parametrize(
    ("augmentation", "rotated_or_scaled", "deformed"), [(NONE, 0, 0), (DEFAULT, 0.36, 0), (STRONG, 0.51, 0.3)]
)
def test_warps_come_as_often_as_their_set_says(augmentation: object, rotated_or_scaled: float, deformed: float) -> None:
    rng = np.random.default_rng(0)
    warps = [draw_warp(augmentation, SIZE, rng) for _ in range(4000)]  # type: ignore[arg-type]
    changed = np.mean([not np.array_equal(warp.matrix, np.eye(3)) for warp in warps])
    assert changed == pytest.approx(rotated_or_scaled, abs=0.03)
    assert np.mean([any(warp.elastic_magnitude_vox) for warp in warps]) == pytest.approx(deformed, abs=0.03)


def test_scales_stay_in_their_range_and_rotations_keep_lengths() -> None:
    rng = np.random.default_rng(0)
    scales = np.array([np.linalg.svd(draw_warp(STRONG, SIZE, rng).matrix)[1] for _ in range(2000)])
    assert scales.min() >= 0.65 - 1e-9
    assert scales.max() <= 1.6 + 1e-9
    independent = np.ptp(scales, axis=1) > 1e-9
    scaled = np.abs(scales - 1).max(axis=1) > 1e-9
    assert independent.sum() / scaled.sum() == pytest.approx(1 / 3, abs=0.06)


@pytest.mark.parametrize("seed", range(12))
def test_the_box_that_is_read_holds_every_point_inside_the_scan(seed: int) -> None:
    rng, shape, size = np.random.default_rng(seed), torch.Size((40, 30, 50)), (24, 16, 20)
    elastic = replace(STRONG, rotation_probability=1, scale_probability=1, elastic_probability=seed % 2)
    warp = draw_warp(elastic, size, rng)
    corner = (int(rng.integers(-6, 20)), int(rng.integers(-6, 20)), int(rng.integers(-6, 35)))
    low, box = _box_to_read(corner, size, warp, shape)
    points = warped_points(corner, size, warp, NOISE).flatten(1).numpy()
    inside = points[:, ((points >= 0) & (points <= np.reshape(shape, (3, 1)) - 1)).all(0)]
    assert inside.size > 0
    assert (low <= inside.T).all()
    assert (np.add(low, box) - 1 >= inside.T).all()


@pytest.mark.parametrize("warp", [Warp(np.eye(3)), Warp(np.eye(3) * (1 + 1e-9)), Warp(QUARTER_TURN_ABOUT_Z)])
def test_unsure_voxels_are_cut_as_lesion_is(warp: Warp) -> None:
    case = make_arrays()
    lesion = case.mask == 1
    unsure = lesion & (torch.arange(12) < 6)
    half = replace(case, mask=case.mask.masked_fill(unsure, UNSURE))
    sure_target, target = (cut_warped(each, (2, 3, 4), SIZE, warp, NOISE)[1] for each in (case, half))
    assert torch.equal(target > 0, sure_target == 1)
    assert set(target.unique().tolist()) == {0, 1, UNSURE}
    assert not (target == UNSURE)[..., 2:].any()
