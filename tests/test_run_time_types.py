"""Types and array shapes are checked while the tests run."""

from collections.abc import Callable, Iterator
from typing import Annotated, Literal

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from mapping_stroke.console import duration
from mapping_stroke.dataset.grid import Grid
from mapping_stroke.evaluation.metrics import dice
from mapping_stroke.images.image import Image, Mask
from mapping_stroke.lesions import find_lesions
from run_time_types import may_hold_arrays


def test_an_array_of_the_wrong_type_or_shape_is_caught() -> None:
    for wrong in (np.zeros((2, 2, 2)), np.zeros((2, 2), bool)):
        with pytest.raises(TypeCheckError):
            find_lesions(wrong)


def test_two_arrays_that_must_have_the_same_shape_are_compared() -> None:
    with pytest.raises(TypeCheckError):
        dice(np.zeros((2, 2, 2), bool), np.zeros((2, 2, 3), bool))


def test_a_wrong_value_is_caught_where_there_are_no_arrays() -> None:
    with pytest.raises(TypeCheckError):
        duration("60")  # type: ignore[arg-type]
    with pytest.raises(TypeCheckError):
        Grid((2, 2, 2), "1 mm", (0.0, 0.0, 0.0))  # type: ignore[arg-type]


def test_a_whole_number_may_stand_for_a_float() -> None:
    assert duration(60) == "1 min 00 s"


@pytest.mark.parametrize(
    "hint", [Mask, Mask | None, list[Mask], Callable[[Mask], int], Iterator[tuple[int, Mask]], "?"]
)
def test_arrays_are_seen_within_other_types(hint: object) -> None:
    assert may_hold_arrays(hint)


@pytest.mark.parametrize(
    "hint", [int, Image, Literal["a"], dict[str, int | None], Annotated[int, 1], Callable[..., str]]
)
def test_other_types_hold_none(hint: object) -> None:
    assert not may_hold_arrays(hint)
