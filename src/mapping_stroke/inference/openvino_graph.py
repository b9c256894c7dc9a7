"""Build a network as an OpenVINO graph from its specification and weights, without torch or tracing.

It computes the logit of P(lesion) (lesion logit minus background logit, one channel). Parts that cannot change the
result are left out: biases before an InstanceNorm, outputs of deep supervision, and the concatenation of a decoder's
two inputs (the convolution of concatenated channels is the sum of two convolutions).
"""

from typing import Any

import numpy as np

from mapping_stroke.errors import ConfigError
from mapping_stroke.images.nifti import Shape
from mapping_stroke.inference.openvino_import import ops, ov
from mapping_stroke.networks.spec import NetworkSpec, Weights

EPSILON = 1e-5
SLOPE = 0.01
MEAN_WINDOW_VOX = 16
"""Edge of the blocks over which means of channels are computed first."""
Node = Any
"""OpenVINO's nodes are untyped."""


def build_graph(spec: NetworkSpec, weights: Weights, patch: Shape, batch: int) -> ov.Model:
    """The graph for patches of one shape.

    Args:
        spec: The network.
        weights: All of its parameters; the graph copies those it needs.
        patch: Edges of a patch, multiples of `spec.window_steps`.
        batch: Number of patches at once.

    Returns:
        A model from (batch, 1, x, y, z) z-scores to (batch, 1, x, y, z) logits, float32.

    Raises:
        ConfigError: The patch is not a multiple of `spec.window_steps`.
    """
    if any(edge % step for edge, step in zip(patch, spec.window_steps, strict=True)):
        raise ConfigError(f"patch {patch} is not a multiple of {spec.window_steps}, which this network requires")
    voxels = ops.parameter([batch, 1, *patch], np.float32)
    encode = _encode_residual if spec.encoder == "residual" else _encode_plain
    cubes = voxels if spec.unshuffle == 1 else ops.space_to_depth(voxels, "depth_first", spec.unshuffle)
    skips = encode(spec, weights, cubes)
    features = _decode(spec, weights, skips, spec.shapes(patch))
    last = f"decoder.seg_layers.{spec.stages - 2}"
    # P(lesion) of two classes is the sigmoid of the difference of their logits, so one channel is enough
    background, lesion = np.split(weights[f"{last}.weight"], 2)
    logits = ops.convolution(features, ops.constant(lesion - background), *_same((1, 1, 1), (1, 1, 1)))
    background_bias, lesion_bias = np.split(weights[f"{last}.bias"], 2)
    logits = ops.add(logits, ops.constant((lesion_bias - background_bias).reshape(1, -1, 1, 1, 1)))
    if spec.unshuffle > 1:
        logits = ops.depth_to_space(logits, "depth_first", spec.unshuffle)
    return ov.Model([logits], [voxels])


def _encode_plain(spec: NetworkSpec, weights: Weights, features: Node) -> list[Node]:
    """Features of every stage, finest first."""
    stages = []
    for stage, (depth, stride) in enumerate(zip(spec.depths, spec.stage_strides, strict=True)):
        for index in range(depth):
            name = f"encoder.stages.{stage}.0.convs.{index}"
            features = _convolve(weights, f"{name}.conv", features, stride if index == 0 else (1, 1, 1))
            features = _activate(_normalise(weights, f"{name}.norm", features))
        stages.append(features)
    return stages


def _encode_residual(spec: NetworkSpec, weights: Weights, features: Node) -> list[Node]:
    """Features of every stage, finest first."""
    stem = "encoder.stem.convs.0"
    features = _activate(_normalise(weights, f"{stem}.norm", _convolve(weights, f"{stem}.conv", features)))
    stages = []
    for stage, (depth, stride) in enumerate(zip(spec.depths, spec.stage_strides, strict=True)):
        for index in range(depth):
            name = f"encoder.stages.{stage}.blocks.{index}"
            features = _residual_block(spec, weights, name, features, stride if index == 0 else (1, 1, 1))
        stages.append(features)
    return stages


def _residual_block(spec: NetworkSpec, weights: Weights, name: str, features: Node, stride: Shape) -> Node:
    inner = _convolve(weights, f"{name}.conv1.conv", features, stride)
    inner = _activate(_normalise(weights, f"{name}.conv1.norm", inner))
    inner = _normalise(weights, f"{name}.conv2.norm", _convolve(weights, f"{name}.conv2.conv", inner))
    shortcut = features
    if spec.skip == "pooled":
        if stride != (1, 1, 1):  # pools first, then a 1x1x1 convolution on the coarser grid
            shortcut = ops.avg_pool(shortcut, stride, [0] * 3, [0] * 3, stride, exclude_pad=True)
        projection = f"{name}.skip.{int(stride != (1, 1, 1))}"
        stride = (1, 1, 1)
    else:
        projection = f"{name}.skip.0"
    if f"{projection}.conv.weight" in weights:
        shortcut = _convolve(weights, f"{projection}.conv", shortcut, stride)
        shortcut = _normalise(weights, f"{projection}.norm", shortcut)
    return _activate(ops.add(inner, shortcut))


def _decode(spec: NetworkSpec, weights: Weights, skips: list[Node], shapes: list[Shape]) -> Node:
    """Features at the finest resolution; upsampled features larger than a stage's grid are cropped."""
    features = skips[-1]
    for level, stage in enumerate(reversed(range(spec.stages - 1))):
        stride = list(spec.stage_strides[stage + 1])
        up = f"decoder.transpconvs.{level}"
        kernel = ops.constant(weights[f"{up}.weight"])
        features = ops.convolution_backprop_data(
            features, kernel, stride, pads_begin=[0] * 3, pads_end=[0] * 3, dilations=[1] * 3
        )
        if f"{up}.bias" in weights:
            features = ops.add(features, ops.constant(weights[f"{up}.bias"].reshape(1, -1, 1, 1, 1)))
        doubled = [edge * step for edge, step in zip(shapes[stage + 1], stride, strict=True)]
        if doubled != list(shapes[stage]):
            features = _cut(features, shapes[stage])
        for index in range(spec.decoder_convolutions):
            name = f"decoder.stages.{level}.convs.{index}"
            if index == 0:
                joined = weights[f"{name}.conv.weight"]
                # a convolution of concatenated inputs is the sum of one convolution for each
                own, skipped = joined[:, : spec.features[stage]], joined[:, spec.features[stage] :]
                features = ops.add(_convolve_by(own, features), _convolve_by(skipped, skips[stage]))
            else:
                features = _convolve(weights, f"{name}.conv", features)
            features = _activate(_normalise(weights, f"{name}.norm", features))
    return features


def _cut(features: Node, shape: Shape) -> Node:
    start, step, axes = [0, 0, 0], [1, 1, 1], [2, 3, 4]
    constants = [ops.constant(np.array(values, np.int64)) for values in (start, shape, step, axes)]
    return ops.slice(features, *constants)


def _convolve(weights: Weights, name: str, features: Node, stride: Shape = (1, 1, 1)) -> Node:
    """Convolution without its bias, which the following InstanceNorm would remove."""
    return _convolve_by(weights[f"{name}.weight"], features, stride)


def _convolve_by(kernel: np.ndarray, features: Node, stride: Shape = (1, 1, 1)) -> Node:
    x, y, z = kernel.shape[2:]
    return ops.convolution(features, ops.constant(np.ascontiguousarray(kernel)), *_same((x, y, z), stride))


def _same(kernel: Shape, stride: Shape) -> tuple[list[int], list[int], list[int], list[int]]:
    """Strides, padding before and after, and dilations of a convolution that keeps the grid except for its stride."""
    padding = [edge // 2 for edge in kernel]
    return list(stride), padding, padding, [1, 1, 1]


def _normalise(weights: Weights, name: str, features: Node) -> Node:
    scaled = ops.multiply(instance_norm(features), ops.constant(weights[f"{name}.weight"].reshape(1, -1, 1, 1, 1)))
    return ops.add(scaled, ops.constant(weights[f"{name}.bias"].reshape(1, -1, 1, 1, 1)))


def instance_norm(features: Node) -> Node:
    """Features of shape (batch, channels, x, y, z) with mean 0 and variance 1 in each channel, for static shapes.

    OpenVINO's own operation sums each channel in one float32 per thread: its result depends on the number of threads
    and loses three digits over millions of voxels. Means of means lose none and are the same on any processor.
    """
    centred = ops.subtract(features, _channel_means(features))  # two passes: no cancellation of large squares
    variance = _channel_means(ops.multiply(centred, centred))
    scale = ops.power(ops.add(variance, ops.constant(np.float32(EPSILON))), ops.constant(np.float32(-0.5)))
    return ops.multiply(centred, scale)


def _channel_means(features: Node) -> Node:
    edges = [features.get_output_partial_shape(0)[axis].get_length() for axis in (2, 3, 4)]
    while any(edge > 1 for edge in edges):  # equal blocks, so the mean of their means is the mean
        window = [_window_vox(edge) for edge in edges]
        features = ops.avg_pool(features, window, [0] * 3, [0] * 3, window, exclude_pad=False)
        edges = [edge // vox for edge, vox in zip(edges, window, strict=True)]
    return features


def _window_vox(edge: int) -> int:
    """The largest divisor of an edge up to `MEAN_WINDOW_VOX`; the edge itself if it has none but 1."""
    return max((vox for vox in range(2, MEAN_WINDOW_VOX + 1) if edge % vox == 0), default=edge)


def _activate(features: Node) -> Node:
    return ops.prelu(features, ops.constant(np.array([SLOPE], np.float32)))
