"""The paper's Table 1."""

import json
import math
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapping_stroke.errors import ScoreError
from mapping_stroke.evaluation.tables import CaseScore, summarise
from mapping_stroke.report.tables import (
    Table,
    TableRow,
    find_metrics,
    format_text,
    make_table,
    read_paper_tables,
    table_rows,
)


def table_of(values: dict[str, list[float]], metric: str = "dice") -> Table:
    scores = [
        CaseScore(method, str(number), number % 2, 10, {metric: value})
        for method, its in values.items()
        for number, value in enumerate(its)
    ]
    return make_table("title", summarise(scores, [metric]))


def best_of(table: Table) -> list[str]:
    return [row.method for row in table.rows if row.cells[0].best]


def test_the_highest_dice_is_marked() -> None:
    assert best_of(table_of({"default": [0.5, 0.7], "residual": [0.9, 0.1], "ensemble": [0.6, 0.7]})) == ["ensemble"]


@pytest.mark.parametrize("metric", ["volume_difference_vox", "simple_lesion_count", "hd95_mm"])
def test_the_lowest_difference_is_marked(metric: str) -> None:
    assert best_of(table_of({"default": [5, 7], "residual": [9, 1], "ensemble": [6, 7]}, metric)) == ["residual"]


def test_equal_means_are_all_marked() -> None:
    values = {"default": [0.1, 0.7], "residual": [0.7, 0.1], "ensemble": [0.2, 0.2]}
    assert best_of(table_of(values)) == ["default", "residual"]


def test_a_method_alone_is_not_marked_best() -> None:
    assert best_of(table_of({"default": [0.5]})) == []
    assert best_of(table_of({"default": [3.0], "ensemble": [math.nan]}, "hd95_mm")) == []


def test_a_mean_over_fewer_cases_is_never_the_best() -> None:
    easy = [2.0, math.nan, math.nan]
    values = {"default": [5.0, 6.0, 7.0], "residual": easy, "ensemble": [5.0, 6.0, 5.0]}
    assert best_of(table_of(values, "hd95_mm")) == ["ensemble"]
    assert best_of(table_of({"default": [5.0, 6.0, 7.0], "residual": easy, "ensemble": easy}, "hd95_mm")) == []
    assert best_of(table_of({"default": [5.0, 7.0, math.nan], "residual": [4.0, math.nan, 4.0]}, "hd95_mm")) == [
        "residual"
    ]


def test_a_method_without_all_masks_is_never_the_best() -> None:
    table = table_of({"default": [0.5, 0.7], "residual": [0.9], "ensemble": [0.6, 0.7]})
    assert best_of(table) == ["ensemble"]
    assert format_text(table).endswith("averaged over the most cases; none is marked if only one method is left.")


@given(st.lists(st.lists(st.floats(0, 1), min_size=2, max_size=2), min_size=2, max_size=6))
def test_no_unmarked_method_beats_a_marked_one(values: list[list[float]]) -> None:
    table = table_of({f"m{number}": its for number, its in enumerate(values)})
    means = [row.cells[0].mean for row in table.rows]
    marked = [row.cells[0].mean for row in table.rows if row.cells[0].best]
    assert marked
    assert min(marked) == pytest.approx(max(means), rel=1e-9)


def test_cells_have_two_decimals_and_the_number_of_undefined_cases() -> None:
    table = table_of({"default": [1.0, 2.0, math.nan], "ensemble": [math.nan] * 3}, "hd95_mm")
    some, none = (row.cells[0] for row in table.rows)
    assert (some.text, some.note) == ("1.50 ± 0.71", "1 undefined")
    assert (none.text, none.note) == ("n/a", "3 undefined")
    assert table_of({"default": [0.5]}).rows[0].cells[0].text == "0.50 ± n/a"
    assert table_of({"default": [0.5]}).rows[0].cells[0].note == ""


def test_a_fold_has_a_table_of_its_own() -> None:
    scores = [CaseScore("default", str(fold), fold, 10, {"dice": fold / 2}) for fold in (0, 1)]
    summaries = summarise(scores, ["dice"])
    assert [make_table("", summaries, fold).rows[0].cells[0].mean for fold in ("all", "0", "1")] == [0.25, 0.0, 0.5]
    assert make_table("", summaries, "7").rows == ()


def test_the_text_is_aligned_and_marks_the_best() -> None:
    text = format_text(table_of({"default": [0.5, 0.7], "ensemble-pp": [0.6, 0.8]}))
    assert text.splitlines() == [
        "title",
        "method         cases  Dice\N{NO-BREAK SPACE}↑",
        "Default        2      0.60 ± 0.14",
        "Ensemble + PP  2      0.70 ± 0.14*",
        "* best of the column. Mean ± standard deviation over the cases where the metric is defined.",
    ]


def test_rows_keep_full_precision() -> None:
    row = table_rows(table_of({"default": [1 / 3], "ensemble": [0.2]}))[0]
    assert list(row) == ["method", "cases", "dice_mean", "dice_std", "dice_undefined", "dice_best"]
    assert list(row.values()) == ["default", 1, 1 / 3, None, None, 1]


def test_a_method_without_a_metric_has_an_empty_cell() -> None:
    scores = [CaseScore("default", "a", 0, 10, {"dice": 0.5}), CaseScore("ensemble", "a", 0, 10, {"dice": 0.6})]
    other = summarise([CaseScore("ensemble", "a", 0, 10, {"hd95_mm": 4.0})], ["hd95_mm"])
    table = make_table("", [*summarise(scores, ["dice"]), *other])
    assert [cell.text for cell in table.rows[0].cells] == ["0.50 ± n/a", "n/a"]


def test_rows_and_metrics_must_fit() -> None:
    with pytest.raises(AssertionError, match="one cell for each of 1 metrics"):
        Table("title", find_metrics(["dice"]), (TableRow("default", 1, ()),))


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(ScoreError, match="unknown metric 'accuracy'"):
        find_metrics(["dice", "accuracy"])


def test_the_guide_expects_the_papers_numbers() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "how-to" / "atlas.md").read_text(encoding="utf-8")
    decimals = {"dice": 3, "lesion_f1": 3, "volume_difference_vox": 0, "simple_lesion_count": 2, "hd95_mm": 1}
    for table in read_paper_tables():
        for number, metric in enumerate(table.metrics):
            means = {row.method: row.cells[number].mean for row in table.rows}
            schemes = [mean for method, mean in means.items() if "ensemble" not in method and not math.isnan(mean)]
            last = Decimal(1).scaleb(-decimals[metric.key])
            shown = [
                str(Decimal(str(mean)).quantize(last, ROUND_HALF_UP))
                for mean in (min(schemes), max(schemes), means["ensemble"], means["ensemble-pp"])
            ]
            assert f"| {shown[0]} to {shown[1]} | {shown[-2]} | {shown[-1]} |" in guide


def test_the_papers_numbers_are_the_papers(shared: Path) -> None:
    stored = json.loads((shared / "paper" / "tables.json").read_text(encoding="utf-8"))
    theirs = ("default", "dtk10", "res-unet", "self-training", "ensemble", "ensemble-pp")
    folds, public = read_paper_tables()
    assert [row.cases for row in (folds.rows[0], public.rows[0])] == [655, 300]
    for table, source in (
        (folds, {metric: values["mean"] for metric, values in stored["cross_validation"].items()}),
        (public, stored["public_test"]),
    ):
        for row, their in zip(table.rows, theirs, strict=True):
            for metric, cell in zip(table.metrics, row.cells, strict=True):
                if their in source[metric.key]:
                    assert [cell.mean, cell.std] == source[metric.key][their]
                else:
                    assert cell.text == "n/a"
    marked = {
        metric.key: [row.method for row in folds.rows if row.cells[i].best] for i, metric in enumerate(folds.metrics)
    }
    assert marked["dice"] == ["self-training"]
    assert marked["lesion_f1"] == ["ensemble-pp"]
