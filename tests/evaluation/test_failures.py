import pytest

from mapping_stroke.evaluation.cohorts import (
    HEADS,
    HEALTHY,
    CohortScores,
    Marked,
    MarkedScan,
    ScoredCase,
    choose_failures,
)


def case(name: str, load_ml: float, dice: float, false_ml: float = 0.0) -> ScoredCase:
    marked = {"a": Marked(1000 * false_ml, 1)}
    return ScoredCase(name, int(1000 * load_ml), load_ml, {"a": {"dice": dice}}, marked)


def chosen(*cases: ScoredCase, healthy: tuple[MarkedScan, ...] = ()) -> list[tuple[str, str]]:
    return [(found.title, found.name) for found in choose_failures(CohortScores(cases, ("a",)), healthy, "a")]


def scan(name: str, group: str, false_ml: float) -> MarkedScan:
    return MarkedScan(name, group, {"a": Marked(1000 * false_ml, 1)})


def test_the_worst_of_each_kind_come_in_order_and_once() -> None:
    cases = [case(f"l{i}", 10.0, 0.5 + i / 10, false_ml=9.0 - i) for i in range(5)]
    cases += [case("s0", 0.2, 0.0), case("s1", 0.9, 0.0), case("s2", 0.5, 0.7), case("s3", 0.5, 0.8)]
    assert chosen(*cases) == [
        *(("Lowest Dice, 1 mL and more", name) for name in ("l0", "l1", "l2")),
        *(("Lowest Dice, below 1 mL", name) for name in ("s1", "s0")),
        *(("Most marked outside the lesions", name) for name in ("l3", "l4")),
    ]


def test_scans_without_lesion_show_what_is_marked_and_whole_heads_are_never_shown() -> None:
    healthy = (scan("c0", HEALTHY, 2.0), scan("h1", HEALTHY, 0.0), scan("h2", HEADS, 50.0))
    found = chosen(case("c0", 0.0, 0.0, false_ml=1.0), case("c1", 0.0, 1.0), healthy=healthy)
    assert found == [("Most marked where there is no lesion", "c0")] * 2


@pytest.mark.parametrize(("hit_ml", "missed_ml", "false_ml"), [(3.0, 1.0, 2.0), (0.0, 4.0, 2.0), (4.0, 0.0, 0.0)])
def test_what_is_missed_follows_from_dice_and_load(hit_ml: float, missed_ml: float, false_ml: float) -> None:
    dice = 2 * hit_ml / (2 * hit_ml + missed_ml + false_ml)
    (found,) = choose_failures(CohortScores((case("x", 4.0, dice, false_ml),), ("a",)), (), "a")
    assert (found.missed_ml, found.false_ml) == (pytest.approx(missed_ml), false_ml)
