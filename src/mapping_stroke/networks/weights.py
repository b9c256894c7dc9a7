"""Weights of a network as safetensors bytes, checked against its specification."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from mapping_stroke.errors import BundleError
from mapping_stroke.networks.spec import NetworkSpec, Weights, count_parameters, parameter_shapes

HEADER_BYTES = 2**20
"""Upper limit of a header: names, shapes and offsets of the parameters."""
STORED_TYPES = {"F32": "<f4", "F16": "<f2"}
"""Types of stored parameters, and their names in numpy; in memory parameters are float32."""
_AGAIN = "copy or pack the model again"


def most_bytes(spec: NetworkSpec) -> int:
    """Largest size of a file with the weights of a network."""
    return 4 * count_parameters(spec) + HEADER_BYTES


def weights_from_bytes(content: bytes, spec: NetworkSpec, what: str, *, as_stored: bool = False) -> Weights:
    """Read weights, without executing anything.

    Args:
        content: A safetensors file.
        spec: Architecture of the network.
        what: Name of the weights for errors.
        as_stored: Keep stored float16; otherwise everything becomes float32.

    Raises:
        BundleError: The bytes are not safetensors, or the parameters are not exactly those of the network.
    """
    shapes, types, arrays = _parse(content, what)
    for complaint in _misfits(shapes, types, spec):
        raise BundleError(f"{what}: does not fit its network ({complaint}); {_AGAIN}")
    stored = {
        name: np.frombuffer(arrays[name], STORED_TYPES[types[name]]).reshape(shape)
        for name, shape in parameter_shapes(spec).items()
    }
    return stored if as_stored else {name: value.astype(np.float32, copy=False) for name, value in stored.items()}


def find_problems(content: bytes, spec: NetworkSpec, what: str) -> list[str]:
    """Problems of weights, one line each; empty if they fit their network and are finite."""
    try:
        shapes, types, arrays = _parse(content, what)
    except BundleError as error:
        return [str(error)]
    floats = {
        name: np.frombuffer(arrays[name], STORED_TYPES[stored])
        for name, stored in types.items()
        if stored in STORED_TYPES
    }
    complaints = [*_misfits(shapes, types, spec), *_not_finite(floats)]
    return [f"{what}: {complaint}; {_AGAIN}" for complaint in complaints]


def _parse(content: bytes, what: str) -> tuple[dict[str, tuple[int, ...]], dict[str, str], dict[str, bytearray]]:
    """Shapes, types and bytes by name."""
    try:
        entries: dict[str, Any] = dict(deserialize(content))  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise BundleError(f"{what}: cannot be read ({error}); {_AGAIN}") from error
    shapes = {name: tuple(entry["shape"]) for name, entry in entries.items()}
    types = {name: str(entry["dtype"]) for name, entry in entries.items()}
    return shapes, types, {name: entry["data"] for name, entry in entries.items()}


def weights_to_bytes(weights: Weights, spec: NetworkSpec, what: str) -> bytes:
    """Serialise weights reproducibly, in float16 or float32 as they are.

    Raises:
        BundleError: They do not fit the network, or are not finite (such as overflows of float16).
    """
    shapes = {name: value.shape for name, value in weights.items()}
    stored = {np.dtype(of_numpy): name for name, of_numpy in STORED_TYPES.items()}
    types = {name: stored.get(value.dtype, str(value.dtype)) for name, value in weights.items()}
    for complaint in [*_misfits(shapes, types, spec), *_not_finite(weights)]:
        raise BundleError(f"{what}: {complaint}; train or import that member again")
    return save({name: np.ascontiguousarray(value) for name, value in weights.items()})


def _not_finite(weights: Weights) -> list[str]:
    return [
        f"parameter {name!a} holds NaN or infinity, expected finite numbers"
        for name, value in weights.items()
        if not np.isfinite(value).all()
    ]


def _misfits(shapes: Mapping[str, tuple[int, ...]], types: Mapping[str, str], spec: NetworkSpec) -> list[str]:
    """Mismatches between parameters and network, one text each; empty if names, shapes and types fit."""
    wanted = parameter_shapes(spec)
    complaints = [f"parameter {name} is missing" for name in wanted if name not in shapes]
    complaints += [f"surplus parameter {name!a}" for name in sorted(shapes) if name not in wanted]
    for name, shape in wanted.items():
        if name in shapes and shapes[name] != shape:
            complaints.append(f"parameter {name} has shape {shapes[name]}, expected {shape}")
        elif name in shapes and types[name] not in STORED_TYPES:
            complaints.append(f"parameter {name} has type {types[name]}, expected float32 or float16")
    return complaints
