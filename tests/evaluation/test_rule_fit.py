"""Searching rules by their mean gain, on made-up scores and on maps."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from mapping_stroke.evaluation.profiles import ATLAS2022
from mapping_stroke.evaluation.rule_fit import (
    FALSE_VOLUME,
    SPACE,
    FitCases,
    Row,
    as_applied,
    count_searches,
    deal_parts,
    fit_rule,
    mean_gains,
    mean_row,
    search_rule,
    start_rule,
    variants,
)
from mapping_stroke.images.image import Probability
from mapping_stroke.rules import RULES, PostprocessConfig, Thresholds, apply_rule

START = start_rule(RULES["mapping"])
PEOPLE = {f"c{number}": f"person {number // 2}" for number in range(12)} | {"healthy/h": "h"}

maps = arrays(
    np.float32,
    array_shapes(min_dims=3, max_dims=3, max_side=5),
    elements=st.sampled_from([0.0, 0.2, 0.35, 0.45, 0.5, 0.55, 0.65, 0.75, 0.95]).map(np.float32),
)
rules = st.sampled_from([rule for setting in SPACE for rule in variants(START, setting)])


def prefers(wanted: PostprocessConfig, name: str, tried: Sequence[PostprocessConfig]) -> list[Row]:
    """Scores that grow with every setting that is as wanted."""
    rows: list[Row] = []
    for rule in tried:
        good = sum(getattr(rule, setting) == getattr(wanted, setting) for setting in SPACE)
        if name.startswith("healthy"):
            rows.append({FALSE_VOLUME: 100.0 - good})
        else:
            rows.append({m.key: float(good if m.higher_is_better else 10 - good) for m in ATLAS2022.metrics})
    return rows


def test_the_wanted_rule_is_found_one_setting_after_another() -> None:
    wanted = replace(START, small=Thresholds(0.5, 0.4), smallest_mm3=30.0, least_peak=0.8)
    judged = FitCases(PEOPLE, lambda name, tried: prefers(wanted, name, tried))
    fit = fit_rule(judged, START)
    assert fit.rule == wanted
    assert fit.held_out.keys() == PEOPLE.keys()
    assert fit.held_out["c0"] == prefers(wanted, "c0", [wanted])[0]
    assert fit.tried < 300


def test_a_fitted_rule_treats_every_load_alike() -> None:
    line = np.array([[[0.9, 0.6, 0.9, 0, 0.6, 0, 0.9]]], np.float32)
    rule = start_rule(replace(RULES["mapping"], small_load=1.0))
    assert rule.has_one_load
    assert not RULES["mapping"].has_one_load
    # a region with two cores stays whole, and one without any goes, in a spoonful of lesions as in half a litre
    for voxel_mm3 in (1.0, 1e5):
        assert apply_rule(line, rule, voxel_mm3).ravel().tolist() == [True, True, True, False, False, False, True]


def test_of_equally_good_rules_the_first_stays() -> None:
    judged = FitCases(PEOPLE, lambda name, tried: [{"dice": 0.5} for _ in tried])
    assert search_rule(judged, START, list(PEOPLE))[0] == START


def test_no_case_is_scored_by_a_rule_that_was_fitted_on_its_person() -> None:
    seen: list[set[str]] = [set()]

    def score(name: str, tried: Sequence[PostprocessConfig]) -> list[Row]:
        if len(tried) > 1:
            seen[-1].add(PEOPLE[name])
        else:
            assert PEOPLE[name] not in seen[-1]
        return [{"dice": 0.5} for _ in tried]

    fit_rule(FitCases(PEOPLE, score), START, lambda done, _: seen.append(set()) if done == int(done) else None)
    assert max(map(len, seen)) == len(set(PEOPLE.values()))


def test_a_person_s_scans_lie_in_one_part() -> None:
    parts = deal_parts(PEOPLE)
    assert sorted(name for part in parts for name in part) == sorted(PEOPLE)
    assert len(parts) == 5
    assert count_searches(PEOPLE) == 6
    for part in parts:
        assert not {PEOPLE[name] for name in part} & {PEOPLE[name] for name in PEOPLE if name not in part}
    assert deal_parts({"a": "a", "b": "b"}) == [["a"], ["b"]]


def test_gains_are_differences_in_standard_deviations_averaged_over_the_columns() -> None:
    rules: list[list[Row]] = [
        [{"dice": 0.4, "hd95_mm": 20.0}, {"dice": 0.6, "hd95_mm": 20.0}, {FALSE_VOLUME: 5.0}],
        [{"dice": 0.6, "hd95_mm": 20.0}, {"dice": 0.8, "hd95_mm": 20.0}, {FALSE_VOLUME: 1.0}],
    ]
    spreads = np.std([0.4, 0.6, 0.6, 0.8]), 2.0
    np.testing.assert_allclose(mean_gains(rules), [0, (0.2 / spreads[0] + 0 + 4 / spreads[1]) / 3])


def test_means_leave_out_what_is_undefined() -> None:
    assert mean_row([{"a": 1.0, "b": float("nan")}, {"a": float("nan"), "b": float("nan")}, {"c": 2.0}]) == {
        "a": 1.0,
        "c": 2.0,
    }


@given(maps, rules, st.sampled_from([1.0, 27.0, 200.0, 1500.0]))
def test_what_of_a_rule_is_applied_gives_the_same_mask(
    probability: Probability, rule: PostprocessConfig, voxel_mm3: float
) -> None:
    load_vox = int((probability > np.float32(0.5)).sum())
    applied = as_applied(rule, float(probability.max(initial=0)), load_vox, voxel_mm3)
    expected = apply_rule(probability, rule, voxel_mm3)
    if applied is None:
        assert not expected.any()
    else:
        np.testing.assert_array_equal(apply_rule(probability, applied, voxel_mm3), expected)


def test_variants_are_the_rule_and_every_other_value() -> None:
    tried = list(variants(START, "smallest_mm3"))
    assert tried[0] == START
    assert [rule.smallest_mm3 for rule in tried] == list(SPACE["smallest_mm3"])
    assert sum(len(values) for values in SPACE.values()) < 100


def test_the_reference_lists_the_values_that_are_tried() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "reference" / "postprocessing.md"
    rows = re.findall(r"^\| `(\w+)`[^|]*\| (.*) \|$", page.read_text(encoding="utf-8"), re.MULTILINE)
    table = {setting: told for setting, told in rows if setting in SPACE}
    assert table.keys() == SPACE.keys()
    for setting, values in SPACE.items():
        numbers = [float(number) for number in re.findall(r"[0-9.]+", table[setting])]
        if setting in ("small", "large"):
            assert numbers == [*dict.fromkeys(each.core for each in values), 0.1, 0.2, 0.3, 0.4, 0.5]
            assert {each.edge for each in values} == {0.1, 0.2, 0.3, 0.4, 0.5}
        else:
            assert numbers[: len(values)] == list(map(float, values))  # then the unit's 3, of mm3
