"""`mapping rank` from end to end."""

import json
from pathlib import Path

import pytest

from mapping_stroke import cli

TEAMS = {"ours": {"dice": 0.7, "hd95_mm": 20.0}, "theirs": {"dice": 0.6, "hd95_mm": 30.0}}


def test_teams_are_ranked_and_the_table_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "results.json").write_text(json.dumps({"public": TEAMS, "hidden": TEAMS}))
    assert cli.main(["rank", str(tmp_path / "results.json"), "-o", str(tmp_path / "ranking.csv")]) == 0
    assert (tmp_path / "ranking.csv").read_text() == "team,public,hidden,score\nours,1.0,1.0,1.0\ntheirs,2.0,2.0,2.0\n"
    shown = capsys.readouterr().out
    assert shown.index("ours") < shown.index("theirs")
    assert f"Ranking: {tmp_path / 'ranking.csv'}" in shown


def test_a_team_is_shown_as_it_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    teams = {"[lab]": TEAMS["ours"], "[/lab]": TEAMS["theirs"]}
    (tmp_path / "results.json").write_text(json.dumps({"public": teams, "hidden": teams}))
    assert cli.main(["rank", str(tmp_path / "results.json")]) == 0
    shown = capsys.readouterr().out
    assert "[lab]" in shown
    assert "[/lab]" in shown


def test_a_missing_metric_is_one_line_that_names_the_team(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    teams = {**TEAMS, "theirs": {"dice": 0.6}}
    (tmp_path / "results.json").write_text(json.dumps({"public": TEAMS, "hidden": teams}))
    assert cli.main(["rank", str(tmp_path / "results.json")]) == 2
    told = capsys.readouterr().err
    assert told.startswith("mapping: team 'theirs' lacks the metric 'hd95_mm' on the hidden leaderboard")


def test_without_a_file_there_is_nothing_to_rank(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["rank"]) == 2
    assert "no results are given" in capsys.readouterr().err
