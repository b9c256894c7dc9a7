"""Types and array shapes are checked while the tests run."""

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from mapping_stroke.console import duration
from mapping_stroke.lesions import find_lesions


def test_an_array_of_the_wrong_type_or_shape_is_caught() -> None:
    for wrong in (np.zeros((2, 2, 2)), np.zeros((2, 2), bool)):
        with pytest.raises(TypeCheckError):
            find_lesions(wrong)


def test_a_whole_number_may_stand_for_a_float() -> None:
    assert duration(60) == "1 min 00 s"
