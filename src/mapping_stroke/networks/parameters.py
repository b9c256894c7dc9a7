"""Names and shapes of a network's weights, told from its specification alone."""

import math
from collections.abc import Iterator

from mapping_stroke.image import Shape
from mapping_stroke.networks.spec import NetworkSpec

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
    """How many numbers the weights of a network are."""
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
                place = 1 if coarsens and spec.skip == "pooled" else 0  # behind the pooling, which has no weights
                yield from _convolution(f"{block}.skip.{place}", channels, features, (1, 1, 1), bias=False)
            channels = features


def _decoder(spec: NetworkSpec) -> Iterator[Parameter]:
    """Stages count from the coarsest; each has its own output, though prediction reads the finest alone."""
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
    """A convolution and the norm behind it."""
    yield f"{name}.conv.weight", (features, channels, *kernel)
    if bias:
        yield f"{name}.conv.bias", (features,)
    yield f"{name}.norm.weight", (features,)
    yield f"{name}.norm.bias", (features,)
