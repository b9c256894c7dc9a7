import pytest

from judgements import judgement
from mapping_stroke.errors import ConfigError
from mapping_stroke.report.model_pages import evaluation_blocks, evaluation_values, fill_card


def test_places_are_filled_and_an_unknown_one_is_named() -> None:
    assert fill_card("{{ a }} {{b}}, {{ a }} {c}", {"a": "x", "b": "{{ a }}"}, "text") == "x {{ a }}, x {c}"
    with pytest.raises(ConfigError, match=r"text: has the unknown placeholder \{\{ d \}\}; expected some of a, b"):
        fill_card("{{ d }}", {"a": "", "b": ""}, "text")


def test_the_blocks_hold_the_values_of_the_evaluation() -> None:
    blocks = evaluation_blocks(evaluation_values(judgement()), "worst.jpg")
    assert "| below 1 mL | 2 | 0.650 | 10 |" in blocks["loads"]
    assert "| 20 to 100 mL | 1 | 0.800 | 10 |" in blocks["loads"]
    assert "Load: 1 mL and more (n = 1)\n\n| Method |" in blocks["methods"]
    assert "| b, fold 0 | 0.450 |" in blocks["methods"]
    assert blocks["gain"].endswith("(b, fold 0), paired by case: +0.100.")
    assert "| healthy scans | 3 | 2.00 | 4.00 | 2 | 2 | 1 | 1 | 1.0 |" in blocks["false_positives"]
    assert "![Where the model fails](worst.jpg)" in blocks["failures"]
    assert "\n4. Most marked where there is no lesion: h2 (healthy scans), 4.0 mL marked." in blocks["failures"]


def test_without_a_lesion_or_anything_marked_there_are_no_failures() -> None:
    found = judgement(healthy=False, loads_ml=(0.0,))
    assert evaluation_blocks(evaluation_values(found), "")["failures"].startswith("None: no case has a lesion")
