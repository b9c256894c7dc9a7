"""The ATLAS-MICCAI score: teams ranked on two leaderboards.

Source: Huo et al. 2022, arXiv:2211.15486, and the rules of the MICCAI 2022 ATLAS R2.0 challenge.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, SupportsFloat

import numpy as np
from jaxtyping import Float64

from mapping_stroke.errors import ScoreError
from mapping_stroke.evaluation.profiles import ATLAS2022

if TYPE_CHECKING:
    import pandas as pd

TeamScores = Mapping[str, Mapping[str, SupportsFloat]]  # team -> metric -> value

WEIGHTS = {"public": 1, "hidden": 4}
"""Weight of each leaderboard in the final score."""
RANKED = tuple(metric.key for metric in ATLAS2022.metrics if metric.ranks_teams)
"""The challenge's metrics: without the 95 % Hausdorff distance, which the paper adds."""


def rank(scores: Mapping[str, TeamScores]) -> "pd.DataFrame":
    """Rank teams by the ATLAS-MICCAI score: (public + 4 x hidden) / 5, each the mean rank over the metrics.

    On each leaderboard the teams are ranked per metric, 1 the best; teams with equal values share the mean of their
    ranks. The profile `atlas2022` says whether high or low values are better.

    Args:
        scores: Leaderboard (`public` and `hidden`) -> team -> metric -> value. The metrics are those of the profile
            `atlas2022`, all or some, the same for every team on both leaderboards.

    Returns:
        One row per team with the columns public, hidden and score, best (lowest score) first, equal scores by name.

    Raises:
        ScoreError: A leaderboard, a team or a metric is missing or unknown, or a value is not a finite number.
    """
    import pandas as pd

    _check_leaderboards(scores)
    teams = _same_teams(scores)
    metrics = _same_metrics(scores)
    table = pd.DataFrame(index=pd.Index(teams, name="team"))
    for board in WEIGHTS:
        values = np.array([[_value(scores, board, team, metric) for metric in metrics] for team in teams])
        table[board] = _mean_ranks(values, metrics)
    table["score"] = sum(weight * table[board] for board, weight in WEIGHTS.items()) / sum(WEIGHTS.values())
    return table.sort_values("score", kind="stable")


def _check_leaderboards(scores: Mapping[str, TeamScores]) -> None:
    unknown = sorted(scores.keys() - WEIGHTS.keys())
    if unknown:
        raise ScoreError(f"unknown leaderboard {', '.join(map(repr, unknown))}; expected {' and '.join(WEIGHTS)}")
    for board in WEIGHTS:
        if not scores.get(board):
            raise ScoreError(f"no scores on the {board} leaderboard; both {' and '.join(WEIGHTS)} are needed")


def _same_teams(scores: Mapping[str, TeamScores]) -> list[str]:
    teams = sorted({team for board in scores.values() for team in board})
    for board in WEIGHTS:
        for team in teams:
            if team not in scores[board]:
                raise ScoreError(
                    f"team {team!r} has no scores on the {board} leaderboard; add them, or leave the team out"
                )
    return teams


def _same_metrics(scores: Mapping[str, TeamScores]) -> list[str]:
    found = {metric for board in scores.values() for values in board.values() for metric in values}
    unknown = sorted(found - set(ATLAS2022.keys))
    if unknown:
        raise ScoreError(f"unknown metric {', '.join(map(repr, unknown))}; expected {', '.join(ATLAS2022.keys)}")
    if not found:
        raise ScoreError(f"no metric is given for any team; expected {', '.join(ATLAS2022.keys)}, all or some")
    return [metric for metric in ATLAS2022.keys if metric in found]


def _value(scores: Mapping[str, TeamScores], board: str, team: str, metric: str) -> float:
    if metric not in scores[board][team]:
        remedy = (
            "add it" if metric in RANKED else f"add it, or leave it out: the challenge ranks by {', '.join(RANKED)}"
        )
        raise ScoreError(
            f"team {team!r} lacks the metric {metric!r} on the {board} leaderboard, which other teams have; {remedy}"
        )
    value = float(scores[board][team][metric])
    if not np.isfinite(value):
        raise ScoreError(
            f"team {team!r} has {value} for the metric {metric!r} on the {board} leaderboard; expected a finite number"
        )
    return value


def _mean_ranks(values: Float64[np.ndarray, "team metric"], metrics: list[str]) -> Float64[np.ndarray, " team"]:
    from scipy.stats import rankdata  # slow to import

    higher_is_better = {metric.key: metric.higher_is_better for metric in ATLAS2022.metrics}
    signs = np.array([-1.0 if higher_is_better[metric] else 1.0 for metric in metrics])
    # the sign makes low values best, as `rankdata` ranks them
    return np.asarray(rankdata(values * signs, method="average", axis=0).mean(axis=1))
