import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mapping_stroke.evaluation.cohorts import estimate_mean


def test_the_interval_is_that_of_a_normal_mean_where_there_are_many_cases() -> None:
    values = np.random.default_rng(1).normal(3, 2, 400)
    found = estimate_mean(values)
    assert (found.mean, found.std, found.cases) == (values.mean(), values.std(ddof=1), 400)
    half = 1.96 * values.std() / math.sqrt(400)
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)


def test_cases_where_the_value_is_undefined_are_left_out_and_counted() -> None:
    found = estimate_mean(np.array([1.0, np.nan, 3.0, 1.0, 3.0, 2.0]))
    assert (found.mean, found.cases, found.undefined) == (2.0, 6, 1)
    assert 1 <= found.low <= 2 <= found.high <= 3


@pytest.mark.parametrize(("values", "mean"), [([], math.nan), ([np.nan], math.nan), ([0.5, np.nan], 0.5)])
def test_fewer_than_two_cases_have_no_deviation(values: list[float], mean: float) -> None:
    found = estimate_mean(np.array(values, np.float64))
    assert found.mean == pytest.approx(mean, nan_ok=True)
    assert all(map(math.isnan, (found.std, found.low, found.high)))


@pytest.mark.parametrize("people", [2, 4, 5])
def test_fewer_than_five_people_have_no_interval(people: int) -> None:
    values = np.array([-16.3, 29.7, 3.0, 4.0, 5.0])[:people]
    assert math.isnan(estimate_mean(values).low) is (people < 5)
    assert math.isnan(estimate_mean(np.repeat(values, 3), [f"p{n // 3}" for n in range(3 * people)]).high) is (
        people < 5
    )
    with_undefined = estimate_mean(np.array([*values, np.nan, np.nan, np.nan]))
    assert math.isnan(with_undefined.low) is (people < 5)


@given(arrays(np.float64, st.integers(5, 12), elements=st.floats(0, 1)), st.floats(-3, 3))
def test_an_interval_holds_the_mean_s_neighbourhood_and_moves_with_the_values(values: np.ndarray, shift: float) -> None:
    found, moved = estimate_mean(values), estimate_mean(values + shift)
    assert values.min() - 1e-9 <= found.low <= found.high <= values.max() + 1e-9
    assert (moved.low, moved.high) == pytest.approx((found.low + shift, found.high + shift), abs=1e-9)
    assert estimate_mean(values) == found


@given(arrays(np.float64, st.integers(2, 12), elements=st.floats(0, 1) | st.just(np.nan)))
def test_people_with_one_case_each_are_drawn_as_cases_are(values: np.ndarray) -> None:
    found, by_person = estimate_mean(values), estimate_mean(values, [f"p{n}" for n in range(len(values))])
    np.testing.assert_array_equal(list(vars(found).values()), list(vars(by_person).values()))


def test_copies_of_a_person_s_scan_make_no_interval_narrower() -> None:
    values = np.array([0.1, 0.4, 0.5, 0.9, 0.3])
    once, thrice = estimate_mean(values), estimate_mean(np.repeat(values, 3), np.repeat(list("abcde"), 3).tolist())
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high))
    assert estimate_mean(np.repeat(values, 3)).high < thrice.high


def test_the_scans_of_one_person_have_no_interval() -> None:
    found = estimate_mean(np.array([0.2, 0.4]), ["p", "p"])
    assert (found.mean, found.std) == pytest.approx((0.3, 0.1414214))
    assert math.isnan(found.low)
