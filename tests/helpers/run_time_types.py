"""How types and array shapes are checked while the tests run: by beartype, and by jaxtyping where there are arrays.

Importing this module, before the package, lets jaxtyping leave functions without arrays to beartype. They are checked
as before, but jaxtyping would wrap each of them twice, which takes a tenth of all time.
"""

from collections.abc import Callable
from functools import partial
from inspect import isclass, isfunction
from typing import Any, ForwardRef, Literal, TypeVar, get_args, get_origin

import jaxtyping
from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray, TypeCheckError, _decorator

checked = beartype(conf=BeartypeConf(is_pep484_tower=True, violation_type=TypeCheckError))
"""A whole number may stand for a float, as static type checkers have it."""

_jaxtyped = _decorator.jaxtyped


def may_hold_arrays(hint: object) -> bool:
    """Whether a type is or contains one of jaxtyping's arrays, or cannot be looked into."""
    if isinstance(hint, str | ForwardRef | TypeVar):
        return True
    if isclass(hint) and issubclass(hint, AbstractArray):
        return True
    if get_origin(hint) is Literal:
        return False
    parts = hint if isinstance(hint, list) else get_args(hint)
    return any(map(may_hold_arrays, parts))


def _checked_as_needed(function: Any = None, *, typechecker: Callable[..., Any]) -> Any:
    if function is None:
        return partial(_checked_as_needed, typechecker=typechecker)
    if isfunction(function) and not any(map(may_hold_arrays, function.__annotations__.values())):
        return checked(function)
    return _jaxtyped(function, typechecker=typechecker)


# by the import hook, and by jaxtyping itself for methods and data classes
jaxtyping.jaxtyped = _decorator.jaxtyped = _checked_as_needed
