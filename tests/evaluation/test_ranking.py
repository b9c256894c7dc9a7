"""The ATLAS-MICCAI score: worked examples, laws, refusals."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapping_stroke.errors import ScoreError
from mapping_stroke.evaluation.ranking import rank

Results = dict[str, dict[str, dict[str, float]]]


def both_boards(teams: Mapping[str, Mapping[str, float]]) -> Results:
    return {board: {team: dict(values) for team, values in teams.items()} for board in ("public", "hidden")}


def test_ranks_are_averaged_over_metrics_and_the_hidden_board_counts_four_times() -> None:
    scores = {
        "public": {"a": {"dice": 0.6, "hd95_mm": 20.0}, "b": {"dice": 0.5, "hd95_mm": 10.0}},
        "hidden": {"a": {"dice": 0.6, "hd95_mm": 10.0}, "b": {"dice": 0.5, "hd95_mm": 20.0}},
    }
    expected = pd.DataFrame(
        {"public": [1.5, 1.5], "hidden": [1.0, 2.0], "score": [1.1, 1.9]}, index=pd.Index(["a", "b"], name="team")
    )
    pd.testing.assert_frame_equal(rank(scores), expected)


def test_each_metric_has_its_direction() -> None:
    metrics = {"dice": 1, "lesion_f1": 1, "volume_difference_vox": -1, "simple_lesion_count": -1, "hd95_mm": -1}
    for metric, sign in metrics.items():
        table = rank(both_boards({"better": {metric: 5.0 + sign}, "worse": {metric: 5.0 - sign}}))
        assert table["score"].to_dict() == {"better": 1.0, "worse": 2.0}


def test_ties_share_the_mean_rank() -> None:
    table = rank(both_boards({"a": {"dice": 0.7}, "b": {"dice": 0.7}, "c": {"dice": 0.5}, "d": {"dice": 0.9}}))
    assert table["public"].to_dict() == {"d": 1.0, "a": 2.5, "b": 2.5, "c": 4.0}
    assert list(table.index) == ["d", "a", "b", "c"]


def test_a_team_by_itself_is_first() -> None:
    assert rank(both_boards({"a": {"dice": 1}}))["score"].tolist() == [1.0]


values = st.floats(0, 1, allow_nan=False)
team_tables = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3),
    st.fixed_dictionaries({"dice": values, "lesion_f1": values, "hd95_mm": values}),
    min_size=1,
    max_size=6,
)


@given(team_tables, st.randoms(use_true_random=False))
def test_the_order_of_teams_and_metrics_changes_nothing(teams: dict[str, dict[str, float]], random: Any) -> None:
    shuffled = list(teams.items())
    random.shuffle(shuffled)
    turned = {team: dict(reversed(metrics.items())) for team, metrics in shuffled}
    boards = dict(reversed(both_boards(turned).items()))
    pd.testing.assert_frame_equal(rank(boards), rank(both_boards(teams)))


@given(team_tables)
def test_the_ranks_of_a_leaderboard_always_sum_to_the_same(teams: dict[str, dict[str, float]]) -> None:
    table = rank(both_boards(teams))
    for column in table:
        assert table[column].sum() == pytest.approx(len(teams) * (len(teams) + 1) / 2)
    assert table["score"].is_monotonic_increasing


TWO = {"a": {"dice": 0.5, "hd95_mm": 3.0}, "b": {"dice": 0.6, "hd95_mm": 2.0}}


def without(board: str, team: str, metric: str | None = None) -> Results:
    scores = both_boards(TWO)
    if metric is None:
        del scores[board][team]
    else:
        del scores[board][team][metric]
    return scores


def changed(board: str, team: str, metric: str, value: float) -> Results:
    scores = both_boards(TWO)
    scores[board][team][metric] = value
    return scores


@pytest.mark.parametrize(
    ("scores", "told"),
    [
        (without("hidden", "b", "hd95_mm"), "team 'b' lacks the metric 'hd95_mm' on the hidden leaderboard"),
        (without("public", "a", "dice"), "team 'a' lacks the metric 'dice' on the public leaderboard"),
        (without("public", "b"), "team 'b' has no scores on the public leaderboard"),
        (changed("hidden", "a", "dice", math.nan), "team 'a' has nan for the metric 'dice' on the hidden leaderboard"),
        (changed("hidden", "a", "dice", math.inf), "team 'a' has inf"),
        (changed("hidden", "a", "beauty", 1.0), "unknown metric 'beauty'; expected dice, volume_difference_vox"),
        ({"public": TWO}, "no scores on the hidden leaderboard"),
        ({"public": TWO, "hidden": {}}, "no scores on the hidden leaderboard"),
        ({}, "no scores on the public leaderboard"),
        ({**both_boards(TWO), "secret": TWO}, "unknown leaderboard 'secret'; expected public and hidden"),
        (both_boards({"a": {}}), "no metric is given for any team"),
    ],
)
def test_incomplete_results_are_refused(scores: Results, told: str) -> None:
    with pytest.raises(ScoreError, match=told):
        rank(scores)
