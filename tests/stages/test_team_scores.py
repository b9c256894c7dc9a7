"""Results of teams from JSON, CSV and summaries."""

import json
from pathlib import Path

import pytest

from mapping_stroke.errors import ScoreError
from mapping_stroke.stages.evaluate import read_team_scores

TREE = {"public": {"a": {"dice": 0.5}}, "hidden": {"a": {"dice": 0.4}}}
SUMMARY = "method,fold,metric,mean,std,cases,undefined\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tree.json").write_text(json.dumps(TREE))
    (tmp_path / "rows.csv").write_text("leaderboard,team,dice,hd95_mm\npublic,b,0.6,20\nhidden,b,0.3,\n")
    rows = "masks,all,dice,0.7,0.1,9,0\nmasks,all,hd95_mm,,,9,9\nmasks,0,dice,0.1,0.1,9,0\n"
    (tmp_path / "summary.csv").write_text(SUMMARY + rows)
    return tmp_path


def test_the_three_forms_may_be_mixed(folder: Path) -> None:
    sources = [f"{folder}/tree.json", f"{folder}/rows.csv", f"public/c={folder}/summary.csv"]
    assert read_team_scores(sources) == {
        "public": {"a": {"dice": 0.5}, "b": {"dice": 0.6, "hd95_mm": 20.0}, "c": {"dice": 0.7}},
        "hidden": {"a": {"dice": 0.4}, "b": {"dice": 0.3}},
    }


def test_a_folder_stands_for_its_summary(folder: Path) -> None:
    assert read_team_scores([f"public/c={folder}"]) == {"public": {"c": {"dice": 0.7}}}
    (folder / "none").mkdir()
    with pytest.raises(ScoreError, match=r"none: cannot be read \(.*summary\.csv"):
        read_team_scores([f"public/c={folder}/none"])


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("bad.json", "[1, 2]", "expected an object {leaderboard: {team: {metric: value}}}"),
        ("bad.json", '{"public": {"a": 0.5}}', "expected an object"),
        ("bad.json", '{"public": ', "bad.json: cannot be read"),
        ("bad.json", '{"public": {"a": {"dice": null}}}', "team 'a', public leaderboard: the metric 'dice' is None"),
        ("bad.csv", "leaderboard,team,dice\npublic,a,high\n", "the metric 'dice' is 'high', expected a number"),
        ("bad.csv", "team,dice\na,1\n", "has no column leaderboard; expected leaderboard,team,METRIC"),
        ("bad.csv", "", "has no column leaderboard or team"),
        (
            "bad.csv",
            "leaderboard,team,dice\npublic,a,1\npublic,a,2\n",
            "team 'a' occurs twice on the public leaderboard",
        ),
    ],
)
def test_a_file_of_another_form_is_refused(name: str, text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ScoreError) as error:
        read_team_scores([str(tmp_path / name)])
    assert told in str(error.value)


def test_a_summary_gives_the_four_metrics_of_the_challenge(tmp_path: Path) -> None:
    means = {"dice": 0.5, "volume_difference_vox": 9.0, "simple_lesion_count": 2.0, "lesion_f1": 0.4, "hd95_mm": 8.0}
    rows = "".join(f"masks,all,{metric},{mean},0.1,9,0\n" for metric, mean in means.items())
    (tmp_path / "summary.csv").write_text(SUMMARY + rows)
    found = read_team_scores([f"public/a={tmp_path}"])["public"]["a"]
    assert list(found) == ["dice", "volume_difference_vox", "simple_lesion_count", "lesion_f1"]


def test_a_metric_of_another_profile_stays_to_be_refused(tmp_path: Path) -> None:
    (tmp_path / "summary.csv").write_text(SUMMARY + "masks,all,dice,0.5,0.1,9,0\nmasks,all,pr_auc,0.5,0.1,9,0\n")
    assert "pr_auc" in read_team_scores([f"public/a={tmp_path}"])["public"]["a"]


def test_a_summary_of_several_methods_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "summary.csv"
    path.write_text(SUMMARY + "default,all,dice,0.7,0.1,9,0\nensemble,all,dice,0.8,0.1,9,0\n")
    told = (
        r"expected the summary of one method .* found default, ensemble; score one of its folders of masks, such as "
        r"RUN/postprocess/ensemble-pp, by `mapping evaluate MASKS --references REFERENCES -o FOLDER`"
    )
    with pytest.raises(ScoreError, match=told):
        read_team_scores([f"public/a={path}"])
    path.write_text(SUMMARY)
    with pytest.raises(ScoreError, match="found none; run `mapping evaluate` again"):
        read_team_scores([f"public/a={path}"])


def test_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ScoreError, match="name a JSON or CSV file"):
        read_team_scores([])
    with pytest.raises(ScoreError, match="cannot be read"):
        read_team_scores([str(tmp_path / "none.csv")])
