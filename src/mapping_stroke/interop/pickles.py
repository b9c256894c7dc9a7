"""Pickles of other programs, read without executing anything in them.

A pickle names functions to call. Only the few that rebuild numpy values are allowed, each replaced by a stand-in of our
own that makes plain numbers and lists. Anything else is refused and never called.
"""

import pickle
import re
import struct
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mapping_stroke.errors import BundleError

DAMAGED = (
    pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, LookupError, RecursionError,
    MemoryError, OverflowError, AssertionError, NotImplementedError, struct.error, OSError, RuntimeError,
)  # fmt: skip
"""Errors of reading a damaged pickle; the pickle module guarantees no narrower set."""
_PLAIN_KIND = re.compile(r"[<>|=]?([biufcSUO]\d*|\?|bool|u?int\d+|float\d+)")


class StandInDtype:
    """Stand-in for `numpy.dtype`: one number, text or object per element, but no records, which could hold anything."""

    def __init__(self, name: object, align: object = False, copy: object = False) -> None:  # noqa: FBT002 - numpy's
        if not isinstance(name, str) or not _PLAIN_KIND.fullmatch(name):
            raise pickle.UnpicklingError(f"holds an array of {name!r}, expected numbers or text")
        self.dtype: np.dtype = np.dtype(name)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if len(state) < 5 or any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("holds an array of records, expected numbers or text")
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])

    def read(self, data: object, shape: tuple[int, ...], *, columns_first: bool) -> np.ndarray:
        """Make an array from bytes or, for objects, from a list of them."""
        order: Any = "F" if columns_first else "C"
        if self.dtype.kind == "O":
            if not isinstance(data, list):
                raise pickle.UnpicklingError("holds an array of objects that is not a list")
            objects = np.empty(len(data), dtype=object)
            objects[:] = data
            return objects.reshape(shape, order=order)
        if isinstance(data, str):
            data = data.encode("latin1")
        if not isinstance(data, bytes | bytearray):
            raise pickle.UnpicklingError(f"holds an array made of {type(data).__name__}, expected bytes")
        return np.frombuffer(data, self.dtype).reshape(shape, order=order)


class StandInArray:
    """Stand-in for `numpy.ndarray`: converts numpy's state to a plain array."""

    def __init__(self) -> None:
        self.values: np.ndarray = np.zeros(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        shape, dtype, columns_first, data = state[-4:]  # older versions lack the leading version number
        if not isinstance(dtype, StandInDtype):
            raise pickle.UnpicklingError("holds an array of an unknown kind")
        self.values = dtype.read(data, shape, columns_first=bool(columns_first))


def _refuse_state(state: object) -> None:
    raise pickle.UnpicklingError("would change a function")


def _unchangeable(function: Callable[..., object]) -> Callable[..., object]:
    """Protect a callable function against a pickle's state instruction, which could set its attributes."""
    vars(function)["__setstate__"] = _refuse_state  # the unpickler calls this instead of setting attributes
    return function


@_unchangeable
def _empty_array(*_: object) -> StandInArray:
    return StandInArray()


@_unchangeable
def _array_from_buffer(data: object, dtype: StandInDtype, shape: tuple[int, ...], order: str) -> StandInArray:
    array = StandInArray()
    array.values = dtype.read(data, shape, columns_first=order == "F")
    return array


@_unchangeable
def _scalar(dtype: StandInDtype, data: object = b"") -> object:
    if dtype.dtype.kind == "O":
        raise pickle.UnpicklingError("holds a number that is an object")
    return dtype.read(data, (), columns_first=False).item()


@_unchangeable
def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"holds bytes as {encoding}, expected latin1")
    return text.encode("latin1")


def _numpy_stand_ins() -> dict[str, Callable[..., object]]:
    names: dict[str, Callable[..., object]] = {"numpy.dtype": StandInDtype, "numpy.ndarray": StandInArray}
    for core in ("numpy.core", "numpy._core"):
        names[f"{core}.multiarray._reconstruct"] = _empty_array
        names[f"{core}.multiarray.scalar"] = _scalar
        names[f"{core}.numeric._frombuffer"] = _array_from_buffer
    return names


NUMPY_STAND_INS = _numpy_stand_ins()
"""Stand-ins by their names in a pickle."""
_CONTAINERS: dict[str, Callable[..., object]] = {
    "collections.OrderedDict": OrderedDict,
    "_codecs.encode": _encode,
    "builtins.set": set,
    "builtins.bytearray": bytearray,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        module = "builtins" if module == "__builtin__" else module  # its name in older pickle protocols
        found = NUMPY_STAND_INS.get(f"{module}.{name}") or _CONTAINERS.get(f"{module}.{name}")
        if found is None:
            raise ForbiddenError(f"{module}.{name}")
        return found


class ForbiddenError(pickle.UnpicklingError):
    """A pickle names a forbidden function or class, which is the message."""


def read_pickle(path: Path) -> Any:
    """Read a pickle of plain values and numpy arrays, as nested lists and Python numbers.

    Raises:
        BundleError: The file is missing or damaged, or names anything else; nothing in it is executed.
    """
    try:
        with path.open("rb") as file:
            return _plain(_Unpickler(file, encoding="latin1").load())
    except FileNotFoundError as error:
        raise BundleError(f"{path}: missing; copy the whole folder again") from error
    except ForbiddenError as error:
        raise forbidden(path, str(error)) from error
    except DAMAGED as error:
        raise BundleError(f"{path}: cannot be read ({error}); copy that file again") from error


def forbidden(path: Path, name: str) -> BundleError:
    """The error for a pickle that names a function or class no model needs."""
    return BundleError(
        f"{path}: asks to call {name}, expected numbers and plain values only; nothing was executed; "
        "do not use this file, and ask its author for a clean one"
    )


def _plain(value: Any) -> Any:
    if isinstance(value, StandInArray):
        return _plain(value.values.tolist())
    if isinstance(value, dict):
        return {_plain(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set):
        return type(value)(map(_plain, value))
    if isinstance(value, StandInDtype):
        return str(value.dtype)
    return value
