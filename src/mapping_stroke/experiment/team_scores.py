"""Results of challenge teams, read from files for the ranking."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mapping_stroke.errors import ScoreError
from mapping_stroke.evaluation.tables import ALL_FOLDS
from mapping_stroke.files import read_csv, read_json

Scores = dict[str, dict[str, dict[str, float]]]  # leaderboard -> team -> metric -> value

ROW_COLUMNS = ("leaderboard", "team")


def read_team_scores(sources: Sequence[str]) -> Scores:
    """Read and join the results of teams.

    Args:
        sources: Each `FILE.json`, `{leaderboard: {team: {metric: value}}}`; or `FILE.csv`, one row per leaderboard and
            team and a column for each metric; or `LEADERBOARD/TEAM=summary.csv`, a summary of `mapping evaluate`.

    Returns:
        Leaderboard -> team -> metric -> value.

    Raises:
        ScoreError: A file cannot be read, has another form, a value is no number, or a team comes twice.
    """
    if not sources:
        raise ScoreError("no results are given; name a JSON or CSV file of them")
    scores: Scores = {}
    for source in sources:
        for board, team, values in _read_source(source):
            if team in scores.setdefault(board, {}):
                raise ScoreError(f"{source}: team {team!r} comes twice on the {board} leaderboard; remove one of them")
            where = f"{source}: team {team!r}, {board} leaderboard"
            scores[board][team] = {metric: _number(value, metric, where) for metric, value in values.items()}
    return scores


def _read_source(source: str) -> list[tuple[str, str, dict[str, Any]]]:
    place, is_summary, name = source.rpartition("=")
    path = Path(name)
    try:
        if is_summary:
            board, _, team = place.partition("/")
            return [(board, team, _read_summary(path))]
        return _read_rows(path) if path.suffix.lower() == ".csv" else _read_tree(path)
    except (OSError, ValueError) as error:
        raise ScoreError(f"{path}: cannot be read ({error}); expected a JSON or CSV file of results") from error


def _read_tree(path: Path) -> list[tuple[str, str, dict[str, Any]]]:
    tree = read_json(path)
    try:
        return [(board, team, dict(values.items())) for board, teams in tree.items() for team, values in teams.items()]
    except AttributeError as error:
        raise ScoreError(f"{path}: expected an object {{leaderboard: {{team: {{metric: value}}}}}}") from error


def _read_rows(path: Path) -> list[tuple[str, str, dict[str, Any]]]:
    rows = read_csv(path)
    missing = [column for column in ROW_COLUMNS if not rows or column not in rows[0]]
    if missing:
        raise ScoreError(f"{path}: has no column {' or '.join(missing)}; expected leaderboard,team,METRIC,METRIC,...")
    return [
        (row["leaderboard"], row["team"], {key: text for key, text in row.items() if key not in ROW_COLUMNS and text})
        for row in rows
    ]


def _read_summary(path: Path) -> dict[str, Any]:
    rows = [row for row in read_csv(path) if row.get("fold") == ALL_FOLDS]
    methods = sorted({row["method"] for row in rows})
    if len(methods) != 1:
        found = ", ".join(methods) or "none"
        raise ScoreError(f"{path}: expected the summary of one method from `mapping evaluate`, found {found}")
    return {row["metric"]: row["mean"] for row in rows if row["mean"]}


def _number(value: Any, metric: str, where: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise ScoreError(f"{where}: the metric {metric!r} is {value!r}, expected a number") from error
