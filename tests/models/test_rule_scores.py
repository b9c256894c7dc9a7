from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mapping_stroke.errors import FileError
from mapping_stroke.evaluation.rule_fit import FALSE_VOLUME, MARKED
from mapping_stroke.evaluation.score import score
from mapping_stroke.models import judge as module
from mapping_stroke.models.judge import NOTHING_MARKED_MM, RuleScores, StoredMap
from mapping_stroke.rules import RULES, apply_rule

SPACING_MM = (2.0, 1.0, 1.0)


def a_map() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    probability = rng.uniform(0, 0.04, (9, 8, 7)).astype(np.float32)
    probability[2:5, 2:5, 2:5] = rng.choice(np.float32([0.3, 0.5, 0.501, 0.72, 1.0]), (3, 3, 3))
    reference = np.zeros(probability.shape, bool)
    reference[3:6, 3:6, 1:3] = True
    return probability, reference


def write(path: Path, *, healthy: bool = False) -> StoredMap:
    probability, reference = a_map()
    stored = StoredMap(probability, None if healthy else reference, SPACING_MM, 2.0)
    stored.write(path)
    return stored


def test_a_map_comes_back_cut_to_where_it_says_anything(tmp_path: Path) -> None:
    stored, again = write(tmp_path / "a.npz"), StoredMap.read(tmp_path / "a.npz")
    assert again.probability.shape == (4, 4, 4)
    np.testing.assert_allclose(again.probability, stored.probability[2:6, 2:6, 1:5], atol=1e-5)
    np.testing.assert_array_equal(again.probability > 0.5, stored.probability[2:6, 2:6, 1:5] > 0.5)
    assert again.reference is not None
    assert again.reference.sum() == 18
    assert (again.spacing_mm, again.voxel_volume_mm3) == (SPACING_MM, 2.0)
    write(tmp_path / "h.npz", healthy=True)
    assert StoredMap.read(tmp_path / "h.npz").reference is None


def test_an_empty_map_is_kept_too(tmp_path: Path) -> None:
    empty = np.zeros((3, 3, 3), np.float32)
    StoredMap(empty, empty > 0, SPACING_MM, 2.0).write(tmp_path / "a.npz")
    (row,) = RuleScores({"a": tmp_path / "a.npz"}).score("a", [RULES["challenge"]])
    assert row["dice"] == 1.0
    assert np.isnan(row["hd95_mm"])


def test_rules_score_as_they_do_on_the_whole_map(tmp_path: Path) -> None:
    stored = write(tmp_path / "a.npz")
    rules = [*RULES.values(), replace(RULES["mapping"], small_load=1.0), replace(RULES["none"], smallest_mm3=30.0)]
    found = RuleScores({"a": tmp_path / "a.npz"}).score("a", rules)
    for row, rule in zip(found, rules, strict=True):
        mask = apply_rule(stored.probability, rule, stored.voxel_volume_mm3)
        assert row == pytest.approx(score(mask, stored.reference, SPACING_MM))


def test_a_low_maximum_is_marked_as_widely_as_on_the_whole_map(tmp_path: Path) -> None:
    probability, reference = np.full((9, 8, 7), 0.03, np.float32), a_map()[1]
    probability[4, 4, 4] = 0.12
    probability[:3] = 0.01
    StoredMap(probability, reference, SPACING_MM, 2.0).write(tmp_path / "a.npz")
    (row,) = RuleScores({"a": tmp_path / "a.npz"}).score("a", [RULES["challenge"]])
    mask = apply_rule(probability, RULES["challenge"], 2.0)
    assert mask.sum() == 6 * 8 * 7
    assert row == pytest.approx(score(mask, reference, SPACING_MM))


def test_a_case_in_which_nothing_is_marked_has_a_long_distance(tmp_path: Path) -> None:
    write(tmp_path / "a.npz")
    (row,) = RuleScores({"a": tmp_path / "a.npz"}).score("a", [replace(RULES["none"], smallest_mm3=1e6)])
    assert (row["dice"], row["hd95_mm"]) == (0.0, NOTHING_MARKED_MM)


def test_of_a_healthy_scan_the_false_volume_is_measured(tmp_path: Path) -> None:
    stored = write(tmp_path / "h.npz", healthy=True)
    rows = RuleScores({"h": tmp_path / "h.npz"}).score("h", [RULES["none"], replace(RULES["none"], smallest_mm3=1e6)])
    false_mm3 = 2.0 * (stored.probability > 0.5).sum()
    assert rows == [{FALSE_VOLUME: false_mm3, MARKED: 1.0}, {FALSE_VOLUME: 0.0, MARKED: 0.0}]


def test_of_a_labelled_case_without_lesion_it_counts_whether_anything_is_marked(tmp_path: Path) -> None:
    probability = a_map()[0]
    StoredMap(probability, np.zeros(probability.shape, bool), SPACING_MM, 2.0).write(tmp_path / "a.npz")
    write(tmp_path / "b.npz")
    scores, rules = RuleScores({name: tmp_path / f"{name}.npz" for name in "ab"}), [RULES["none"]]
    assert scores.score("a", [*rules, replace(RULES["none"], smallest_mm3=1e6)])[0][MARKED] == 1.0
    assert scores.score("a", [replace(RULES["none"], smallest_mm3=1e6)])[0][MARKED] == 0.0
    assert MARKED not in scores.score("b", rules)[0]


def test_a_mask_is_scored_once_however_many_rules_make_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.npz")
    calls = []
    monkeypatch.setattr(module, "score", lambda *given: calls.append(given) or score(*given))
    scores = RuleScores({"a": tmp_path / "a.npz"})
    scores.score("a", [replace(RULES["none"], smallest_mm3=level) for level in (0.0, 0.1, 0.2)])
    (tmp_path / "a.npz").unlink()
    scores.score("a", [replace(RULES["none"], smallest_mm3=0.1, least_peak=0.3)])
    assert len(calls) == 1


def test_a_damaged_map_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"no map")
    with pytest.raises(FileError, match=r"a.npz: is damaged .* delete it"):
        RuleScores({"a": tmp_path / "a.npz"}).score("a", [RULES["none"]])
