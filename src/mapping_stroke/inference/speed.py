"""How fast an engine is on this machine, by a short probe: enough to tell how long a prediction will take."""

import time

import numpy as np

from mapping_stroke.image import Shape
from mapping_stroke.inference.average import PreparedScan
from mapping_stroke.inference.engines import Engine
from mapping_stroke.inference.ensemble import Ensemble
from mapping_stroke.networks.parameters import parameter_shapes
from mapping_stroke.networks.spec import NetworkSpec, Weights

PROBE = NetworkSpec("plain", (32, 64), (2, 2))
PROBE_PATCH: Shape = (32, 32, 32)
LONGEST_S = 1.0
LOAD_S = 0.5
"""About what reading and compiling a full-size network takes."""


def made_up_weights(spec: NetworkSpec) -> Weights:
    """Weights that mean nothing: enough to measure the speed of a network."""
    rng = np.random.default_rng(0)
    return {name: 0.05 * rng.standard_normal(shape, dtype=np.float32) for name, shape in parameter_shapes(spec).items()}


def measure_flop_per_s(engine: Engine) -> float:
    """Floating-point operations per second of a small U-Net, the best of three tries; takes about a second at most."""
    network = engine.load(PROBE, lambda: made_up_weights(PROBE))
    patch = network.put(np.random.default_rng(0).standard_normal(PROBE_PATCH, dtype=np.float32))
    seconds: list[float] = []
    while len(seconds) < 3 and sum(seconds) < LONGEST_S:  # the first time compiles
        start = time.perf_counter()
        network.get(network.logits([patch])[0])
        seconds.append(time.perf_counter() - start)
    return PROBE.forward_flop(PROBE_PATCH) / min(seconds)


def estimate_seconds(ensemble: Ensemble, prepared: PreparedScan, flop_per_s: float) -> float:
    """About how long `ensemble.predict` will take for a prepared scan, with loading its networks."""
    return ensemble.flop(prepared) / flop_per_s + LOAD_S * len(ensemble.members)
