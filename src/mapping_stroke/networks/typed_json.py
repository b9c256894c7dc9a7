"""Reading of untrusted JSON: every entry must have the type that the dataclass declares."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


class TypedJsonError(ValueError):
    """A JSON text is damaged, or an entry does not have the declared type; the message names the entry."""


def parse_json(text: bytes) -> Any:
    """Parse a JSON text; duplicate keys, NaN and infinity are refused."""
    try:
        return json.loads(text.decode(), object_pairs_hook=_object_of, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise TypedJsonError(f"is damaged ({error}), expected JSON") from error


def read_typed(hint: Any, value: Any, place: str) -> Any:
    """Convert parsed JSON to the type of a hint: dataclass, tuple, literal, union, dict, text or number.

    Args:
        hint: Type of the value.
        value: As returned by `parse_json`.
        place: Name of the value for errors, such as `members[0].network`.

    Raises:
        TypedJsonError: An entry is missing, unknown, or of another type.
    """
    if hint is Any:
        return value
    if is_dataclass(hint):
        return _dataclass_of(hint, value, place)
    if get_origin(hint) in (Union, UnionType):
        return _first_that_fits(get_args(hint), value, place)
    if get_origin(hint) is tuple:
        return _tuple_of(get_args(hint), value, place)
    if get_origin(hint) is Literal:
        if isinstance(value, str) and value in get_args(hint):
            return value
        raise _wrong(place, value, " or ".join(map(repr, get_args(hint))))
    return _plain_of(hint, value, place)


def _plain_of(hint: Any, value: Any, place: str) -> Any:
    kind = type(value)  # not isinstance, since bool is a subclass of int
    if hint is float and kind in (int, float) and abs(value) <= 1e300:
        return float(value)
    if (hint is NoneType and value is None) or (hint in (int, bool) and kind is hint):
        return value
    if hint is str and kind is str and _is_readable(value):
        return value
    if (get_origin(hint) or hint) is dict and kind is dict:
        return value
    names = {float: "a number", int: "a whole number", str: "printable text", bool: "true or false", NoneType: "null"}
    raise _wrong(place, value, names.get(hint, "an object"))


def _is_readable(text: str) -> bool:
    """Whether a terminal can show the text: no control or escape characters, no lone surrogates."""
    return all(line.replace("\t", " ").isprintable() for line in text.split("\n"))


def _dataclass_of(hint: Any, value: Any, place: str) -> Any:
    if not isinstance(value, dict):
        raise _wrong(place, value, "an object")
    declared, hints = {field.name: field for field in fields(hint)}, get_type_hints(hint)
    for name in value.keys() - declared.keys():
        raise TypedJsonError(f"{place} has an unknown entry {ascii(name)[:60]}, expected {', '.join(declared)}")
    for name, field in declared.items():
        if name not in value and field.default is MISSING and field.default_factory is MISSING:
            raise TypedJsonError(f"{place} has no entry {name!r}")
    return hint(**{name: read_typed(hints[name], entry, f"{place}.{name}") for name, entry in value.items()})


def _first_that_fits(hints: Sequence[Any], value: Any, place: str) -> Any:
    complaints = []
    for hint in hints:
        try:
            return read_typed(hint, value, place)
        except TypedJsonError as error:
            complaints.append(error)
    # the alternative that failed farthest inside is most likely the intended one
    deepest = max(complaints, key=lambda error: len(str(error).partition(" ")[0]))
    raise deepest


def _tuple_of(hints: tuple[Any, ...], value: Any, place: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _wrong(place, value, "a list")
    if hints[-1] is Ellipsis:
        hints = (hints[0],) * len(value)
    if len(value) != len(hints):
        raise _wrong(place, value, f"{len(hints)} entries")
    return tuple(read_typed(hint, entry, f"{place}[{i}]") for i, (hint, entry) in enumerate(zip(hints, value)))  # noqa: B905


def _wrong(place: str, value: Any, expected: str) -> TypedJsonError:
    found = ascii(value)
    return TypedJsonError(f"{place} is {found if len(found) <= 60 else f'{found[:57]}...'}, expected {expected}")


def _object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        name, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise TypedJsonError(f"entry {name!a} occurs twice")
    return entries


def _refuse_constant(name: str) -> float:
    raise TypedJsonError(f"{name} is not a number")


def plain_json(value: Any) -> Any:
    """Canonical JSON form of a value: integral numbers without a point, lists, and None for NaN and infinity."""
    if isinstance(value, float):
        return None if not math.isfinite(value) else int(value) if value.is_integer() else value
    if isinstance(value, dict):
        return {name: plain_json(entry) for name, entry in value.items()}
    return [plain_json(entry) for entry in value] if isinstance(value, (list, tuple)) else value
