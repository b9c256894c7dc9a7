"""Checkpoints that torch wrote, read without executing anything in them."""

import pickle
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mapping_stroke.errors import BundleError
from mapping_stroke.interop.pickles import DAMAGED, NUMPY_STAND_INS, forbidden
from mapping_stroke.networks.spec import Weights

_NAMED_GLOBAL = re.compile(r"GLOBAL (\S+)|unrecognized function (.+)")
_PREFIXES = ("_orig_mod.", "module.")
"""What compiling and data-parallel training put before the names of parameters."""


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint, zip file or the older format: tensors, plain values, numpy's numbers and arrays.

    Raises:
        BundleError: The file is missing or damaged, or names a function or class besides; nothing is executed.
    """
    if not path.is_file():
        raise BundleError(f"{path}: missing; copy the whole folder again")
    stand_ins: list[Callable[..., object] | tuple[Callable[..., object], str]] = [
        (stand_in, name) for name, stand_in in NUMPY_STAND_INS.items()
    ]
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(stand_ins):
            warnings.simplefilter("ignore")  # remarks on old formats, which the refusals below say better
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
        BundleError: There is no such entry, or it holds something else than finite numbers.
    """
    tensors = checkpoint.get(entry)
    if not isinstance(tensors, dict) or not tensors:
        raise BundleError(f"{path}: has no {entry!r}, expected nnU-Net's checkpoint; copy that file again")
    return {_bare(str(name)): _as_array(tensor, str(name), path) for name, tensor in tensors.items()}


def _bare(name: str) -> str:
    for prefix in _PREFIXES * 2:  # either may be outside the other
        name = name.removeprefix(prefix)
    return name


def _as_array(tensor: Any, name: str, path: Path) -> np.ndarray:
    if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point() or tensor.layout != torch.strided:
        raise BundleError(f"{path}: {name} is no array of floating-point numbers; copy that file again")
    array = tensor.detach().float().numpy()
    if not np.isfinite(array).all():
        raise BundleError(f"{path}: {name} holds NaN or infinite numbers; its training broke, use another checkpoint")
    return array


def _damaged(path: Path, error: Exception) -> BundleError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return BundleError(f"{path}: cannot be read ({reason[:160]}); copy that file again")
