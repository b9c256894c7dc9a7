"""`mapping rank` from end to end."""

import json
from pathlib import Path

import pytest

from mapping_stroke import cli
from mapping_stroke.files import read_csv, write_csv
from mapping_stroke.report.tables import read_paper_tables

BOARDS = ("public", "hidden")
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
    assert told.rstrip().endswith(
        "add it, or leave it out: the challenge ranks by dice, volume_difference_vox, simple_lesion_count, lesion_f1"
    )


SUMMARY = "method,fold,metric,mean,std,cases,undefined\n"


def write_papers(folder: Path) -> dict[str, dict[str, float]]:
    """Table 1 of the paper, each method as a result folder of a team of that name; its means by method and metric."""
    table = read_paper_tables()[0]
    means = {
        row.method: {metric.key: cell.mean for metric, cell in zip(table.metrics, row.cells, strict=True)}
        for row in table.rows
    }
    for method, its in means.items():
        (folder / method).mkdir()
        rows = "".join(f"masks,all,{metric},{mean},0.1,655,0\n" for metric, mean in its.items())
        (folder / method / "summary.csv").write_text(SUMMARY + rows)
    return means


def test_result_folders_are_ranked_by_the_four_metrics_of_the_challenge(tmp_path: Path) -> None:
    """The paper's Table 1: Ensemble + PP is third in Dice and volume difference, first in lesion count and F1."""
    sources = [f"{board}/{method}={tmp_path / method}" for method in write_papers(tmp_path) for board in BOARDS]
    assert cli.main(["rank", *sources, "-o", str(tmp_path / "ranking.csv")]) == 0
    scores = {row["team"]: float(row["score"]) for row in read_csv(tmp_path / "ranking.csv")}
    assert scores["ensemble-pp"] == (3 + 3 + 1 + 1) / 4
    assert scores["self-training"] == (1 + 1 + 5 + 3) / 4
    assert list(scores)[:3] == ["ensemble-pp", "ensemble", "self-training"]


def test_a_table_is_ranked_by_the_columns_that_it_has(tmp_path: Path) -> None:
    """With 95HD, in which Ensemble + PP is first as well, the same means give another score."""
    means = write_papers(tmp_path)
    rows = [{"leaderboard": board, "team": team, **its} for team, its in means.items() for board in BOARDS]
    write_csv(tmp_path / "results.csv", list(rows[0]), rows)
    assert cli.main(["rank", str(tmp_path / "results.csv"), "-o", str(tmp_path / "ranking.csv")]) == 0
    scores = {row["team"]: float(row["score"]) for row in read_csv(tmp_path / "ranking.csv")}
    assert scores["ensemble-pp"] == (3 + 3 + 1 + 1 + 1) / 5


def test_a_folder_beside_a_table_with_95hd_names_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_papers(tmp_path)
    (tmp_path / "results.json").write_text(json.dumps({"public": TEAMS, "hidden": TEAMS}))
    sources = [f"{board}/x={tmp_path / 'default'}" for board in BOARDS]
    assert cli.main(["rank", str(tmp_path / "results.json"), *sources]) == 2
    assert "lacks the metric" in capsys.readouterr().err


def test_without_a_file_there_is_nothing_to_rank(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["rank"]) == 2
    assert "no results are given" in capsys.readouterr().err
