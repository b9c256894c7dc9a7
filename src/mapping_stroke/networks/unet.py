"""U-Nets built from a specification: plain or residual encoder, plain decoder, deep supervision."""

from functools import partial
from typing import Any, cast

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from dynamic_network_architectures.building_blocks.residual import BasicBlockD
from dynamic_network_architectures.building_blocks.simple_conv_blocks import ConvDropoutNormReLU
from jaxtyping import Float
from torch import Tensor, nn

from mapping_stroke.errors import BundleError
from mapping_stroke.networks.spec import NetworkSpec, Weights


class FusedInstanceNorm(nn.Module):
    """`nn.InstanceNorm3d` with the same parameters, in operations that a compiler can fuse.

    torch's own norm converts features from the convolutions' memory format (channels last) and back, which takes as
    long as the convolutions. Without compilation this one is slower.
    """

    def __init__(self, norm: nn.InstanceNorm3d) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, features: Float[Tensor, "n c x y z"]) -> Float[Tensor, "n c x y z"]:
        """Normalise each sample and channel to mean 0 and variance 1, then apply weight and bias; in float32."""
        values = features.float()
        variance, mean = torch.var_mean(values, dim=(2, 3, 4), correction=0, keepdim=True)
        # one multiplication and one addition per voxel, since weight and bias are folded in
        scale = torch.rsqrt(variance + self.eps) * self.weight.view(-1, 1, 1, 1)
        return (values * scale + (self.bias.view(-1, 1, 1, 1) - mean * scale)).to(features.dtype)


def fuse_norms(network: nn.Module) -> None:
    """Replace every affine InstanceNorm by a `FusedInstanceNorm` of the same name and parameters."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.InstanceNorm3d) and child.affine:
                holder: Any = parent
                setattr(holder, name, FusedInstanceNorm(child))


def build_unet(spec: NetworkSpec, seed: int | None = None) -> nn.Module:
    """Build a network with fresh weights (He initialisation, slope 0.01; last norm of a residual block at 0).

    Args:
        spec: The architecture.
        seed: Seed of the weights; None draws them from torch's global generator.

    Returns:
        A module from (n, 1, x, y, z) to logits (n, 2, x, y, z), or, while `decoder.deep_supervision` is True (the
        default), to a list of logits, finest first, one per decoder stage.

    Source: Isensee et al. 2021, nnU-Net; same modules and parameter names as nnU-Net v2.
    """
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        return _build(spec)


def load_unet(spec: NetworkSpec, weights: Weights) -> nn.Module:
    """Build a network for prediction from its weights: only the finest output, evaluation mode.

    Raises:
        BundleError: A parameter is missing, surplus or of the wrong shape.
    """
    network = build_unet(spec, seed=0)
    set_weights(network, weights)
    set_deep_supervision(network, enabled=False)
    _cut_to_skips(network)
    return network.eval()


def set_weights(network: nn.Module, weights: Weights) -> None:
    """Set all parameters of a network; raises `BundleError` as `load_unet` does."""
    parameters = dict(network.named_parameters())  # each once, although the library has two names for some
    for name in sorted(parameters.keys() | weights.keys()):
        if name not in weights or name not in parameters or weights[name].shape != parameters[name].shape:
            raise BundleError(f"the weights do not fit the network (at {name}); copy or import that member again")
        parameters[name].data.copy_(torch.from_numpy(weights[name]))


def unet_weights(network: nn.Module) -> Weights:
    """The parameters of a network, each once, in the form of `load_unet`; shares memory with a network on the CPU."""
    return {name: value.detach().cpu().numpy() for name, value in network.named_parameters()}


def set_deep_supervision(network: nn.Module, *, enabled: bool) -> None:
    """Choose between logits at every resolution (training) and only the finest (prediction)."""
    decoder: Any = network.decoder
    decoder.deep_supervision = enabled


def _build(spec: NetworkSpec) -> nn.Module:
    shared: dict[str, Any] = {
        "input_channels": spec.cube_vox,
        "n_stages": spec.stages,
        "features_per_stage": spec.features,
        "conv_op": nn.Conv3d,
        "kernel_sizes": spec.stage_kernels,
        "strides": spec.stage_strides,
        "num_classes": 2 * spec.cube_vox,
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
    return cast(nn.Module, network) if spec.unshuffle == 1 else ShuffledUNet(network, spec.unshuffle)


class ShuffledUNet(nn.Module):
    """A U-Net on cubes of voxels, each of which is one voxel of its first stage; see `NetworkSpec.unshuffle`.

    Its parameters have the names of the U-Net's. Channels are ordered by voxel index in the cube, x slowest; those of
    the output are for background first, then for lesion.
    """

    def __init__(self, unet: nn.Module, edge: int) -> None:
        super().__init__()
        self.encoder, self.decoder, self.edge = unet.encoder, unet.decoder, edge

    def forward(self, voxels: Float[Tensor, "n 1 x y z"]) -> Tensor | list[Tensor]:
        """Logits (n, 2, x, y, z), or a list of them at every resolution."""
        encoder, decoder = cast(nn.Module, self.encoder), cast(nn.Module, self.decoder)
        outputs = decoder(encoder(cubes_to_channels(voxels, self.edge)))
        if isinstance(outputs, list):
            return [channels_to_cubes(output, self.edge) for output in outputs]
        return channels_to_cubes(outputs, self.edge)


def cubes_to_channels(voxels: Float[Tensor, "n 1 x y z"], edge: int) -> Float[Tensor, "n c a b d"]:
    """Turn every cube of this edge into the channels of one voxel, x slowest."""
    n, _, x, y, z = voxels.shape
    cubes = voxels.view(n, x // edge, edge, y // edge, edge, z // edge, edge)
    channels = cubes.permute(0, 2, 4, 6, 1, 3, 5).reshape(n, edge**3, x // edge, y // edge, z // edge)
    return channels.contiguous(memory_format=torch.channels_last_3d)


def channels_to_cubes(logits: Float[Tensor, "n c a b d"], edge: int) -> Float[Tensor, "n 2 x y z"]:
    """The inverse of `cubes_to_channels`, for the channels of background followed by those of lesion."""
    n, _, a, b, d = logits.shape
    cubes = logits.reshape(n, 2, edge, edge, edge, a, b, d).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return cubes.reshape(n, 2, a * edge, b * edge, d * edge)


def _cut_to_skips(network: nn.Module) -> None:
    """Crop the decoder's upsampled features to the encoder's grids, for windows with odd edges at coarse stages."""
    decoder: Any = network.decoder
    grids: list[torch.Size] = []  # of the latest forward pass, finest first

    def remember(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        grids[:] = [skip.shape[2:] for skip in inputs[0]]

    def cut(level: int, _: nn.Module, __: Any, features: Tensor) -> Tensor:
        x, y, z = grids[-2 - level]  # the decoder starts at the second coarsest
        return features[..., :x, :y, :z]

    decoder.register_forward_pre_hook(remember)
    for level, up in enumerate(decoder.transpconvs):
        up.register_forward_hook(partial(cut, level))


def _stride_skips(network: nn.Module, shared: dict[str, Any]) -> None:
    """Use a strided convolution in the shortcut of residual blocks that downsample or widen, as nnU-Net v1 does."""
    kwargs = {name: shared[name] for name in ("norm_op", "norm_op_kwargs")}
    for block in network.modules():
        if isinstance(block, BasicBlockD) and isinstance(block.skip, nn.Sequential):
            inputs, outputs, stride = block.input_channels, block.output_channels, block.stride
            block.skip = nn.Sequential(
                ConvDropoutNormReLU(nn.Conv3d, inputs, outputs, 1, stride, conv_bias=False, nonlin=None, **kwargs)
            )
