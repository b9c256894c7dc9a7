"""The page of an evaluated model and the table of rules, on made-up scores."""

import json
from pathlib import Path

import numpy as np
import pytest

from judgements import judgement, values
from mapping_stroke.evaluation.rule_fit import FALSE_VOLUME, Row
from mapping_stroke.report.curves import draw_evaluation
from mapping_stroke.report.model_pages import evaluation_page, evaluation_values
from mapping_stroke.report.tables import RuleRow, RuleTable, rule_page, rule_text, rule_values


def test_the_page_compares_the_ensemble_with_its_best_member_and_groups_by_load() -> None:
    page = evaluation_page(judgement(), "failures.jpg")
    assert "best member (b, fold 0)" in page
    assert "Dice at P > 0.5 less that of its best member (b, fold 0), paired by case: +0.100" in page
    assert "| 0.1 to 1 mL | 2 | 0.450 | 0.550 | 0.650 |" in page
    assert "| 20 to 100 mL | 1 | 0.600 | 0.700 | 0.800 |" in page
    assert "5 to 20 mL" not in page
    assert "### Load: below 1 mL (n = 2)" in page
    assert "| a, fold 0 | 0.250 |" in page
    assert "### Healthy scans (n = 3)" in page
    assert "| ensemble, rule mapping | 2.00 | 4.00 | 2 | 2 | 1 | 1 | 1.0 |" in page
    assert "### Labelled cases, outside their lesions (n = 3)" in page
    assert "Most marked, ensemble, rule mapping: h2 (4.00 mL)" in page
    assert "![Failures](failures.jpg)" in page
    assert "\n1. Lowest Dice, 1 mL and more: c2, 30 mL of lesions; Dice 0.80, " in page


def test_five_cases_have_an_interval() -> None:
    page = evaluation_page(judgement(loads_ml=(0.5,) * 5), "")
    assert "| 0.1 to 1 mL | 5 | 0.600 [0.480, 0.720] | 0.700 [0.580, 0.820] | 0.800 [0.680, 0.920] |" in page


def test_the_values_are_plain_json() -> None:
    found = json.loads(json.dumps(evaluation_values(judgement()), allow_nan=False))
    assert found["scores"]["b_fold_0"]["dice"]["below 1 mL"]["cases"] == 2
    assert found["scores"]["b_fold_0"]["dice"]["20 to 100 mL"]["low"] is None
    assert found["ensemble_less_best_member"]["dice"]["mean"] == pytest.approx(0.1)
    assert found["false_positives"]["healthy scans"]["ensemble-none"]["over"] == {"0.3": 2, "1.0": 2, "3.0": 1}
    assert [failure["name"] for failure in found["failures"]] == ["c2", "c0", "c1", "h2", "h1"]


@pytest.mark.parametrize("healthy", [True, False])
@pytest.mark.parametrize("loads_ml", [(0.5, 0.8, 30.0), (0.0, 0.0), (3.0,)])
def test_the_picture_is_drawn_whatever_there_is(healthy: bool, loads_ml: tuple[float, ...], tmp_path: Path) -> None:
    draw_evaluation(judgement(healthy=healthy, loads_ml=loads_ml), tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 5000


def rule_table(*, healthy: bool = True) -> RuleTable:
    marked: list[Row] = [{FALSE_VOLUME: 1500.0}, {FALSE_VOLUME: 500.0}] if healthy else []
    rows = {"none": (0.5, 0.6), "mapping, fitted": (0.6, 0.7)}
    return RuleTable(tuple(RuleRow(label, (*map(values, dice), *marked)) for label, dice in rows.items()))


def test_the_table_of_rules_ranks_them_and_tells_what_came_out() -> None:
    table, rules = rule_table(), {"mapping, fitted": "grow; core 0.7"}
    assert (table.cases, table.healthy) == (2, 2)
    gain = 0.1 / np.std([0.5, 0.6, 0.6, 0.7]) / 6  # in Dice alone, of six columns
    assert table.gains(["none", "mapping, fitted"]).tolist() == pytest.approx([0, gain])
    page = rule_page(table, {"model": "small", "stored": True}, rules)
    assert "| none | 0.550 ± 0.071 | 10 ± 0 | 1.00 ± 0.00 | 0.500 ± 0.000 | 5.0 ± 0.0 | 1.00 ± 0.71 | +0.00 |" in page
    assert "Outcome: the model brings the fitted rule.\n\n- mapping, fitted: grow; core 0.7\n" in page
    assert "keeps its own" in rule_page(table, {"model": "small", "stored": False}, rules)
    assert rule_text(table).splitlines()[0] == "Rules on 2 labelled cases and 2 healthy scans, the same maps"
    found = json.loads(json.dumps(rule_values(table, {"stored": True}), allow_nan=False))
    assert found["mean_gain"]["mapping, fitted"] == pytest.approx(gain)


def test_without_healthy_scans_the_table_has_no_column_for_them() -> None:
    assert "Without lesion (mL)" not in rule_text(rule_table(healthy=False))
