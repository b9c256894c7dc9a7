"""Dice of every subset of schemes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mapping_stroke.evaluation.contributions import (
    STEP_COLUMNS,
    Contributions,
    all_subsets,
    dice_of_subsets,
    greedy_order,
    step_row,
)

STEPS = np.array([[9, 6, 0], [9, 2, 0], [0, 6, 8]], np.int32)
"""P(lesion) of three schemes in three voxels, in tenths; the first two voxels are lesion, as is one elsewhere."""
REFERENCE = np.array([True, True, False])


def test_dice_of_each_subset() -> None:
    assert all_subsets(3) == [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]
    found = dice_of_subsets(STEPS, 5, REFERENCE, 3)
    # marked: both lesion voxels; the first; the second and a false one; the first; the second;
    # none (0.45, 0.4, 0.4); the first (0.6)
    assert found == pytest.approx([4 / 5, 2 / 4, 2 / 5, 2 / 4, 2 / 4, 0, 2 / 4])


def test_exactly_one_half_is_not_marked() -> None:
    assert dice_of_subsets(np.array([[3], [7]], np.int32), 5, np.array([True]), 1) == [0.0, 1.0, 0.0]


def test_nothing_marked_and_no_lesion_is_perfect() -> None:
    assert dice_of_subsets(np.zeros((2, 0), np.int32), 5, np.zeros(0, np.bool_), 0) == [1.0, 1.0, 1.0]


@given(arrays(np.int32, (3, 6), elements=st.integers(0, 10)), arrays(np.bool_, 6))
def test_voxels_in_which_no_scheme_exceeds_one_half_do_not_matter(steps: np.ndarray, reference: np.ndarray) -> None:
    inside = (steps > 5).any(axis=0)
    load_vox = int(reference.sum())
    expected = dice_of_subsets(steps, 5, reference, load_vox)
    assert dice_of_subsets(steps[:, inside], 5, reference[inside], load_vox) == expected


def three(values: list[float]) -> Contributions:
    """One case, or the same twice, with these Dice of (a), (b), (c), (ab), (ac), (bc), (abc)."""
    return Contributions(("a", "b", "c"), ("p", "q"), np.array([values, values]))


def test_the_greedy_order_adds_what_helps_most() -> None:
    steps = [step for step in three([0.5, 0.6, 0.4, 0.61, 0.7, 0.65, 0.68]).steps() if step.order == "greedy"]
    assert [(step.schemes, step.scheme) for step in steps] == [(1, "b"), (2, "c"), (3, "a")]
    assert [step.dice.mean for step in steps] == pytest.approx([0.6, 0.65, 0.68])
    assert [step.gain and round(step.gain.mean, 9) for step in steps] == [None, 0.05, 0.03]


@given(st.dictionaries(st.frozensets(st.integers(0, 3), min_size=1), st.floats(0, 1)))
def test_a_greedy_order_names_each_once_and_none_of_the_rest_would_have_been_better(
    known: dict[frozenset[int], float],
) -> None:
    order = greedy_order(4, lambda subset: known.get(frozenset(subset), 0.5))
    assert sorted(order) == [0, 1, 2, 3]
    for place, chosen in enumerate(order):
        before = order[:place]
        best = max(known.get(frozenset([*before, other]), 0.5) for other in order[place:])
        assert known.get(frozenset([*before, chosen]), 0.5) == best


def test_equal_schemes_come_in_the_order_of_tables() -> None:
    assert [step.scheme for step in three([0.5] * 7).steps() if step.order == "greedy"] == ["a", "b", "c"]


def test_the_random_order_is_the_mean_over_all_orders() -> None:
    steps = [step for step in three([0.5, 0.6, 0.4, 0.61, 0.7, 0.65, 0.68]).steps() if step.order == "random"]
    assert [step.dice.mean for step in steps] == pytest.approx([0.5, 1.96 / 3, 0.68])
    assert [step.scheme for step in steps] == ["", "", ""]


def test_the_gain_of_a_scheme_that_joins_others() -> None:
    joins = {s.scheme: s for s in three([0.5, 0.6, 0.4, 0.61, 0.7, 0.65, 0.68]).steps() if s.order == "joins"}
    left_out = {s.scheme: s for s in three([0.5, 0.6, 0.4, 0.61, 0.7, 0.65, 0.68]).steps() if s.order == "left out"}
    assert joins["a"].dice.mean == pytest.approx(0.5)
    # second: to b +0.01, to c +0.30; third: to b and c +0.03
    assert joins["a"].gain.mean == pytest.approx(((0.01 + 0.30) / 2 + 0.03) / 2)  # type: ignore[union-attr]
    assert (left_out["a"].dice.mean, left_out["a"].schemes) == (pytest.approx(0.65), 2)
    assert left_out["a"].gain.mean == pytest.approx(0.03)  # type: ignore[union-attr]


def test_a_first_scheme_has_empty_fields_of_gain() -> None:
    row = step_row(three([0.5] * 7).steps()[0])
    assert tuple(row) == STEP_COLUMNS
    assert (row["gain_mean"], row["cases"], row["dice_mean"]) == (None, 2, 0.5)


@given(arrays(np.float64, (3, 7), elements=st.floats(0, 1)))
def test_every_order_ends_with_all_schemes(dice: np.ndarray) -> None:
    steps = Contributions(("a", "b", "c"), ("p", "q", "r"), dice).steps()
    ends = [step.dice.mean for step in steps if step.schemes == 3]
    assert ends == pytest.approx([dice[:, -1].mean()] * 2)
    gains = sum(step.gain.mean for step in steps if step.order == "greedy" and step.gain)
    assert steps[0].dice.mean + gains == pytest.approx(dice[:, -1].mean())
