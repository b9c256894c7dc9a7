"""The paper's tables for a run, as text, CSV, Markdown and LaTeX."""

import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapping_stroke.dataset.voxels import VoxelVolumes
from mapping_stroke.evaluation.tables import CaseScore
from mapping_stroke.files import read_csv
from mapping_stroke.report.publication import (
    PublishedTable,
    latex_text,
    publish,
    published_latex,
    published_markdown,
    published_text,
    write_published,
)

VALUES = {
    "default": [0.5, 0.7, 0.6, 0.6, 0.6],
    "ensemble-pp": [0.6, 0.8, 0.7, 0.7, 0.7],
    "my_scheme": [0.1, 0.2, 0.3, 0.2, 0.2],
}


def table_of(number: int = 1, metric: str = "dice") -> PublishedTable:
    scores = [
        CaseScore(method, str(place), place % 2 if number == 1 else None, 10, {metric: value})
        for method, its in VALUES.items()
        for place, value in enumerate(its)
    ]
    return publish(number, scores, {})


def test_each_method_is_followed_by_its_interval_and_the_papers_value() -> None:
    assert published_text(table_of()).splitlines()[:10] == [
        "Table 1. This run: 5 cases in 2 folds",
        "method           cases  Dice\N{NO-BREAK SPACE}↑",
        "Default          5      0.60 ± 0.07",
        "  95 % interval         [0.54, 0.66]",
        "  paper          655    0.64 ± 0.27",
        "my_scheme        5      0.20 ± 0.07",
        "  95 % interval         [0.14, 0.26]",
        "Ensemble + PP    5      0.70 ± 0.07*",
        "  95 % interval         [0.64, 0.76]",
        "  paper          655    0.65 ± 0.27",
    ]


def test_table_2_has_the_papers_test_scans() -> None:
    text = published_text(table_of(2))
    assert "Table 2. This run: 5 test scans" in text
    assert "  paper          300    0.66 ± 0.26" in text
    assert "public test scans; comparable only with a run on the same cases" in text


def test_a_metric_that_the_paper_lacks_has_no_line_of_it() -> None:
    assert not any(line.startswith("  paper") for line in published_text(table_of(1, "pr_auc")).splitlines())


def test_an_undefined_mean_has_no_interval() -> None:
    scores = [CaseScore("default", "a", 0, 1, {"dice": 0.5, "hd95_mm": math.nan}) for _ in range(1)]
    published = publish(1, scores, {})
    assert [line.label for line in published.lines] == ["Default", "paper"]
    assert published.lines[0].texts == ("0.50 ± n/a", "n/a (1 undefined)")


def test_markdown_marks_the_best() -> None:
    assert "| Ensemble + PP | 5 | **0.70 ± 0.07** |\n| *95 % interval* |  | [0.64, 0.76] |" in published_markdown(
        table_of()
    )


def test_latex_is_a_booktabs_table_whose_rows_fit() -> None:
    text = published_latex(table_of(1, "hd95_mm"))
    body = text.partition(r"\toprule")[2].partition(r"\bottomrule")[0]
    rows = [line for line in body.splitlines() if line.endswith(r" \\")]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {2}
    assert text.count(r"\begin{tabular}{lrr}") == 1
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    assert r"    my\_scheme & 5 & \textbf{0.20 $\pm$ 0.07 (0)} \\" in text
    assert r"    \quad 95 \% interval &  & [0.14, 0.26] \\" in text
    assert "In parentheses: number of undefined cases.}" in text
    assert r"\usepackage{booktabs}" in text
    assert text.isascii()


def test_latex_stacks_a_long_head() -> None:
    head = r"\shortstack[r]{Volume \\ difference \\ (vox)~$\downarrow$}"
    assert head in published_latex(table_of(1, "volume_difference_vox"))


@given(st.text("ab&%$#_{}~^\\", max_size=12))
def test_no_sign_of_a_name_stays_a_command(name: str) -> None:
    plain = latex_text(name)
    for command in ("textbackslash", "textasciitilde", "textasciicircum"):
        plain = plain.replace(rf"\{command}{{}}", "")
    assert not re.search(r"(?<!\\)[&%$#_{}~^]", plain)


def test_the_files_and_their_numbers(tmp_path: Path) -> None:
    write_published(table_of(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table1.csv", "table1.md", "table1.tex", "table1.txt"]
    first, second, _ = read_csv(tmp_path / "table1.csv")
    assert list(first) == [
        "method", "cases", "dice_mean", "dice_std", "dice_undefined", "dice_best", "dice_low", "dice_high",
        "paper_cases", "dice_paper_mean", "dice_paper_std",
    ]  # fmt: skip
    assert (first["paper_cases"], first["dice_paper_mean"]) == ("655", "0.6358")
    assert (second["method"], second["paper_cases"], second["dice_paper_std"]) == ("my_scheme", "", "")
    assert float(first["dice_low"]) == pytest.approx(0.54)


def volumes_of(voxels: VoxelVolumes | None) -> PublishedTable:
    scores = [
        CaseScore(method, str(place), 0, 10, {"dice": 0.5, "volume_difference_vox": 742.0 + place})
        for method in ("default", "ensemble-pp")
        for place in range(5)
    ]
    return publish(1, scores, {}, voxels)


def test_large_voxels_are_not_compared_with_the_papers(tmp_path: Path) -> None:
    published = volumes_of(VoxelVolumes(64.0, 64.0))
    assert published.lines[2].texts == ("0.64 ± 0.27", "n/a")
    note = (
        "A voxel has 64 mm3 in this run and 1 mm3 in the paper: a number of voxels stands for 64 times the volume here"
    )
    write_published(published, tmp_path)
    assert all(note in (tmp_path / f"table1.{suffix}").read_text("utf-8") for suffix in ("txt", "md", "tex"))
    row = read_csv(tmp_path / "table1.csv")[0]
    assert (row["dice_paper_mean"], row["volume_difference_vox_paper_mean"]) == ("0.6358", "")
    assert row["volume_difference_vox_mean"] == "744.0"


def test_voxels_of_several_sizes_are_told_as_a_range() -> None:
    note = volumes_of(VoxelVolumes(0.512, 2.0)).voxel_note
    assert note.startswith("A voxel has 0.512 to 2 mm3 in this run and 1 mm3 in the paper")


@pytest.mark.parametrize("voxels", [None, VoxelVolumes(1.0, 1.0), VoxelVolumes(0.95, 1.05)])
def test_voxels_of_the_papers_size_need_no_word(voxels: VoxelVolumes | None) -> None:
    published = volumes_of(voxels)
    assert published.lines[2].texts == ("0.64 ± 0.27", "5852.00 ± 11792.00")
    assert published.voxel_note == ""


def test_a_table_without_voxels_needs_no_word_either() -> None:
    scores = [CaseScore("default", "a", 0, 10, {"dice": 0.5})]
    assert publish(1, scores, {}, VoxelVolumes(64.0, 64.0)).voxel_note == ""


def test_fewer_than_five_people_have_no_line_of_intervals() -> None:
    scores = [CaseScore("default", str(place), 0, 10, {"dice": 0.1 * place}) for place in range(5)]
    assert [line.label for line in publish(1, scores, {}).lines] == ["Default", "95 % interval", "paper"]
    two_people = publish(1, scores, {str(place): f"p{place % 2}" for place in range(5)})
    assert [line.label for line in two_people.lines] == ["Default", "paper"]
    assert "none for fewer than 5 of them" in published_text(two_people)
