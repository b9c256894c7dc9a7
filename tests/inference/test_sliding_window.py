from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from torch import nn

from mapping_stroke.errors import ConfigError
from mapping_stroke.inference.sliding_window import (
    ALL_AXES,
    NO_LESION_LOGIT,
    WindowConfig,
    importance_map,
    plan_tiling,
    predict_map,
    tile_boxes,
    window_shape,
)
from mapping_stroke.inference.torch_engine import TorchNetwork

PATCH = (8, 8, 8)
STEPS = (4, 4, 4)
TILES = WindowConfig()


class PerVoxel(TorchNetwork):
    """Logit = the voxel itself: what a patch says does not depend on its place. Counts the patches that it sees."""

    def __init__(self, batch: int = 1) -> None:
        super().__init__(nn.Identity())
        self.batch_vox = batch * 8**3
        self.patches = 0
        self.largest = 0
        self.groups: list[int] = []

    def logits(self, patches: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        self.patches += len(patches)
        self.largest = max(self.largest, len(patches))
        self.groups.append(len(patches))
        return list(patches)


class Ramp(PerVoxel):
    """Logit = position along x: tells a mirrored patch from a plain one."""

    def logits(self, patches: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        super().logits(patches)
        ramp = torch.linspace(-1, 1, patches[0].shape[0]).reshape(-1, 1, 1)
        return [ramp.expand_as(patch) for patch in patches]


def scan(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def predict(network: TorchNetwork, voxels: np.ndarray, config: WindowConfig = TILES) -> np.ndarray:
    return predict_map(network, voxels, plan_tiling(voxels, PATCH, STEPS, config), config)


@settings(deadline=None, max_examples=25)
@given(
    st.tuples(*[st.integers(1, 20)] * 3),
    st.sampled_from([0.25, 0.5, 1.0]),
    st.integers(1, 3),
    st.sampled_from(["tiles", "window"]),
)
def test_a_network_that_sees_single_voxels_predicts_each_as_if_alone(
    shape: tuple[int, int, int], step: float, batch: int, cover: str
) -> None:
    voxels = scan(*shape)
    network = PerVoxel(batch)
    predicted = predict(network, voxels, WindowConfig(step=step, cover=cover))
    np.testing.assert_allclose(predicted, expit(voxels), atol=1e-5)
    assert network.largest <= batch


@given(st.tuples(*[st.integers(8, 40)] * 3), st.floats(0.1, 1))
def test_tiles_cover_every_voxel_and_lie_inside(shape: tuple[int, int, int], step: float) -> None:
    covered = np.zeros(shape, bool)
    for box in tile_boxes(shape, PATCH, step):
        assert covered[box].shape == PATCH
        covered[box] = True
    assert covered.all()


def test_tiles_are_placed_as_nnunet_places_them() -> None:
    starts = sorted({box[1].start for box in tile_boxes((128, 233, 128), (128, 128, 128), 0.5)})
    assert starts == [0, 52, 105]


def test_importance_is_a_gaussian_with_its_peak_at_the_centre() -> None:
    weight = importance_map((16, 16, 16))
    assert float(weight[8, 8, 8]) == 1
    assert float(weight[10, 8, 8]) == pytest.approx(np.exp(-0.5), abs=1e-3)
    assert float(weight.min()) > 0


@pytest.mark.parametrize(("length", "sizes"), [(24, [3, 2]), (36, [3, 3, 2]), (40, [3, 3, 3]), (8, [1])])
def test_the_first_group_of_patches_is_as_large_as_any(length: int, sizes: list[int]) -> None:
    network = PerVoxel(batch=3)
    predict(network, scan(8, 8, length))
    assert network.groups == sizes


def test_patches_without_brain_are_not_computed_and_give_zero() -> None:
    voxels = np.zeros((8, 8, 64), np.float32)
    voxels[:, :, :8] = 1
    network = PerVoxel()
    predicted = predict(network, voxels)
    assert network.patches == 2
    assert not predicted[:, :, 16:].any()
    np.testing.assert_allclose(predicted[:, :, :8], expit(voxels[:, :, :8]), atol=1e-6)


@pytest.mark.parametrize("cover", ["tiles", "window"])
def test_a_scan_without_brain_has_no_lesion(cover: str) -> None:
    empty = np.zeros((9, 9, 9), np.float32)
    assert not predict(PerVoxel(), empty, WindowConfig(cover=cover)).any()
    logits = predict(PerVoxel(), empty, WindowConfig(cover=cover, average="logit"))
    assert (logits == np.float32(NO_LESION_LOGIT)).all()


def test_one_window_covers_the_scan_in_multiples_that_the_network_needs() -> None:
    assert window_shape((1, 8, 9), PATCH, STEPS) == (4, 8, 12)
    network = PerVoxel()
    predict(network, scan(30, 8, 9), WindowConfig(cover="window"))
    assert network.patches == 1


def test_logits_are_averaged_where_that_is_asked_for() -> None:
    voxels = scan(11, 9, 8)
    np.testing.assert_allclose(predict(PerVoxel(), voxels, WindowConfig(average="logit")), voxels, atol=1e-5)


def test_the_probability_is_the_softmax_of_both_logits() -> None:
    network = nn.Conv3d(1, 2, 1)
    voxels = torch.from_numpy(scan(8, 8, 8))
    expected = network(voxels[None, None]).softmax(1)[0, 1].detach()
    np.testing.assert_allclose(predict(TorchNetwork(network), voxels.numpy()), expected.numpy(), atol=1e-6)


def test_mirroring_averages_over_all_eight_flips() -> None:
    network, voxels = PerVoxel(), scan(8, 8, 8)
    mirrored = WindowConfig(mirror=ALL_AXES)
    np.testing.assert_allclose(predict(network, voxels, mirrored), expit(voxels), atol=1e-6)
    assert network.patches == 8
    even = predict(Ramp(), voxels, mirrored)
    np.testing.assert_allclose(even, even[::-1], atol=1e-6)


def test_along_one_axis_there_are_two_mirrorings_and_the_others_stay() -> None:
    network = Ramp()
    along_x = predict(network, scan(8, 8, 8), WindowConfig(mirror=(0,)))
    assert network.patches == 2
    np.testing.assert_allclose(along_x, along_x[::-1], atol=1e-6)
    along_y = predict(Ramp(), scan(8, 8, 8), WindowConfig(mirror=(1,)))
    np.testing.assert_allclose(along_y, predict(Ramp(), scan(8, 8, 8)), atol=1e-6)


def test_with_mirroring_a_flipped_scan_gives_the_flipped_map() -> None:
    network = TorchNetwork(nn.Conv3d(1, 2, 3, padding=1))
    voxels = scan(13, 9, 8)
    plain = predict(network, voxels, WindowConfig(mirror=ALL_AXES))
    flipped = predict(network, np.ascontiguousarray(voxels[:, ::-1]), WindowConfig(mirror=ALL_AXES))
    np.testing.assert_allclose(flipped[:, ::-1][:, 1:-1], plain[:, 1:-1], atol=0.05)


def test_the_shares_of_progress_sum_to_one() -> None:
    shares: list[float] = []
    voxels = scan(20, 17, 9)
    predict_map(PerVoxel(2), voxels, plan_tiling(voxels, PATCH, STEPS, WindowConfig()), WindowConfig(), shares.append)
    assert sum(shares) == pytest.approx(1)
    assert len(shares) > 1


@pytest.mark.parametrize("step", [0.0, 1.5])
def test_impossible_settings_are_refused(step: float) -> None:
    with pytest.raises(ConfigError, match="expected"):
        WindowConfig(step=step)
