"""Paired tests between methods, on numbers small enough to check by hand."""

import math
from random import Random

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mapping_stroke.evaluation.paired_tests import (
    TEST_COLUMNS,
    PairedTest,
    compare_methods,
    holm,
    mean_by_person,
    paired_row,
    signed_rank_p,
)
from mapping_stroke.evaluation.profiles import ATLAS2022, Metric
from mapping_stroke.evaluation.tables import CaseScore

DICE = next(metric for metric in ATLAS2022.metrics if metric.key == "dice")
HD95 = next(metric for metric in ATLAS2022.metrics if metric.key == "hd95_mm")


def scores_of(values: dict[str, list[float]], metric: Metric = DICE) -> list[CaseScore]:
    return [
        CaseScore(method, f"c{number}", 0, 1, {metric.key: value})
        for method, its in values.items()
        for number, value in enumerate(its)
    ]


def compare(
    values: dict[str, list[float]], metric: Metric = DICE, people: dict[str, str] | None = None
) -> list[PairedTest]:
    return compare_methods(scores_of(values, metric), [metric], people or {})


def test_six_people_who_all_gain_have_the_smallest_possible_p() -> None:
    (test,) = compare({"default": [0.5] * 6, "ensemble": [0.51, 0.53, 0.55, 0.57, 0.59, 0.62]})
    assert (test.method, test.other, test.people, test.better, test.worse) == ("default", "ensemble", 6, 0, 6)
    assert test.p == pytest.approx(2 / 2**6)  # one of 64 choices of signs on either side
    assert (test.p_holm, test.comparisons) == (test.p, 1)
    assert test.difference.mean == pytest.approx(-0.0616666667)
    assert -0.12 <= test.difference.low < test.difference.mean < test.difference.high <= -0.01


def test_a_lower_distance_is_better() -> None:
    (test,) = compare({"default": [5.0, 6.0, 9.0], "ensemble": [4.0, 8.0, 7.0]}, HD95)
    assert (test.better, test.worse) == (1, 2)


def test_methods_that_never_differ_have_a_p_of_1() -> None:
    (test,) = compare({"default": [0.5, 0.6], "ensemble": [0.5, 0.6]})
    assert (test.p, test.p_holm, test.better, test.worse, test.difference.mean) == (1.0, 1.0, 0, 0, 0.0)


def test_the_scans_of_a_person_are_one_pair() -> None:
    values = {"default": [0.1, 0.2, 0.5, 0.5], "ensemble": [0.3, 0.4, 0.4, 0.9]}
    (test,) = compare(values, people={"c0": "p", "c1": "p", "c2": "q", "c3": "q"})
    assert (test.people, test.difference.cases) == (2, 4)
    assert mean_by_person(np.array([1.0, np.nan, 3.0, np.nan]), ["p", "p", "p", "q"]).tolist() == [2.0]


def test_a_case_without_a_value_of_both_methods_is_left_out() -> None:
    (test,) = compare({"default": [1.0, math.nan, 3.0], "ensemble": [2.0, 2.0, math.nan]}, HD95)
    assert (test.people, test.difference.undefined, paired_row(test)["cases"]) == (1, 2, 1)


def test_without_a_pair_there_is_no_p_and_one_comparison_less() -> None:
    values = {"default": [1.0, 2.0, 4.0], "residual": [2.0, 4.0, 9.0], "ensemble": [math.nan] * 3}
    tests = compare(values, HD95)
    assert [math.isnan(test.p) for test in tests] == [False, True, True]
    assert {test.comparisons for test in tests} == {1}
    row = paired_row(tests[1])
    assert tuple(row) == TEST_COLUMNS or set(row) == set(TEST_COLUMNS)
    assert (row["p"], row["p_holm"], row["difference"]) == (None, None, None)


def test_one_method_is_compared_with_nothing() -> None:
    assert compare({"default": [0.5, 0.6]}) == []


def test_each_metric_is_corrected_on_its_own() -> None:
    rng = np.random.default_rng(0)
    values = {
        name: rng.normal(shift, 1, 30).tolist() for name, shift in (("default", 0), ("residual", 0.6), ("ensemble", 2))
    }
    tests = compare(values)
    assert [test.comparisons for test in tests] == [3, 3, 3]
    ordered = sorted(tests, key=lambda test: test.p)
    assert ordered[0].p_holm == pytest.approx(min(1, 3 * ordered[0].p))  # Holm: the smallest times 3, then 2, then 1
    assert ordered[1].p_holm == pytest.approx(max(ordered[0].p_holm, min(1, 2 * ordered[1].p)))


def test_holms_correction_of_a_few_values() -> None:
    # sorted: 4 x 0.005, 3 x 0.01, 2 x 0.03, and 1 x 0.04, which is less than the one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, math.nan, 0.02]) == pytest.approx([0.6, math.nan, 0.04], nan_ok=True)
    assert holm([0.7, 0.8]) == [1, 1]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=6), st.randoms())
def test_correction_never_lowers_a_p_and_order_does_not_matter(p: list[float], random: Random) -> None:
    corrected = holm(p)
    assert all(one <= raised <= 1 for one, raised in zip(p, corrected, strict=True))
    order = random.sample(range(len(p)), len(p))
    assert holm([p[index] for index in order]) == [corrected[index] for index in order]


@settings(max_examples=20)
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=8))  # of more, scipy permutes thousands of signs
@example([number / 20 for number in range(-5, 15)])  # too many to permute
def test_the_sign_of_all_differences_does_not_matter(values: list[float]) -> None:
    differences = np.array(values)
    assert signed_rank_p(differences) == pytest.approx(signed_rank_p(-differences))
    assert 0 < signed_rank_p(differences) <= 1


def test_no_difference_gives_no_p() -> None:
    assert math.isnan(signed_rank_p(np.array([], np.float64)))
