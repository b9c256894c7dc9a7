"""Code for both versions of nnU-Net: axes, checkpoints, and fitting weights to a specification."""

import pickle
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from mapping_stroke.errors import BundleError
from mapping_stroke.images.nifti import Shape
from mapping_stroke.interop.pickles import DAMAGED, NUMPY_STAND_INS, forbidden
from mapping_stroke.networks.cards import MemberCard
from mapping_stroke.networks.spec import NetworkSpec, Weights, parameter_shapes


@dataclass(frozen=True)
class Axes:
    """Position of our x, y and z among the axes of nnU-Net's network."""

    places: Shape = (2, 1, 0)

    @classmethod
    def from_transpose(cls, transpose_forward: Sequence[int]) -> "Axes":
        """Read the plans' `transpose_forward`, which maps each axis of the network to z, y or x."""
        order = [int(axis) for axis in transpose_forward]
        if sorted(order) != [0, 1, 2]:
            raise ValueError(f"transpose_forward is {list(transpose_forward)}, expected 0, 1 and 2 in some order")
        x, y, z = (order.index(axis) for axis in (2, 1, 0))
        return cls((x, y, z))

    def ours(self, values: Sequence[Any]) -> tuple[Any, Any, Any]:
        """Reorder values from nnU-Net's axes to x, y, z."""
        if len(values) != 3:
            raise ValueError(f"{list(values)} has {len(values)} entries, expected one for each of 3 axes")
        x, y, z = (values[place] for place in self.places)
        return x, y, z

    def ours_of(self, axes: Sequence[int]) -> tuple[int, ...]:
        """Convert axis numbers of nnU-Net to ours, in order."""
        return tuple(sorted(self.places.index(axis) for axis in axes))

    def theirs(self, axes: Sequence[int]) -> tuple[int, ...]:
        """The inverse of `ours_of`."""
        return tuple(sorted(self.places[axis] for axis in axes))

    def turn_kernel(self, array: np.ndarray) -> np.ndarray:
        """Reorder a convolution's weights (out, in, and nnU-Net's three axes) to axes x, y, z. Others stay."""
        if array.ndim != 5:
            return array
        return np.ascontiguousarray(array.transpose(0, 1, *(2 + place for place in self.places)))


_NAMED_GLOBAL = re.compile(r"GLOBAL (\S+)|unrecognized function (.+)")
_PREFIXES = ("_orig_mod.", "module.")
"""Prefixes that compiled and data-parallel training add to the names of parameters."""


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint in the zip or the older format: tensors, plain values, numpy's numbers and arrays.

    Raises:
        BundleError: The file is missing or damaged, or names another function or class; nothing is executed.
    """
    if not path.is_file():
        raise BundleError(f"{path}: missing; copy the whole folder again")
    # torch accepts only these names besides tensors, and calls our stand-ins instead of numpy
    stand_ins: list[Callable[..., object] | tuple[Callable[..., object], str]] = [
        (stand_in, name) for name, stand_in in NUMPY_STAND_INS.items()
    ]
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(stand_ins):
            warnings.simplefilter("ignore")  # about old formats; the errors below are clearer
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = _NAMED_GLOBAL.search(str(error))
        if named:
            raise forbidden(path, named[1] or named[2]) from error
        raise _damaged(path, error) from error
    except DAMAGED as error:
        raise _damaged(path, error) from error
    if not isinstance(content, dict):
        raise BundleError(f"{path}: holds a {type(content).__name__}, expected nnU-Net's checkpoint; copy it again")
    return content


def read_tensors(checkpoint: dict[str, Any], entry: str, path: Path) -> Weights:
    """The network's tensors as float32 arrays, without the prefixes that parallel or compiled training adds.

    Raises:
        BundleError: There is no such entry, or it holds anything but finite numbers.
    """
    tensors = checkpoint.get(entry)
    if not isinstance(tensors, dict) or not tensors:
        raise BundleError(f"{path}: has no {entry!r}, expected nnU-Net's checkpoint; copy that file again")
    return {_bare(str(name)): _as_array(tensor, str(name), path) for name, tensor in tensors.items()}


def _bare(name: str) -> str:
    for prefix in _PREFIXES * 2:  # in either order
        name = name.removeprefix(prefix)
    return name


def _as_array(tensor: Any, name: str, path: Path) -> np.ndarray:
    if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point() or tensor.layout != torch.strided:
        raise BundleError(f"{path}: {name} is not an array of floating-point numbers; copy that file again")
    array = tensor.detach().float().numpy()
    if not np.isfinite(array).all():
        raise BundleError(f"{path}: {name} holds NaN or infinite numbers; its training broke, use another checkpoint")
    return array


def _damaged(path: Path, error: Exception) -> BundleError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return BundleError(f"{path}: cannot be read ({reason[:160]}); copy that file again")


_MAY_BE_ABSENT = ("decoder.transpconvs.", "decoder.seg_layers.")
"""Parameters without a bias in nnU-Net v1, or absent (outputs of coarser stages); zeros have the same effect."""


def fit_weights(weights: Weights, spec: NetworkSpec, path: Path) -> Weights:
    """Fit weights to the parameters of a specification, in its order.

    Smaller kernels are padded with zeros, which gives the same convolution. Absent biases of transposed convolutions
    and of outputs become zeros.

    Raises:
        BundleError: A parameter is missing, surplus or of the wrong shape.
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
    """Whether prediction needs a parameter: weights of transposed convolutions and of the finest output."""
    coarse = name.startswith("decoder.seg_layers.") and int(name.split(".")[2]) < spec.stages - 2
    return name.endswith(".weight") and not coarse


def _widen(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Pad odd kernels to larger odd ones. Return other arrays unchanged."""
    if array.ndim != 5 or array.shape == shape or len(shape) != 5 or array.shape[:2] != shape[:2]:
        return array
    extra = [wanted - found for found, wanted in zip(array.shape[2:], shape[2:], strict=True)]
    # an odd kernel padded by an even number keeps its centre
    if min(extra) < 0 or any(edge % 2 for edge in extra):
        return array
    return np.pad(array, [(0, 0), (0, 0), *((edge // 2, edge // 2) for edge in extra)])


def _misfit(path: Path, name: str, relation: str) -> BundleError:
    return BundleError(
        f"{path}: {name} {relation} the network that its plans describe; copy the whole folder again, "
        "or its trainer changes the network, which is not supported"
    )


@dataclass(frozen=True, eq=False)
class ImportedModel:
    """Members trained by another program. Their weights are read one at a time, on request."""

    members: tuple[MemberCard, ...]
    average: Literal["probability", "logit"]
    """Quantity that the program averages over members and overlapping tiles."""
    description: str
    """Trainer, plans and source, in one line."""
    reader: Callable[[int], Weights]

    def weights(self, number: int) -> Weights:
        """The weights of `members[number]`, checked against its network. Raises `BundleError` by name."""
        return self.reader(number)


def require(values: Any, name: str, path: Path) -> Any:
    """The entry of this name. Raises `BundleError` if a file lacks it."""
    if not isinstance(values, dict) or name not in values:
        raise BundleError(f"{path}: has no entry {name!r}, which nnU-Net always writes; copy that file again")
    return values[name]


def refusal(path: Path, found: str, expected: str) -> BundleError:
    """The error for an intact model that is not supported."""
    return BundleError(f"{path}: {found}, expected {expected}; such a model cannot be imported")


def missing_checkpoint(folder: Path, files: Mapping[str, str], wanted: str) -> BundleError:
    """The error for a result folder without a checkpoint of the wanted kind. `files` has the file name of each kind."""
    others = [kind for kind, file in files.items() if any(folder.glob(f"*/{file}"))]
    remedy = (
        f"it has {files[others[0]]}: give --checkpoint {others[0]}" if others else "copy nnU-Net's whole result folder"
    )
    return BundleError(f"{folder}: has no fold_*/{files[wanted]}, expected at least one; {remedy}")
