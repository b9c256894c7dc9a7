import numpy as np
import pytest

from mapping_stroke.evaluation.cohorts import (
    BESIDE,
    DISJOINT_GROUPS,
    HEALTHY,
    LOAD_GROUPS,
    WITHOUT,
    CohortScores,
    Marked,
    MarkedScan,
    ScoredCase,
    count_false_positives,
    find_false,
)


def judged_case(number: int, load_ml: float, **dice: float) -> ScoredCase:
    scores = {method: {"dice": value, "hd95_mm": float("nan")} for method, value in dice.items()}
    return ScoredCase(f"c{number}", int(1000 * load_ml), load_ml, scores, {method: Marked(0.0, 0) for method in dice})


SCORES = CohortScores(
    (judged_case(0, 0.5, a=0.2, b=0.4), judged_case(1, 1.0, a=0.6, b=0.6), judged_case(2, 150.0, a=0.9, b=0.8)),
    ("a", "b"),
)


def test_every_load_lies_in_one_of_the_disjoint_groups() -> None:
    loads_ml = np.array([0.0, 0.001, 0.1, 0.99, 1.0, 4.99, 5.0, 20.0, 99.0, 100.0, 400.0])
    held = np.array([group.holds(loads_ml) for group in DISJOINT_GROUPS])
    assert held.sum(0).tolist() == [1] * len(loads_ml)
    assert held.argmax(0).tolist() == [0, 1, 2, 2, 3, 3, 4, 5, 5, 6, 6]
    others = [group.label for group in LOAD_GROUPS if group not in DISJOINT_GROUPS]
    assert others == ["all", "with a lesion", "1 mL and more", "below 1 mL"]
    assert LOAD_GROUPS[3].holds(loads_ml).tolist() == [False, True, True, True, *[False] * 7]


def test_means_are_those_of_the_cases_of_a_group() -> None:
    found = {group.label: SCORES.estimate("a", "dice", group).mean for group in LOAD_GROUPS}
    assert found["all"] == pytest.approx(1.7 / 3)
    assert found["below 1 mL"] == 0.2
    assert found["1 mL and more"] == pytest.approx(0.75)
    assert SCORES.estimate("a", "hd95_mm").undefined == 3


def test_methods_are_compared_case_by_case() -> None:
    assert SCORES.best(["a", "b"]) == "b"
    difference = SCORES.difference("b", "a", "dice")
    assert difference.mean == pytest.approx(0.1 / 3)
    assert difference.cases == 3


def test_what_is_marked_in_healthy_scans_is_counted() -> None:
    volumes_mm3 = (0.0, 400.0, 3500.0)
    scans = [MarkedScan(f"h{i}", HEALTHY, {"a": Marked(volume, 2)}) for i, volume in enumerate(volumes_mm3)]
    found = count_false_positives(scans, "a")
    assert (found.scans, found.empty, found.median_ml, found.largest_ml, found.mean_lesions) == (3, 1, 0.4, 3.5, 2.0)
    assert found.over == {0.3: 2, 1.0: 1, 3.0: 1}


def test_only_what_lies_outside_the_lesions_is_marked_falsely() -> None:
    reference, mask = (np.zeros((9, 3, 3), np.bool_) for _ in range(2))
    reference[1:3], mask[2:4], mask[6], mask[8, 0, 0] = True, True, True, True
    assert find_false(mask, reference, 2.0) == Marked(2.0 * (9 + 9 + 1), 2)
    assert find_false(mask, np.zeros_like(mask), 1.0) == Marked(28.0, 3)
    assert find_false(np.zeros_like(mask), reference, 1.0) == Marked(0.0, 0)


def test_cases_without_lesion_are_told_apart() -> None:
    scores = CohortScores((judged_case(0, 0.0, a=1.0), judged_case(1, 0.001, a=0.0)), ("a",))
    assert [(scan.name, scan.group) for scan in scores.marked] == [("c0", WITHOUT), ("c1", BESIDE)]
