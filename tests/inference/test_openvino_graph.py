from dataclasses import replace

import numpy as np
import pytest
import torch

from mapping_stroke.errors import ConfigError
from mapping_stroke.inference.openvino_engine import OpenVinoEngine
from mapping_stroke.inference.torch_engine import TorchNetwork
from mapping_stroke.networks.spec import NetworkSpec, Weights
from mapping_stroke.networks.unet import build_unet, load_unet

SPECS = {
    "plain": NetworkSpec("plain", (4, 8, 16), (2, 2, 2)),
    "plain without biases": NetworkSpec("plain", (4, 8), (1, 2), 1, conv_bias=False),
    "residual": NetworkSpec("residual", (4, 8, 16, 16), (1, 2, 2, 2), 1, conv_bias=False),
    "residual with strided skips": NetworkSpec(
        "residual", (4, 8, 16, 16), (1, 2, 2, 2), 1, conv_bias=False, skip="strided"
    ),
    "anisotropic": NetworkSpec(
        "plain",
        (4, 8, 16),
        (2, 2, 2),
        kernels=((1, 3, 3), (3, 3, 3), (3, 3, 3)),
        strides=((1, 1, 1), (1, 2, 2), (2, 2, 2)),
    ),
    "plain on cubes": NetworkSpec("plain", (4, 8), (1, 2), unshuffle=2),
    "residual on cubes": NetworkSpec("residual", (4, 8), (1, 2), 1, conv_bias=False, unshuffle=2),
}
PATCH = (16, 8, 16)


def some_weights(spec: NetworkSpec) -> Weights:
    """As after some training: biases and norms are not what they are at birth."""
    network = build_unet(spec, seed=1)
    generator = torch.Generator().manual_seed(2)
    return {
        name: (value + 0.1 * torch.randn(value.shape, generator=generator)).detach().numpy()
        for name, value in network.named_parameters()
    }


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_the_graph_computes_what_the_torch_network_computes(spec: NetworkSpec) -> None:
    weights = some_weights(spec)
    patches = list(np.random.default_rng(0).standard_normal((2, *PATCH)).astype(np.float32))
    network = OpenVinoEngine("float32").load(spec, lambda: weights)
    expected = TorchNetwork(load_unet(spec, weights)).logits([torch.from_numpy(patch) for patch in patches])
    for found, right in zip(network.logits(patches), expected, strict=True):
        np.testing.assert_allclose(found, right.numpy(), atol=1e-4)


@pytest.mark.parametrize("window", [(24, 16, 20), (12, 8, 36)])
def test_windows_with_odd_edges_in_the_coarse_stages_give_the_same_in_both(window: tuple[int, int, int]) -> None:
    deep = NetworkSpec("plain", (2, 4, 4, 4, 4), (1,) * 5, 1)
    strided = NetworkSpec("residual", (2, 4, 4, 4, 4), (1,) * 5, 1, conv_bias=False, skip="strided")
    for spec in (deep, strided, replace(deep, unshuffle=2)):
        assert spec.window_steps == (4 * spec.unshuffle,) * 3
        weights = some_weights(spec)
        shape = tuple(edge * spec.unshuffle for edge in window)
        voxels = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        (found,) = OpenVinoEngine("float32").load(spec, lambda weights=weights: weights).logits([voxels])
        (right,) = TorchNetwork(load_unet(spec, weights)).logits([torch.from_numpy(voxels)])
        assert found.shape == shape
        np.testing.assert_allclose(found, right.numpy(), atol=1e-4)


def test_a_group_that_is_one_patch_short_gives_the_same() -> None:
    spec = SPECS["plain"]
    weights = some_weights(spec)
    patches = list(np.random.default_rng(0).standard_normal((3, *PATCH)).astype(np.float32))
    network = OpenVinoEngine("float32").load(spec, lambda: weights)
    whole = network.logits(patches)
    short = network.logits(patches[:2])
    assert len(short) == 2
    np.testing.assert_allclose(short, whole[:2], atol=1e-5)


def test_memory_that_was_given_back_is_taken_again() -> None:
    spec = SPECS["plain"]
    weights = some_weights(spec)
    network = OpenVinoEngine("float32").load(spec, lambda: weights)
    patch = np.random.default_rng(0).standard_normal(PATCH).astype(np.float32)
    (before,) = network.logits([patch])
    network.release()
    (after,) = network.logits([patch])
    np.testing.assert_array_equal(before, after)


def test_a_patch_that_does_not_suit_the_network_is_refused() -> None:
    spec = SPECS["plain"]
    network = OpenVinoEngine("float32").load(spec, lambda: some_weights(spec))
    with pytest.raises(ConfigError, match="not a multiple"):
        network.logits([np.zeros((6, 8, 8), np.float32)])


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ConfigError, match="bfloat16 and float32"):
        OpenVinoEngine("float16")
