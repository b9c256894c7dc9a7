from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis.strategies import integers, tuples
from torch.nn import functional

from mapping_stroke.errors import ConfigError
from mapping_stroke.networks.growth import can_grow, grow_weights
from mapping_stroke.networks.spec import NetworkSpec, parameter_shapes
from mapping_stroke.networks.unet import load_unet
from small_models import random_weights

PLAIN = NetworkSpec("plain", (2, 5, 9), (1, 2, 1), 2)
RESIDUAL = NetworkSpec("residual", (2, 5, 9), (1, 2, 1), 1, conv_bias=False)


@pytest.mark.parametrize("spec", [PLAIN, RESIDUAL], ids=["plain", "residual"])
@settings(max_examples=8, deadline=None)
@given(more=tuples(integers(0, 2), integers(1, 3), integers(2, 4)), unshuffle=integers(1, 2), seed=integers(0, 9))
def test_a_grown_network_says_of_every_voxel_what_the_former_said_of_the_mean_of_its_cube(
    spec: NetworkSpec, more: tuple[int, int, int], unshuffle: int, seed: int
) -> None:
    new = replace(spec, features=tuple(n + m for n, m in zip(spec.features, more, strict=True)), unshuffle=unshuffle)
    weights = random_weights(spec, seed)
    grown = grow_weights(weights, spec, new, seed)
    assert {name: value.shape for name, value in grown.items()} == parameter_shapes(new)
    voxels = torch.from_numpy(np.random.default_rng(seed).standard_normal((1, 1, 16, 16, 16)).astype(np.float32))
    with torch.no_grad():
        former = load_unet(spec, weights)(functional.avg_pool3d(voxels, unshuffle))
        found = load_unet(new, grown)(voxels)
    expected = functional.interpolate(former, scale_factor=unshuffle, mode="nearest")
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_new_channels_have_weights_of_their_own() -> None:
    new = replace(PLAIN, features=(4, 8, 12))
    weights = random_weights(PLAIN)
    one, two = (grow_weights(weights, PLAIN, new, seed) for seed in (1, 2))
    name = "encoder.stages.1.0.convs.1.conv.weight"
    assert not one[name][:5, 5:].any()  # what is new leads to nothing that was there
    assert one[name][5:].all()
    assert not np.array_equal(one[name][5:], two[name][5:])
    assert np.array_equal(one[name][:5, :5], weights[name])


@pytest.mark.parametrize(
    "new",
    [
        replace(PLAIN, features=(2, 5, 8)),
        replace(PLAIN, features=(2, 5, 9, 9), depths=(1, 2, 1, 1)),
        replace(PLAIN, depths=(1, 1, 1)),
        replace(PLAIN, encoder="residual"),
    ],
)
def test_a_network_that_is_not_wider_but_another_is_refused(new: NetworkSpec) -> None:
    assert not can_grow(PLAIN, new)
    with pytest.raises(ConfigError, match="cannot grow"):
        grow_weights(random_weights(PLAIN), PLAIN, new, 0)


def test_neither_grow_networks_on_cubes_nor_residual_ones_that_would_lose_a_shortcut() -> None:
    assert not can_grow(replace(PLAIN, unshuffle=2), replace(PLAIN, unshuffle=2, features=(4, 6, 9)))
    assert not can_grow(RESIDUAL, replace(RESIDUAL, features=(5, 5, 9)))
    assert can_grow(RESIDUAL, replace(RESIDUAL, features=(4, 6, 12), unshuffle=2))
