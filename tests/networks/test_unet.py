from dataclasses import replace
from typing import Any

import pytest
import torch

from mapping_stroke.errors import ConfigError
from mapping_stroke.networks.spec import NetworkSpec
from mapping_stroke.networks.unet import build_unet, channels_to_cubes, cubes_to_channels, set_deep_supervision
from mapping_stroke.training.schemes import SIZES

SMALL = NetworkSpec("plain", (2, 4, 8), (1, 1, 1), 1)
SMALL_RESIDUAL = NetworkSpec("residual", (2, 4, 8), (1, 1, 1), 1, conv_bias=False)


def test_the_papers_networks_have_31_and_62_million_parameters() -> None:
    def parameters(spec: NetworkSpec) -> int:
        return sum(parameter.numel() for parameter in build_unet(spec).parameters())

    full = SIZES["full"]
    assert parameters(full.plain) == 31_195_594
    assert parameters(full.residual) == 61_996_258


@pytest.mark.parametrize("spec", [SMALL, SMALL_RESIDUAL])
def test_training_sees_every_resolution_and_prediction_the_finest(spec: NetworkSpec) -> None:
    network = build_unet(spec, seed=0)
    patch = torch.zeros(1, 1, 8, 8, 8)
    assert [tuple(logits.shape) for logits in network(patch)] == [(1, 2, 8, 8, 8), (1, 2, 4, 4, 4)]
    set_deep_supervision(network, enabled=False)
    assert network(patch).shape == (1, 2, 8, 8, 8)


def test_a_network_on_cubes_sees_and_marks_every_voxel_of_them() -> None:
    spec = replace(SMALL, unshuffle=2)
    assert (spec.divisors, spec.shapes((16, 16, 8))[0], spec.cube_vox) == ((8, 8, 8), (8, 8, 4), 8)
    network = build_unet(spec, seed=0)
    patch = torch.zeros(1, 1, 16, 16, 8)
    assert [tuple(logits.shape) for logits in network(patch)] == [(1, 2, 16, 16, 8), (1, 2, 8, 8, 4)]
    set_deep_supervision(network, enabled=False)
    brighter = patch.clone()
    brighter[..., 3, 5, 1] = 1
    change = network(brighter) - network(patch)
    assert len(change[0, 1].unique()) > 64  # of more values than there are cubes


def test_channels_stand_for_the_voxels_of_a_cube_and_become_them_again() -> None:
    voxels = torch.arange(2.0 * 4 * 4 * 6).reshape(2, 1, 4, 4, 6)
    channels = cubes_to_channels(voxels, 2)
    assert channels.shape == (2, 8, 2, 2, 3)
    assert torch.equal(channels[0, :, 0, 0, 0], voxels[0, 0, :2, :2, :2].flatten())  # x slowest
    both = torch.cat([channels, -channels], dim=1)  # background first, then lesion
    assert torch.equal(channels_to_cubes(both, 2), torch.cat([voxels, -voxels], dim=1))


@pytest.mark.parametrize("spec", [SMALL, SMALL_RESIDUAL])
def test_on_cubes_a_network_costs_an_eighth_of_one_on_their_voxels_but_for_both_ends(spec: NetworkSpec) -> None:
    cubes = replace(spec, unshuffle=2)
    ends = 2 * 8**3 * 27 * spec.features[0] + 2 * 8**3 * spec.features[0]  # first convolution, last output
    assert cubes.forward_flop((16, 16, 16)) == pytest.approx(spec.forward_flop((8, 8, 8)) + 7 * ends)


def test_a_seed_decides_the_weights_and_leaves_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    first, second, other = build_unet(SMALL, seed=1), build_unet(SMALL, seed=1), build_unet(SMALL, seed=2)
    assert torch.equal(torch.get_rng_state(), state)
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)
    assert any(not torch.equal(one, two) for one, two in zip(first.parameters(), other.parameters(), strict=True))


def test_weights_start_as_he_initialisation_asks() -> None:
    network = build_unet(NetworkSpec("plain", (32, 64), (2, 2)), seed=0)
    convolution = dict(network.named_parameters())["encoder.stages.1.0.convs.1.conv.weight"]
    expected = (2 / (1 + 0.01**2) / (64 * 27)) ** 0.5
    assert float(convolution.detach().std()) == pytest.approx(expected, rel=0.02)


def test_a_residual_block_starts_as_its_skip() -> None:
    weights = dict(build_unet(SMALL_RESIDUAL, seed=0).named_parameters())
    last_norms = [value for name, value in weights.items() if "blocks" in name and name.endswith("conv2.norm.weight")]
    assert len(last_norms) == 3
    assert all(not value.any() for value in last_norms)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"features": (8, 16), "depths": (1,)}, "one depth per stage"),
        ({"features": (8,), "depths": (1,)}, "at least 2 stages"),
        ({"features": (8, 0), "depths": (1, 1)}, "must be 1 or more"),
        ({"features": (8, 8), "depths": (1, 1), "unshuffle": 0}, "must be 1 or more"),
        ({"features": (8, 16), "depths": (1, 1), "kernels": ((3, 3, 2),) * 2}, "expected odd numbers"),
    ],
)
def test_an_impossible_network_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        NetworkSpec(**values)
