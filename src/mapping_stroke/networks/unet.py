"""A U-Net from a specification: plain or residual encoder, plain decoder, deep supervision."""

from functools import partial
from typing import Any, cast

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from dynamic_network_architectures.building_blocks.residual import BasicBlockD
from dynamic_network_architectures.building_blocks.simple_conv_blocks import ConvDropoutNormReLU
from torch import nn

from mapping_stroke.errors import BundleError
from mapping_stroke.networks.spec import NetworkSpec, Weights


def build_unet(spec: NetworkSpec, seed: int | None = None) -> nn.Module:
    """Build a network with fresh weights (He initialisation, slope 0.01; last norm of a residual block at 0).

    Args:
        spec: What to build.
        seed: Seeds the weights; None draws them from torch's global generator.

    Returns:
        A module that maps (n, 1, x, y, z) to logits (n, 2, x, y, z), or, while `decoder.deep_supervision` is True
        (as it is at birth), to a list of logits, finest first, one for each decoder stage.

    Source: Isensee et al. 2021, nnU-Net; same modules and parameter names as nnU-Net v2.
    """
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        return _build(spec)


def load_unet(spec: NetworkSpec, weights: Weights) -> nn.Module:
    """Build a network from its weights, to predict with: the finest output only, evaluation mode.

    Raises:
        BundleError: A parameter is missing, surplus or ill-shaped; it is named.
    """
    network = build_unet(spec, seed=0)
    set_weights(network, weights)
    set_deep_supervision(network, enabled=False)
    _cut_to_skips(network)
    return network.eval()


def set_weights(network: nn.Module, weights: Weights) -> None:
    """Give a network all its parameters; raises `BundleError` as `load_unet` does."""
    parameters = dict(network.named_parameters())  # each once, though the library holds some under two names
    for name in sorted(parameters.keys() | weights.keys()):
        if name not in weights or name not in parameters or weights[name].shape != parameters[name].shape:
            raise BundleError(f"the weights do not fit the network (at {name}); copy or import that member again")
        parameters[name].data.copy_(torch.from_numpy(weights[name]))


def unet_weights(network: nn.Module) -> Weights:
    """The parameters of a network, each once, as `load_unet` takes them; they share memory with one on the CPU."""
    return {name: value.detach().cpu().numpy() for name, value in network.named_parameters()}


def set_deep_supervision(network: nn.Module, *, enabled: bool) -> None:
    """Choose between a list of logits at every resolution (training) and the finest alone (prediction)."""
    decoder: Any = network.decoder
    decoder.deep_supervision = enabled


def _build(spec: NetworkSpec) -> nn.Module:
    shared: dict[str, Any] = {
        "input_channels": 1,
        "n_stages": spec.stages,
        "features_per_stage": spec.features,
        "conv_op": nn.Conv3d,
        "kernel_sizes": spec.stage_kernels,
        "strides": spec.stage_strides,
        "num_classes": 2,
        "n_conv_per_stage_decoder": spec.decoder_convolutions,
        "conv_bias": spec.conv_bias,
        "norm_op": nn.InstanceNorm3d,
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": nn.LeakyReLU,
        "nonlin_kwargs": {"inplace": True},
        "deep_supervision": True,
    }
    network: PlainConvUNet | ResidualEncoderUNet
    if spec.encoder == "plain":
        network = PlainConvUNet(n_conv_per_stage=spec.depths, **shared)
    else:
        network = ResidualEncoderUNet(n_blocks_per_stage=spec.depths, **shared)
        if spec.skip == "strided":
            _stride_skips(network, shared)
    network.apply(network.initialize)
    return cast(nn.Module, network)


def _cut_to_skips(network: nn.Module) -> None:
    """Let the decoder take windows whose coarse stages have odd edges: what it doubles is cut to the encoder's grid."""
    decoder: Any = network.decoder
    grids: list[torch.Size] = []

    def remember(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        grids[:] = [skip.shape[2:] for skip in inputs[0]]

    def cut(level: int, _: nn.Module, __: Any, features: torch.Tensor) -> torch.Tensor:
        x, y, z = grids[-2 - level]
        return features[..., :x, :y, :z]

    decoder.register_forward_pre_hook(remember)
    for level, up in enumerate(decoder.transpconvs):
        up.register_forward_hook(partial(cut, level))


def _stride_skips(network: nn.Module, shared: dict[str, Any]) -> None:
    """Shorten the input of each residual block that coarsens or widens by a strided convolution, as nnU-Net v1 does."""
    kwargs = {name: shared[name] for name in ("norm_op", "norm_op_kwargs")}
    for block in network.modules():
        if isinstance(block, BasicBlockD) and isinstance(block.skip, nn.Sequential):
            inputs, outputs, stride = block.input_channels, block.output_channels, block.stride
            block.skip = nn.Sequential(
                ConvDropoutNormReLU(nn.Conv3d, inputs, outputs, 1, stride, conv_bias=False, nonlin=None, **kwargs)
            )
