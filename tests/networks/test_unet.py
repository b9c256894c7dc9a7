from typing import Any

import pytest
import torch

from mapping_stroke.errors import ConfigError
from mapping_stroke.networks.spec import NetworkSpec
from mapping_stroke.networks.unet import build_unet, set_deep_supervision
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
        ({"features": (8, 16), "depths": (1, 1), "kernels": ((3, 3, 2),) * 2}, "expected odd numbers"),
    ],
)
def test_an_impossible_network_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        NetworkSpec(**values)
