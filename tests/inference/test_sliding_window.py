import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mapping_stroke.errors import ConfigError
from mapping_stroke.inference.sliding_window import (
    WindowConfig,
    importance_map,
    lesion_probability,
    predict_probability,
    tile_boxes,
)

PATCH = (8, 8, 8)


class PerVoxel(nn.Module):
    """Lesion logit = the voxel itself, background logit = 0: what a patch says does not depend on its place."""

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.zeros_like(tiles), tiles], dim=1)


class Position(nn.Module):
    """Lesion logit = position along x: tells a mirrored patch from a plain one."""

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        ramp = torch.linspace(-1, 1, tiles.shape[2]).reshape(1, 1, -1, 1, 1).expand_as(tiles)
        return torch.cat([torch.zeros_like(tiles), ramp], dim=1)


class Counting(PerVoxel):
    """Counts the patches it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = 0

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        self.patches += len(tiles)
        return super().forward(tiles)


def scan(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@settings(deadline=None, max_examples=25)
@given(st.tuples(*[st.integers(1, 20)] * 3), st.sampled_from([0.25, 0.5, 1.0]), st.integers(1, 3))
def test_a_network_that_sees_single_voxels_predicts_each_as_if_alone(
    shape: tuple[int, int, int], step: float, batch: int
) -> None:
    voxels = scan(*shape)
    predicted = predict_probability(PerVoxel(), voxels, PATCH, WindowConfig(step=step, batch=batch))
    torch.testing.assert_close(predicted, torch.sigmoid(voxels), atol=1e-5, rtol=0)


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


def test_patches_without_brain_are_not_computed_and_give_zero() -> None:
    voxels = torch.zeros(8, 8, 64)
    voxels[:, :, :8] = 1
    network = Counting()
    predicted = predict_probability(network, voxels, PATCH, WindowConfig())
    assert network.patches == 2
    assert not predicted[:, :, 16:].any()
    torch.testing.assert_close(predicted[:, :, :8], torch.sigmoid(voxels[:, :, :8]))


def test_a_scan_without_brain_has_no_lesion() -> None:
    assert not predict_probability(PerVoxel(), torch.zeros(9, 9, 9), PATCH, WindowConfig()).any()


def test_the_probability_is_the_softmax_of_both_logits() -> None:
    logits = torch.randn(2, 2, 3, 3, 3, generator=torch.Generator().manual_seed(0))

    class Fixed(nn.Module):
        def forward(self, tiles: torch.Tensor) -> torch.Tensor:
            return logits

    found = lesion_probability(Fixed(), torch.zeros(2, 1, 3, 3, 3), mirror=False)
    torch.testing.assert_close(found, logits.softmax(1)[:, 1])


def test_mirroring_averages_over_all_eight_flips() -> None:
    network = Counting()
    tiles = scan(1, 1, 4, 4, 4)
    torch.testing.assert_close(lesion_probability(network, tiles, mirror=True), torch.sigmoid(tiles[:, 0]))
    assert network.patches == 8
    even = lesion_probability(Position(), tiles, mirror=True)
    torch.testing.assert_close(even, even.flip(1))


def test_with_mirroring_a_flipped_scan_gives_the_flipped_map() -> None:
    network = nn.Conv3d(1, 2, 3, padding=1)
    voxels = scan(13, 9, 8)
    config = WindowConfig(mirror=True)
    plain = predict_probability(network, voxels, PATCH, config)
    flipped = predict_probability(network, voxels.flip(1), PATCH, config)
    torch.testing.assert_close(flipped.flip(1)[:, 1:-1], plain[:, 1:-1], atol=0.05, rtol=0)


@pytest.mark.parametrize("values", [{"step": 0.0}, {"step": 1.5}, {"batch": 0}])
def test_impossible_settings_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        WindowConfig(**values)  # type: ignore[arg-type]
