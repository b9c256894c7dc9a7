"""Weights under another program's habits, brought to those of a specification."""

from pathlib import Path

import numpy as np

from mapping_stroke.errors import BundleError
from mapping_stroke.networks.parameters import parameter_shapes
from mapping_stroke.networks.spec import NetworkSpec, Weights

_MAY_BE_ABSENT = ("decoder.transpconvs.", "decoder.seg_layers.")
"""nnU-Net v1 gives these no bias, or (the outputs of coarser stages) leaves them out: zeros have the same effect."""


def fit_weights(weights: Weights, spec: NetworkSpec, path: Path) -> Weights:
    """Exactly the parameters of a specification, in its order.

    A smaller kernel is put in the middle of a larger one of zeros, which is the same convolution. Absent biases of
    transposed convolutions and outputs become zeros.

    Raises:
        BundleError: A parameter is missing, surplus or ill-shaped.
    """
    shapes = parameter_shapes(spec)
    surplus = sorted(weights.keys() - shapes.keys())
    if surplus:
        raise _misfit(path, surplus[0], "is not part of")
    fitted = {}
    for name, shape in shapes.items():
        if name in weights:
            fitted[name] = _widen(weights[name], shape)
        elif name.startswith(_MAY_BE_ABSENT) and not _is_needed(name, spec):
            fitted[name] = np.zeros(shape, np.float32)
        else:
            raise _misfit(path, name, "is missing in")
        if fitted[name].shape != shape:
            raise _misfit(path, name, f"has shape {fitted[name].shape} instead of {shape} in")
    return fitted


def _is_needed(name: str, spec: NetworkSpec) -> bool:
    """Whether prediction cannot do without it: weights of transposed convolutions and of the finest output."""
    coarse = name.startswith("decoder.seg_layers.") and int(name.split(".")[2]) < spec.stages - 2
    return name.endswith(".weight") and not coarse


def _widen(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Put odd kernels in the middle of larger odd ones; an array that cannot be widened stays."""
    if array.ndim != 5 or array.shape == shape or len(shape) != 5 or array.shape[:2] != shape[:2]:
        return array
    extra = [wanted - found for found, wanted in zip(array.shape[2:], shape[2:], strict=True)]
    if min(extra) < 0 or any(edge % 2 for edge in extra):
        return array
    return np.pad(array, [(0, 0), (0, 0), *((edge // 2, edge // 2) for edge in extra)])


def _misfit(path: Path, name: str, relation: str) -> BundleError:
    return BundleError(
        f"{path}: {name} {relation} the network that its plans describe; copy the whole folder again, "
        "or its trainer changes the network, which cannot be imported"
    )
