"""Rows of scores and their summaries."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapping_stroke.errors import ScoreError
from mapping_stroke.evaluation.tables import (
    SCORE_COLUMNS,
    SUMMARY_COLUMNS,
    CaseScore,
    Summary,
    order_methods,
    read_score_row,
    score_row,
    summarise,
    summary_row,
)


def scored(case_id: str, value: float, fold: int | None = 0, method: str = "default") -> CaseScore:
    return CaseScore(method, case_id, fold, 10, {"dice": value})


def test_a_summary_has_mean_and_sample_deviation_over_all_and_per_fold() -> None:
    scores = [scored("a", 1.0), scored("b", 2.0), scored("c", 6.0, fold=1)]
    over_all, fold_0, fold_1 = summarise(scores, ["dice"])
    assert (over_all.fold, over_all.mean, over_all.cases) == ("all", 3.0, 3)
    assert over_all.std == pytest.approx(math.sqrt((2**2 + 1**2 + 3**2) / 2))
    assert (fold_0.fold, fold_0.mean, fold_0.cases) == ("0", 1.5, 2)
    assert (fold_1.fold, fold_1.mean, fold_1.cases) == ("1", 6.0, 1)


def test_undefined_cases_are_left_out_and_counted() -> None:
    summary = summarise([scored("a", 1.0), scored("b", math.nan), scored("c", 3.0)], ["dice"])[0]
    assert (summary.mean, summary.cases, summary.undefined) == (2.0, 3, 1)


def test_one_case_has_no_deviation_and_no_defined_case_no_mean() -> None:
    one, none = summarise([scored("a", 1.0)], ["dice"])[0], summarise([scored("a", math.nan)], ["dice"])[0]
    assert (one.mean, math.isnan(one.std)) == (1.0, True)
    assert math.isnan(none.mean)
    assert math.isnan(none.std)


def test_cases_outside_cross_validation_have_no_folds() -> None:
    assert [row.fold for row in summarise([scored("a", 1.0, fold=None)], ["dice"])] == ["all"]
    assert summarise([], ["dice"]) == []


def test_methods_stand_in_the_order_of_the_paper() -> None:
    methods = ["ensemble-pp", "zoo", "residual", "default", "ensemble", "attention", "self-training", "dice-topk10"]
    assert order_methods([*methods, *methods]) == [
        "default", "dice-topk10", "residual", "self-training", "attention", "zoo", "ensemble", "ensemble-pp",
    ]  # fmt: skip


def test_folds_stand_in_the_order_of_their_numbers() -> None:
    scores = [scored(str(fold), 1.0, fold) for fold in (10, 2, 1)]
    assert [row.fold for row in summarise(scores, ["dice"])] == ["all", "1", "2", "10"]


def test_a_row_of_scores_leaves_undefined_fields_empty() -> None:
    row = score_row(scored("a", math.nan, fold=None))
    assert row == {"method": "default", "case_id": "a", "fold": "", "load_vox": 10, "dice": ""}
    assert tuple(row)[: len(SCORE_COLUMNS)] == SCORE_COLUMNS


def test_a_row_of_a_summary_leaves_undefined_fields_empty() -> None:
    row = summary_row(Summary("default", "all", "dice", math.nan, math.nan, 2, 2))
    assert tuple(row) == SUMMARY_COLUMNS
    assert list(row.values()) == ["default", "all", "dice", "", "", 2, 2]


@given(st.floats(allow_infinity=False), st.none() | st.integers(0, 9), st.integers(0, 10**6))
def test_a_row_of_scores_reads_back_as_it_was(value: float, fold: int | None, load_vox: int) -> None:
    before = CaseScore("default", "a", fold, load_vox, {"dice": value})
    after = read_score_row({column: str(field) for column, field in score_row(before).items()})
    assert (after.method, after.case_id, after.fold, after.load_vox) == ("default", "a", fold, load_vox)
    assert after.values["dice"] == value or (math.isnan(value) and math.isnan(after.values["dice"]))


def test_a_damaged_row_is_refused() -> None:
    with pytest.raises(ScoreError, match="has no fold, load_vox"):
        read_score_row({"method": "default", "case_id": "a", "dice": "1"})
    with pytest.raises(ScoreError, match=r"scores of default, a: .*'x'"):
        read_score_row({"method": "default", "case_id": "a", "fold": "0", "load_vox": "10", "dice": "x"})
