"""Floating-point performance of the processor for one convolution and for a whole network."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from mapping_stroke.images.nifti import Shape
from mapping_stroke.inference.cost import made_up_weights
from mapping_stroke.inference.openvino_engine import OpenVinoEngine
from mapping_stroke.inference.openvino_import import ops, ov
from mapping_stroke.networks.spec import NetworkSpec

REPEATS = 5
LAYERS = 4


@dataclass(frozen=True)
class ChipRates:
    """Floating-point operations per second, medians.

    Attributes:
        precision: Precision of the convolutions.
        convolution: Of one 3x3x3 convolution, with as many channels in as out, on the grid of the finest stage.
        network: Operations of all convolutions of a network, divided by the time of the whole network.
        patch_s: Seconds for one patch.
    """

    precision: str
    convolution: float
    network: float
    patch_s: float


def measure_chip(spec: NetworkSpec, patch: Shape) -> ChipRates:
    """Measure the default engine of this processor."""
    engine = OpenVinoEngine()
    network = engine.load(spec, lambda: made_up_weights(spec))
    voxels = np.random.default_rng(0).standard_normal(patch).astype(np.float32)
    patch_s = _median_seconds(lambda: network.logits([voxels]))
    network.release()
    convolution_flop, convolution_s = _time_convolution(engine, spec.features[0], patch)
    return ChipRates(engine.precision, convolution_flop / convolution_s, spec.forward_flop(patch) / patch_s, patch_s)


def _time_convolution(engine: OpenVinoEngine, channels: int, patch: Shape) -> tuple[float, float]:
    """Operations and seconds of several convolutions in a row, with small input and output layers."""
    rng = np.random.default_rng(0)

    def convolve(features: Any, inputs: int, outputs: int, edge: int) -> Any:
        kernel = 0.05 * rng.standard_normal((outputs, inputs, edge, edge, edge), dtype=np.float32)
        padding = [edge // 2] * 3
        return ops.convolution(features, ops.constant(kernel), [1] * 3, padding, padding, [1] * 3)

    # 1x1x1 convolutions adapt the channels at both ends, at little cost
    voxels = ops.parameter([1, 1, *patch], np.float32)
    features = convolve(voxels, 1, channels, 1)
    for _ in range(LAYERS):
        features = convolve(features, channels, channels, 3)
    request = engine.compile(ov.Model([convolve(features, channels, 1, 1)], [voxels])).create_infer_request()
    scan = rng.standard_normal((1, 1, *patch), dtype=np.float32)
    seconds = _median_seconds(lambda: request.infer([scan]))
    # a multiplication and an addition for each of 27 weights per channel pair
    return LAYERS * 2 * 27 * channels**2 * math.prod(patch), seconds


def _median_seconds(work: Callable[[], object]) -> float:
    work()  # the first run allocates memory and arranges the weights
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return median(seconds)
