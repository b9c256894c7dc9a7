"""Paired differences between two runs: numbers to check by eye, laws, and refusals."""

import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapping_stroke.errors import ScoreError
from mapping_stroke.evaluation.paired import Difference, PairedScores, measure_differences, pair_scores
from mapping_stroke.evaluation.tables import CaseScore
from mapping_stroke.report.tables import find_metrics

NAMES = ("first", "second")
Values = Mapping[str, Mapping[str, float]]  # case to metric to value


def scores(values: Values, method: str = "default") -> list[CaseScore]:
    return [CaseScore(method, case_id, None, 5, dict(metrics)) for case_id, metrics in values.items()]


def of_dice(values: Mapping[str, float], method: str = "default") -> list[CaseScore]:
    return scores({case_id: {"dice": value} for case_id, value in values.items()}, method)


def paired(a: list[CaseScore], b: list[CaseScore]) -> PairedScores:
    return pair_scores(a, b, find_metrics(a[0].values), NAMES)


def only(a: list[CaseScore], b: list[CaseScore], people: Mapping[str, str] | None = None) -> Difference:
    (found,) = measure_differences(paired(a, b), people or {})
    return found


def test_a_worked_example() -> None:
    found = only(
        of_dice(dict.fromkeys("abcde", 0.5)), of_dice({"a": 0.75, "b": 0.625, "c": 0.5, "d": 0.25, "e": 0.625})
    )
    assert (found.cases, found.people, found.undefined) == (5, 5, 0)
    assert (found.mean_a, found.mean_b, found.difference) == (0.5, 0.55, pytest.approx(0.05))
    assert (found.better, found.worse, found.equal) == (3, 1, 1)
    assert -0.25 <= found.low < found.difference < found.high <= 0.25


def test_lower_is_better_in_distances() -> None:
    a, b = (
        scores({"a": {"hd95_mm": 9.0}, "b": {"hd95_mm": 9.0}}),
        scores({"a": {"hd95_mm": 4.0}, "b": {"hd95_mm": 9.5}}),
    )
    found = only(a, b)
    assert (found.difference, found.better, found.worse) == (-2.25, 1, 1)


def test_cases_undefined_in_one_run_are_left_out_of_both_means() -> None:
    a = scores({"a": {"hd95_mm": 9.0}, "b": {"hd95_mm": math.nan}, "c": {"hd95_mm": 5.0}})
    b = scores({"a": {"hd95_mm": 8.0}, "b": {"hd95_mm": 1.0}, "c": {"hd95_mm": 4.0}})
    found = only(a, b)
    assert (found.cases, found.undefined, found.mean_a, found.mean_b) == (2, 1, 7.0, 6.0)


def test_nothing_defined_gives_nothing() -> None:
    nothing = scores({"a": {"hd95_mm": math.nan}, "b": {"hd95_mm": math.nan}})
    found = only(nothing, nothing)
    assert (found.cases, found.undefined) == (0, 2)
    assert all(math.isnan(value) for value in (found.mean_a, found.difference, found.low, found.p, found.p_holm))


def test_one_person_has_no_interval() -> None:
    found = only(of_dice({"a": 0.5, "b": 0.5}), of_dice({"a": 0.6, "b": 0.7}), {"a": "p", "b": "p"})
    assert found.people == 1
    assert math.isnan(found.low)
    assert found.p == 1.0


def test_people_are_drawn_with_all_their_cases() -> None:
    """One person with three gains among five people: a third of the resamples are without that person."""
    a = of_dice(dict.fromkeys("abcdefg", 0.0))
    b = of_dice({**dict.fromkeys("abc", 0.7), **dict.fromkeys("defg", 0.0)})
    found = only(a, b, dict.fromkeys("abc", "p"))
    assert (found.low, found.people) == (0.0, 5)
    assert found.difference == pytest.approx(0.3)
    assert only(a, b).low > 0


def test_the_test_is_the_signed_rank_test_of_people() -> None:
    """Six people who all gain: one of 2**6 sign patterns on each side, so p is 2/64."""
    a = of_dice(dict.fromkeys("abcdef", 0.0))
    b = of_dice({case_id: 0.01 * number for number, case_id in enumerate("abcdef", start=1)})
    assert only(a, b).p == pytest.approx(2 / 64)


def test_holm_multiplies_the_smallest_p_by_the_number_of_comparisons() -> None:
    zeros = dict.fromkeys("abcdef", 0.0)
    gains = {case_id: 0.01 * number for number, case_id in enumerate("abcdef", start=1)}
    mixed = {case_id: gain * (-1) ** number for number, (case_id, gain) in enumerate(gains.items())}
    a = [*of_dice(zeros), *of_dice(zeros, "ensemble")]
    b = [*of_dice(gains), *of_dice(mixed, "ensemble")]
    first, second = measure_differences(paired(a, b), {})
    assert first.p_holm == pytest.approx(2 * first.p)
    assert second.p_holm == second.p > 0.05
    alone = paired(of_dice(zeros), of_dice(gains))
    assert [one.p_holm for one in measure_differences(alone, {})] == [first.p]


def test_equal_up_to_rounding_is_equal() -> None:
    found = only(of_dice({"a": 0.1 + 0.2, "b": 0.3}), of_dice({"a": 0.3, "b": 0.3}))
    assert (found.equal, found.difference, found.p) == (2, 0.0, 1.0)


def test_cases_and_methods_of_one_run_only_are_named() -> None:
    a = [*of_dice({"a": 0.1, "b": 0.2}), *of_dice({"a": 0.1}, "residual")]
    b = [*of_dice({"b": 0.1, "c": 0.2}), *of_dice({"b": 0.1}, "ensemble")]
    found = paired(a, b)
    assert (found.case_ids, found.only_a, found.only_b) == (["b"], ("a",), ("c",))
    assert (found.methods, found.methods_only_a, found.methods_only_b) == (["default"], ("residual",), ("ensemble",))


def test_cases_are_ordered_by_their_change() -> None:
    a, b = of_dice(dict.fromkeys("abcd", 0.5)), of_dice({"a": 0.5, "b": math.nan, "c": 0.1, "d": 0.9})
    assert [pair.a.case_id for pair in paired(a, b).by_change("default")] == ["c", "a", "d", "b"]


def test_other_profiles_are_refused() -> None:
    a = scores(
        {"a": dict.fromkeys(["dice", "volume_difference_vox", "simple_lesion_count", "lesion_f1", "hd95_mm"], 0.0)}
    )
    with pytest.raises(ScoreError, match="first with atlas2022 and second with the metrics dice"):
        paired(a, of_dice({"a": 0.1}))


def test_other_cases_are_refused() -> None:
    with pytest.raises(ScoreError, match=r"no common case: first scored 1 case \(such as a\), second 2 \(such as b\)"):
        paired(of_dice({"a": 0.1}), of_dice({"b": 0.1, "c": 0.1}))


def test_other_methods_are_refused() -> None:
    with pytest.raises(ScoreError, match="no common method on a common case: first has default, second has residual"):
        paired(of_dice({"a": 0.1}), of_dice({"a": 0.1}, "residual"))


DICE = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=5)


@settings(max_examples=8, deadline=None)
@given(DICE)
def test_a_run_equals_itself(values: list[float]) -> None:
    own = of_dice({str(number): value for number, value in enumerate(values)})
    found = only(own, own)
    assert (found.difference, found.p, found.p_holm, found.equal) == (0.0, 1.0, 1.0, len(values))


@settings(max_examples=8, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1, width=32), st.floats(0, 1, width=32)), min_size=2, max_size=5))
def test_exchanging_the_runs_exchanges_the_signs(values: list[tuple[float, float]]) -> None:
    a, b = (of_dice({str(n): pair[side] for n, pair in enumerate(values)}) for side in (0, 1))
    there, back = only(a, b), only(b, a)
    np.testing.assert_allclose([there.difference, there.low, there.high], [-back.difference, -back.high, -back.low])
    assert (there.better, there.worse, there.equal) == (back.worse, back.better, back.equal)
    assert there.p == pytest.approx(back.p)


@settings(max_examples=8, deadline=None)
@given(DICE)
def test_the_same_scores_give_the_same_interval(values: list[float]) -> None:
    a = of_dice({str(number): value for number, value in enumerate(values)})
    b = of_dice({str(number): value / 2 for number, value in enumerate(values)})
    assert repr(only(a, b)) == repr(only(a, b))
