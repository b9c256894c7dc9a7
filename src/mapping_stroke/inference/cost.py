"""Estimated memory and time of a prediction on this machine."""

import math
import time
from collections.abc import Iterable

import numpy as np

from mapping_stroke.environment import available_bytes
from mapping_stroke.errors import ResourceError
from mapping_stroke.images.nifti import Shape
from mapping_stroke.inference.engines import Engine
from mapping_stroke.inference.ensemble import Ensemble, PreparedScan
from mapping_stroke.networks.spec import NetworkSpec, Weights, parameter_shapes

LIVE_MAPS = 3.5
"""Feature maps of the finest stage in memory at once: its skip, two of its convolutions, and scratch."""
SCAN_MAPS = 17
"""float32 volumes of the scan's size in memory at once: the scan, sums and maps, the next scan, and the results being
written."""
GIGABYTE = 1e9


def network_bytes(spec: NetworkSpec, patch: Shape, batch: int, value_bytes: int) -> float:
    """Memory of one network for a batch of patches: activations and weights."""
    activations = LIVE_MAPS * max(spec.features[0], 1) * math.prod(spec.shapes(patch)[0]) * batch * value_bytes
    largest = max(spec.features)
    # upper limit: float32, 27 weights per pair of channels, two convolutions per stage as wide as the widest
    return activations + 4 * 27 * 2 * largest * largest * spec.stages


def scan_bytes(shapes: Iterable[tuple[int, ...]]) -> float:
    """Memory for a scan and its maps, on its own grid and the networks' grids."""
    return SCAN_MAPS * 4 * max(map(math.prod, shapes), default=0)


def require_memory(needed_bytes: float, task: str, remedy: str) -> None:
    """Raise `ResourceError` if the machine, container or job has less free memory."""
    available = available_bytes()
    if needed_bytes > available:
        raise ResourceError(
            f"{task} needs about {needed_bytes / GIGABYTE:.1f} GB of memory and this machine (or job) has "
            f"{available / GIGABYTE:.1f} GB left; {remedy}"
        )


PROBE = NetworkSpec("plain", (32, 64), (2, 2))
PROBE_PATCH: Shape = (32, 32, 32)
LONGEST_S = 1.0
LOAD_S = 0.5
"""Approximate time to read and compile a full-size network."""


def made_up_weights(spec: NetworkSpec) -> Weights:
    """Random weights, to measure the speed of a network."""
    rng = np.random.default_rng(0)
    return {name: 0.05 * rng.standard_normal(shape, dtype=np.float32) for name, shape in parameter_shapes(spec).items()}


def measure_flop_per_s(engine: Engine) -> float:
    """Floating-point operations per second of a small U-Net, the best of three runs; takes about a second at most."""
    network = engine.load(PROBE, lambda: made_up_weights(PROBE))
    patch = network.put(np.random.default_rng(0).standard_normal(PROBE_PATCH, dtype=np.float32))
    seconds: list[float] = []
    while len(seconds) < 3 and sum(seconds) < LONGEST_S:  # the first run compiles
        start = time.perf_counter()
        network.get(network.logits([patch])[0])
        seconds.append(time.perf_counter() - start)
    return PROBE.forward_flop(PROBE_PATCH) / min(seconds)


def estimate_seconds(ensemble: Ensemble, prepared: PreparedScan, flop_per_s: float) -> float:
    """Estimated duration of `ensemble.predict` for a prepared scan, including loading its networks."""
    return ensemble.flop(prepared) / flop_per_s + LOAD_S * len(ensemble.members)
