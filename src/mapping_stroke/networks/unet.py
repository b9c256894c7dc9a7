"""A U-Net from a specification: plain or residual encoder, plain decoder, deep supervision."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from torch import nn

from mapping_stroke.errors import ConfigError

Encoder = Literal["plain", "residual"]


@dataclass(frozen=True)
class NetworkSpec:
    """All that decides a network's function: enough to build it and to load its weights.

    One channel in (T1w), two out (background, lesion). Kernels are 3x3x3; every stage but the first halves the grid.
    """

    encoder: Encoder = "plain"
    features: tuple[int, ...] = (32, 64, 128, 256, 320, 320)
    """Channels of each encoder stage, finest first."""
    depths: tuple[int, ...] = (2, 2, 2, 2, 2, 2)
    """Convolutions (plain) or residual blocks (residual) of each encoder stage."""
    decoder_convolutions: int = 2
    """Convolutions of each decoder stage."""
    conv_bias: bool = True

    def __post_init__(self) -> None:
        if self.encoder not in ("plain", "residual"):
            raise ConfigError(f"encoder is {self.encoder!r}, expected 'plain' or 'residual'")
        if len(self.features) != len(self.depths) or len(self.features) < 2:
            raise ConfigError(
                f"a network needs one depth per stage and at least 2 stages, got features {self.features} "
                f"and depths {self.depths}"
            )
        if min(*self.features, *self.depths, self.decoder_convolutions) < 1:
            raise ConfigError("features, depths and decoder_convolutions must be 1 or more")

    @property
    def stages(self) -> int:
        """Number of resolutions."""
        return len(self.features)

    @property
    def divisor(self) -> int:
        """Each edge of a patch must be a multiple of this."""
        return int(2 ** (self.stages - 1))

    def to_json(self) -> dict[str, object]:
        """The specification as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "NetworkSpec":
        """The inverse of `to_json`; raises `ConfigError` on an unknown or ill-typed entry."""
        entries: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        try:
            return cls(**entries)
        except TypeError as error:
            raise ConfigError(f"network specification {values}: {error}") from error


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
        "kernel_sizes": [(3, 3, 3)] * spec.stages,
        "strides": [(1, 1, 1)] + [(2, 2, 2)] * (spec.stages - 1),
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
    network.apply(network.initialize)
    return cast(nn.Module, network)
