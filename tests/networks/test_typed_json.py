import json
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from mapping_stroke.networks.typed_json import TypedJsonError, parse_json, plain_json, read_typed


@dataclass(frozen=True)
class Inner:
    edge: float
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Outer:
    inner: Inner | None
    edges: float | tuple[float, float] = 1.0
    counts: tuple[int, ...] = ()
    notes: dict[str, Any] | None = None
    on: bool = False


def test_values_come_back_typed() -> None:
    value = parse_json(
        b'{"inner": {"edge": 2, "kind": "b"}, "edges": [1, 2], "counts": [3], "notes": {"x": [1]}, "on": true}'
    )
    assert read_typed(Outer, value, "card") == Outer(Inner(2.0, "b"), (1.0, 2.0), (3,), {"x": [1]}, True)
    assert read_typed(Outer, {"inner": None}, "card") == Outer(None)


def test_a_whole_number_becomes_a_float_where_one_is_declared() -> None:
    assert type(read_typed(Inner, {"edge": 1}, "card").edge) is float


@pytest.mark.parametrize(
    ("hint", "value", "message"),
    [
        (Inner, 3, "card is 3, expected an object"),
        (Inner, {}, "card has no entry 'edge'"),
        (Inner, {"edge": 1, "x": 1}, "card has an unknown entry 'x', expected edge, kind"),
        (Inner, {"edge": 10**400}, "card.edge is 1000000000.*, expected a number"),
        (Inner, {"edge": True}, "card.edge is True, expected a number"),
        (Inner, {"edge": 1, "kind": ["a"]}, r"card.kind is \['a'\], expected 'a' or 'b'"),
        (Outer, {"inner": {"edge": "x"}}, "card.inner.edge is 'x', expected a number"),
        (Outer, {"inner": None, "edges": [1, "x"]}, r"card.edges\[1\] is 'x', expected a number"),
        (Outer, {"inner": None, "counts": "12"}, "card.counts is '12', expected a list"),
        (Outer, {"inner": None, "on": 1}, "card.on is 1, expected true or false"),
        (str, "a\x00b", "card is .*, expected printable text"),
        (str, "\ud800", "card is .*, expected printable text"),
        (dict, [], r"card is \[\], expected an object"),
        (type(None), 0, "card is 0, expected null"),
    ],
)
def test_an_entry_of_another_type_is_refused_by_name(hint: Any, value: object, message: str) -> None:
    with pytest.raises(TypedJsonError, match=message):
        read_typed(hint, value, "card")


def test_a_value_is_said_in_one_way() -> None:
    value = {"a": [float("nan"), 1.5, (float("inf"),)], "b": "x", "c": 3.0, "d": True}
    assert json.dumps(plain_json(value)) == '{"a": [null, 1.5, [null]], "b": "x", "c": 3, "d": true}'
