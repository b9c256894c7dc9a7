"""A network as data: its architecture, parameters and cost."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mapping_stroke.errors import ConfigError
from mapping_stroke.images.nifti import Shape

Encoder = Literal["plain", "residual"]
Skip = Literal["pooled", "strided"]
Weights = dict[str, np.ndarray]
"""Float32 parameters by name, each once; the names are those of `dynamic_network_architectures`."""


@dataclass(frozen=True)
class NetworkSpec:
    """Architecture of a network: enough to build it and to load its weights.

    One input channel (T1w), two output channels (background, lesion); convolutions are followed by affine InstanceNorm
    and LeakyReLU 0.01.
    """

    encoder: Encoder = "plain"
    features: tuple[int, ...] = (32, 64, 128, 256, 320, 320)
    """Channels of each encoder stage, finest first."""
    depths: tuple[int, ...] = (2, 2, 2, 2, 2, 2)
    """Convolutions (plain) or residual blocks (residual) of each encoder stage."""
    decoder_convolutions: int = 2
    """Convolutions of each decoder stage."""
    conv_bias: bool = True
    kernels: tuple[Shape, ...] = ()
    """Kernel of each stage along x, y, z; empty for 3x3x3 everywhere."""
    strides: tuple[Shape, ...] = ()
    """Stride of each stage along x, y, z; empty for 1 in the first stage and 2 in the others."""
    skip: Skip = "pooled"
    """Downsampling in the shortcut of a residual block: average pooling before a 1x1x1 convolution (nnU-Net v2's
    ResidualEncoderUNet), or a strided 1x1x1 convolution (nnU-Net v1's FabiansUNet, the authors' weights)."""
    unshuffle: int = 1
    """Pixel unshuffling: cubes of this edge become the channels of one input voxel, and the output's channels become
    voxels again. The network sees and marks fine voxels at nearly the cost of coarse ones. 1 for none. Source: Shi et
    al. 2016, arXiv:1609.05158."""

    def __post_init__(self) -> None:
        if self.encoder not in ("plain", "residual"):
            raise ConfigError(f"encoder is {self.encoder!r}, expected 'plain' or 'residual'")
        if self.skip not in ("pooled", "strided"):
            raise ConfigError(f"skip is {self.skip!r}, expected 'pooled' or 'strided'")
        if len(self.features) != len(self.depths) or len(self.features) < 2:
            raise ConfigError(
                f"a network needs one depth per stage and at least 2 stages, got features {self.features} "
                f"and depths {self.depths}"
            )
        if min(*self.features, *self.depths, self.decoder_convolutions, self.unshuffle) < 1:
            raise ConfigError("features, depths, decoder_convolutions and unshuffle must be 1 or more")
        for name, edges in (("kernels", self.kernels), ("strides", self.strides)):
            if edges and (len(edges) != self.stages or any(len(edge) != 3 or min(edge) < 1 for edge in edges)):
                raise ConfigError(f"{name} is {edges}, expected 3 positive numbers for each of {self.stages} stages")
        if any(edge % 2 == 0 for kernel in self.kernels for edge in kernel):
            raise ConfigError(f"kernels is {self.kernels}, expected odd numbers")

    @property
    def stages(self) -> int:
        """Number of resolutions."""
        return len(self.features)

    @property
    def stage_kernels(self) -> tuple[Shape, ...]:
        """Kernel of every stage, finest first."""
        return self.kernels or ((3, 3, 3),) * self.stages

    @property
    def stage_strides(self) -> tuple[Shape, ...]:
        """Stride of every stage, finest first."""
        return self.strides or ((1, 1, 1), *((2, 2, 2),) * (self.stages - 1))

    @property
    def cube_vox(self) -> int:
        """Voxels of the patch per voxel of the first stage."""
        return self.unshuffle**3

    @property
    def divisors(self) -> Shape:
        """Divisors of the edges of a patch."""
        x, y, z = (self.unshuffle * math.prod(axis) for axis in zip(*self.stage_strides, strict=True))
        return x, y, z

    @property
    def window_steps(self) -> Shape:
        """Divisors of the edges of a prediction window.

        With five or more stages, the two coarsest may have odd edges, which saves up to a quarter of a window; the
        decoder's excess is cropped. Pooled shortcuts need even edges throughout.
        """
        if self.stages < 5 or (self.encoder == "residual" and self.skip == "pooled"):
            return self.divisors
        finer = self.stage_strides[:-2]  # all but the two coarsest stages
        x, y, z = (self.unshuffle * math.prod(axis) for axis in zip(*finer, strict=True))
        return x, y, z

    def require_patch(self, patch: Shape) -> None:
        """Raise `ConfigError` unless a training patch is a multiple of `divisors`."""
        if any(edge % divisor for edge, divisor in zip(patch, self.divisors, strict=True)):
            raise ConfigError(f"patch {patch} is not a multiple of {self.divisors}, which this network needs")

    def shapes(self, patch: Shape) -> list[Shape]:
        """The grid of every stage for a patch or window; odd edges are rounded up."""
        a, b, c = (-(-edge // self.unshuffle) for edge in patch)
        shapes, shape = [], (a, b, c)
        for stride in self.stage_strides:
            x, y, z = (-(-edge // step) for edge, step in zip(shape, stride, strict=True))
            shape = (x, y, z)
            shapes.append(shape)
        return shapes

    def forward_flop(self, patch: Shape) -> float:
        """Floating-point operations of the convolutions for one patch (a multiplication and an addition are two)."""
        voxels = [math.prod(shape) for shape in self.shapes(patch)]
        kernels = [math.prod(kernel) for kernel in self.stage_kernels]
        total, channels = 0.0, self.cube_vox  # multiplications and additions, counted together until the end
        if self.encoder == "residual":
            total += voxels[0] * kernels[0] * self.features[0] * channels
            channels = self.features[0]
        for stage, (features, depth) in enumerate(zip(self.features, self.depths, strict=True)):
            convolutions = depth * (2 if self.encoder == "residual" else 1)
            total += voxels[stage] * kernels[stage] * features * (channels + (convolutions - 1) * features)
            if self.encoder == "residual" and (channels != features or self.stage_strides[stage] != (1, 1, 1)):
                total += voxels[stage] * channels * features
            channels = features
        for stage in reversed(range(self.stages - 1)):
            features = self.features[stage]
            total += voxels[stage] * channels * features  # transposed: each output voxel comes from one input voxel
            joined = features * (2 + self.decoder_convolutions - 1)
            total += voxels[stage] * kernels[stage] * features * joined
            channels = features
        # of the output layer, one class is enough: the lesion logit minus that of the background
        return 2 * (total + voxels[0] * channels * self.cube_vox)


CLASSES = 2
"""Background and lesion."""
Parameter = tuple[str, tuple[int, ...]]


def parameter_shapes(spec: NetworkSpec) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter of `build_unet(spec)` by name, in its order.

    A convolution's axes are (out, in, x, y, z), a transposed convolution's (in, out, x, y, z).
    """
    encoder = _plain_encoder(spec) if spec.encoder == "plain" else _residual_encoder(spec)
    return dict([*encoder, *_decoder(spec)])


def count_parameters(spec: NetworkSpec) -> int:
    """Number of parameters of a network."""
    return sum(math.prod(shape) for shape in parameter_shapes(spec).values())


def _plain_encoder(spec: NetworkSpec) -> Iterator[Parameter]:
    channels = spec.cube_vox
    for stage, (features, depth) in enumerate(zip(spec.features, spec.depths, strict=True)):
        for number in range(depth):
            name, kernel = f"encoder.stages.{stage}.0.convs.{number}", spec.stage_kernels[stage]
            yield from _convolution(name, channels, features, kernel, bias=spec.conv_bias)
            channels = features


def _residual_encoder(spec: NetworkSpec) -> Iterator[Parameter]:
    channels = spec.features[0]
    yield from _convolution("encoder.stem.convs.0", spec.cube_vox, channels, spec.stage_kernels[0], bias=spec.conv_bias)
    for stage, (features, depth) in enumerate(zip(spec.features, spec.depths, strict=True)):
        kernel, coarsens = spec.stage_kernels[stage], spec.stage_strides[stage] != (1, 1, 1)
        for number in range(depth):
            block = f"encoder.stages.{stage}.blocks.{number}"
            yield from _convolution(f"{block}.conv1", channels, features, kernel, bias=spec.conv_bias)
            yield from _convolution(f"{block}.conv2", features, features, kernel, bias=spec.conv_bias)
            if number == 0 and (channels != features or (coarsens and spec.skip == "strided")):
                place = 1 if coarsens and spec.skip == "pooled" else 0  # after the pooling, which has no weights
                yield from _convolution(f"{block}.skip.{place}", channels, features, (1, 1, 1), bias=False)
            channels = features


def _decoder(spec: NetworkSpec) -> Iterator[Parameter]:
    """Stages count from the coarsest; each has its own output, of which prediction uses only the finest."""
    stages = list(enumerate(reversed(range(spec.stages - 1))))
    for number, stage in stages:
        features, channels = spec.features[stage], 2 * spec.features[stage]
        for convolution in range(spec.decoder_convolutions):
            name, kernel = f"decoder.stages.{number}.convs.{convolution}", spec.stage_kernels[stage]
            yield from _convolution(name, channels, features, kernel, bias=spec.conv_bias)
            channels = features
    for number, stage in stages:
        name, coarser, finer = f"decoder.transpconvs.{number}", spec.features[stage + 1], spec.features[stage]
        yield f"{name}.weight", (coarser, finer, *spec.stage_strides[stage + 1])
        if spec.conv_bias:
            yield f"{name}.bias", (finer,)
    for number, stage in stages:
        yield f"decoder.seg_layers.{number}.weight", (CLASSES * spec.cube_vox, spec.features[stage], 1, 1, 1)
        yield f"decoder.seg_layers.{number}.bias", (CLASSES * spec.cube_vox,)


def _convolution(name: str, channels: int, features: int, kernel: Shape, *, bias: bool) -> Iterator[Parameter]:
    """A convolution and the norm that follows it."""
    yield f"{name}.conv.weight", (features, channels, *kernel)
    if bias:
        yield f"{name}.conv.bias", (features,)
    yield f"{name}.norm.weight", (features,)
    yield f"{name}.norm.bias", (features,)
