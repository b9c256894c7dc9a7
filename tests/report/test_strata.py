"""Dice by kind of case."""

import math
from pathlib import Path

import pytest

from mapping_stroke.dataset.cases import Case
from mapping_stroke.evaluation.tables import CaseScore
from mapping_stroke.report.strata import STRATA_COLUMNS, lesions_of, load_of, side_of, strata_rows, stratify


def case_of(
    case_id: str, load_ml: float, lesions: int = 1, sides: tuple[float, float] | None = None, site: str = ""
) -> Case:
    left, right = sides or (None, None)
    files = (Path("scan"), Path("mask"))
    head = (case_id, case_id[0], "", site, "training", *files, int(load_ml * 1000), load_ml, lesions)
    return Case(*head, (1, 1, 1), (9, 9, 9), "RAS", left, right)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sides", "side"),
    [
        ((3, 0), "left"),
        ((0.1, 2), "right"),
        ((1, 0.06), "both"),
        ((1, 0.05), "left"),
        ((0, 0), "no lesion"),
        (None, ""),
    ],
)
def test_a_lesion_is_on_both_sides_if_each_holds_a_twentieth(sides: tuple[float, float] | None, side: str) -> None:
    assert side_of(case_of("a", 1, sides=sides)) == side


def test_ranges_of_loads_and_of_numbers_of_lesions() -> None:
    assert [load_of(case_of("a", load)) for load in (0, 1, 1.1, 30)] == [
        "no lesion", "up to 1 mL", "1 to 5 mL", "above 20 mL",
    ]  # fmt: skip
    assert [lesions_of(case_of("a", 1, lesions)) for lesions in (0, 1, 2, 3, 5, 6, 40)] == [
        "no lesion", "1", "2", "3 to 5", "3 to 5", "6 and more", "6 and more",
    ]  # fmt: skip


CASES = [
    case_of("a1", 9, 1, (9, 0), "R2"),
    case_of("a2", 9, 2, (0, 9), "R2"),
    case_of("b1", 0.5, 7, (0.5, 0), "R1"),
    case_of("c1", 0.5, 7),
]
SCORES = [
    CaseScore(method, case.case_id, 0, 1, {"dice": dice + plus})
    for method, plus in (("default", 0.0), ("ensemble", 0.1))
    for case, dice in zip(CASES, (0.8, 0.6, 0.2, 0.4), strict=True)
]


def test_cases_are_split_by_each_known_property() -> None:
    found = {split.key: split for split in stratify(SCORES, CASES)}
    assert {key: [(s.label, s.cases, s.people) for s in split.strata] for key, split in found.items()} == {
        "load": [("up to 1 mL", 2, 2), ("5 to 20 mL", 2, 1)],
        "lesions": [("1", 1, 1), ("2", 1, 1), ("6 and more", 2, 2)],
        "side": [("left", 2, 2), ("right", 1, 1)],
        "site": [("R1", 1, 1), ("R2", 2, 1)],
    }
    assert [found[key].unknown for key in ("load", "lesions", "side", "site")] == [0, 0, 1, 1]
    left = found["side"].strata[0].dice["ensemble"]
    assert left.mean == pytest.approx(0.6)
    assert math.isnan(left.low)  # of two people


def test_a_property_that_no_case_has_is_left_out() -> None:
    assert [split.key for split in stratify(SCORES[3:4], CASES)] == ["load", "lesions"]
    assert stratify(SCORES, []) == []


def test_rows_of_the_table() -> None:
    rows = strata_rows(stratify(SCORES, CASES))
    assert all(tuple(row) == STRATA_COLUMNS for row in rows)
    assert len(rows) == 2 * 9
    first, *_ = rows
    assert (first["by"], first["stratum"], first["method"], first["cases"]) == ("load", "up to 1 mL", "default", 2)
    alone = next(row for row in rows if row["stratum"] == "right")
    assert (alone["dice_mean"], alone["dice_low"]) == (0.6, None)
