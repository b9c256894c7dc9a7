"""Which cases are shown, and results by lesion size."""

import math
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread

from mapping_stroke.evaluation.tables import CaseScore
from mapping_stroke.report.distributions import draw_by_load, group_by_load, typical_cases, worst_cases
from mapping_stroke.report.style import bar_ends, load_words, method_label, short_id
from mapping_stroke.report.tables import find_metrics


def scored(case_id: str, dice: float, load_vox: int = 10, method: str = "ensemble-pp") -> CaseScore:
    return CaseScore(method, case_id, 0, load_vox, {"dice": dice})


def test_the_worst_cases_are_those_of_lowest_dice_the_largest_of_equals_first() -> None:
    scores = [scored("a", 0.5), scored("b", 0.0, 10), scored("c", 0.0, 99), scored("d", math.nan), scored("e", 0.3)]
    assert worst_cases(scores, 3) == ["c", "b", "e"]
    assert worst_cases([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(1, 6))
def test_no_case_left_out_is_worse_than_a_worst_case(dice: list[float], count: int) -> None:
    scores = {str(number): scored(str(number), value) for number, value in enumerate(dice)}
    worst = worst_cases(list(scores.values()), count)
    rest = [score.values["dice"] for case_id, score in scores.items() if case_id not in worst]
    assert max(scores[case_id].values["dice"] for case_id in worst) <= min(rest, default=1)


def test_typical_cases_stand_at_fixed_places_best_first() -> None:
    scores = [scored(str(number), number / 100) for number in range(101)]
    assert typical_cases(scores) == ["95", "80", "60", "45"]
    assert typical_cases(scores[:1]) == ["0"]
    assert typical_cases([scored("a", 1.0, load_vox=0)]) == []


def test_groups_of_load_include_their_upper_end() -> None:
    loads_ml = {"a": 0.5, "b": 1.0, "c": 1.1, "d": 20.0, "e": 21.0, "f": 0.0}
    scores = [scored(case_id, 0.1 * number) for number, case_id in enumerate([*loads_ml, "not known"])]
    groups = group_by_load(scores, loads_ml, find_metrics(["dice"])[0])
    assert [(group.label, group.cases) for group in groups] == [
        ("no lesion", 1), ("up to 1 mL", 2), ("1 to 5 mL", 1), ("5 to 20 mL", 1), ("above 20 mL", 1),
    ]  # fmt: skip
    assert groups[1].means["ensemble-pp"] == pytest.approx(0.05)


def test_a_method_without_a_defined_value_has_no_mean() -> None:
    groups = group_by_load([scored("a", math.nan)], {"a": 1.0}, find_metrics(["dice"])[0])
    assert math.isnan(groups[0].means["ensemble-pp"])


def test_dice_by_load_is_drawn(tmp_path: Path) -> None:
    draw_by_load([scored("a", 0.5), scored("b", 0.7)], {"a": 0.5, "b": 40.0}, "ensemble-pp", tmp_path / "loads.png")
    assert imread(tmp_path / "loads.png").std() > 0
    draw_by_load([scored("a", 0.5)], {}, "ensemble-pp", tmp_path / "none.png")
    assert (tmp_path / "none.png").is_file()


@given(st.lists(st.floats(0.01, 400), min_size=1, max_size=40))
def test_bars_of_ranges_of_loads_never_overlap(loads: list[float]) -> None:
    edges = (0.0, 1.0, 5.0, 20.0, math.inf)
    bars = [
        bar_ends(inside, (lower, upper), 1.1)
        for lower, upper in pairwise(edges)
        if (inside := [load for load in loads if lower < load <= upper])
    ]
    assert all(start < end for start, end in bars)
    assert all(end < start for (_, end), (start, _) in pairwise(bars))


def test_names_are_the_papers_and_loads_are_said_shortly() -> None:
    assert [method_label(name) for name in ("dice-topk10", "my-scheme")] == ["DTK10", "my-scheme"]
    assert [load_words(load) for load in (0.013, 0.0949, 0.18, 0.96, 5.23, 9.6, 131.4)] == [
        "0.013 mL", "0.095 mL", "0.18 mL", "1.0 mL", "5.2 mL", "10 mL", "131 mL",
    ]  # fmt: skip
    assert short_id("sub-r001s001_ses-1") == "sub-r001s001_ses-1"
    assert len(short_id("sub-verylongsubjectname_ses-baseline_run-1")) == 26
