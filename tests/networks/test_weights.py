import numpy as np
import pytest
from hypothesis import given
from hypothesis.strategies import floats

from mapping_stroke.networks.weights import blend_weights

TRAINED = {"a": np.array([1.0, 3.0], np.float32), "b": np.array([[4.0]], np.float32)}
START = {"a": np.array([3.0, 1.0], np.float16), "b": np.array([[0.0]], np.float16)}


def test_a_quarter_of_the_start_is_kept() -> None:
    blended = blend_weights(TRAINED, START, 0.25)
    np.testing.assert_array_equal(blended["a"], [1.5, 2.5])
    np.testing.assert_array_equal(blended["b"], [[3.0]])
    assert {array.dtype for array in blended.values()} == {np.dtype(np.float32)}


@given(floats(0, 1))
def test_no_weight_leaves_the_range_between_both(share: float) -> None:
    blended = blend_weights(TRAINED, START, share)
    for name, array in blended.items():
        low, high = np.minimum(TRAINED[name], START[name]), np.maximum(TRAINED[name], START[name])
        assert (array >= low - 1e-6).all()
        assert (array <= high + 1e-6).all()


@pytest.mark.parametrize(("share", "expected"), [(0.0, TRAINED), (1.0, START)])
def test_the_ends_are_the_networks_themselves(share: float, expected: dict[str, np.ndarray]) -> None:
    for name, array in blend_weights(TRAINED, START, share).items():
        np.testing.assert_array_equal(array, expected[name])
