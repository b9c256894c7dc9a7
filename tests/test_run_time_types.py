"""Types and array shapes are checked at run time, if the tests are asked to."""

from typing import Any

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from mapping_stroke.console import duration
from mapping_stroke.dataset.grid import Grid
from mapping_stroke.evaluation.metrics import dice
from mapping_stroke.lesions import find_lesions


@pytest.fixture(autouse=True)
def _types_are_checked(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("jaxtyping_packages"):
        pytest.skip("types are only checked with `make test TYPES=1`")


def test_an_array_of_the_wrong_type_or_shape_is_caught() -> None:
    for wrong in (np.zeros((2, 2, 2)), np.zeros((2, 2), bool)):
        with pytest.raises(TypeCheckError):
            find_lesions(wrong)


def test_two_arrays_that_must_have_the_same_shape_are_compared() -> None:
    with pytest.raises(TypeCheckError):
        dice(np.zeros((2, 2, 2), bool), np.zeros((2, 2, 3), bool))


def test_a_wrong_value_is_caught_where_there_are_no_arrays() -> None:
    wrong: Any = "60"
    with pytest.raises(TypeCheckError):
        duration(wrong)
    with pytest.raises(TypeCheckError):
        Grid((2, 2, 2), wrong, (0.0, 0.0, 0.0))


def test_a_whole_number_may_stand_for_a_float() -> None:
    assert duration(60) == "1 min 00 s"
