"""Whose folder is it: claiming, resuming, refusing."""

import json
from pathlib import Path

import pytest

from mapping_stroke.errors import CaseError, RunFolderError
from mapping_stroke.run_folder import (
    RunFolder,
    claim_folder,
    claimed,
    is_run_folder,
    read_identity,
    require_claimable,
    write_record,
)

IDENTITY = {"command": "prepare", "data": "/data/atlas", "sizes": (1, 2)}


def test_a_new_folder_is_made_and_marked(tmp_path: Path) -> None:
    run = tmp_path / "deep" / "run"
    assert not is_run_folder(run)
    claim_folder(run, IDENTITY)
    assert is_run_folder(run)
    assert read_identity(run) == {"format": 1, "command": "prepare", "data": "/data/atlas", "sizes": [1, 2]}


def test_the_same_work_goes_on_where_it_was(tmp_path: Path) -> None:
    claim_folder(tmp_path / "run", IDENTITY)
    (tmp_path / "run" / "result").touch()
    claim_folder(tmp_path / "run", dict(reversed(IDENTITY.items())))
    claim_folder(tmp_path / "run", IDENTITY, overwrite=True)
    assert (tmp_path / "run" / "result").exists()


def test_what_a_run_did_does_not_decide_whose_folder_it_is(tmp_path: Path) -> None:
    claim_folder(tmp_path / "run", IDENTITY)
    write_record(tmp_path / "run", {"status": "running"})
    write_record(tmp_path / "run", {"status": "done"})
    claim_folder(tmp_path / "run", IDENTITY)
    written = json.loads((tmp_path / "run" / "run.json").read_text())
    assert written == {"format": 1, **IDENTITY, "sizes": [1, 2], "record": {"status": "done"}}
    assert "record" not in read_identity(tmp_path / "run")
    with pytest.raises(RunFolderError, match=r"differs in seed\)"):
        claim_folder(tmp_path / "run", IDENTITY | {"seed": 1})


def test_other_work_is_refused_and_says_what_differs(tmp_path: Path) -> None:
    claim_folder(tmp_path / "run", IDENTITY)
    with pytest.raises(RunFolderError, match=r"holds another run \(differs in data, seed\); .* or --overwrite"):
        claim_folder(tmp_path / "run", IDENTITY | {"data": "/data/other", "seed": 1})
    assert read_identity(tmp_path / "run")["data"] == "/data/atlas"


def test_other_work_replaces_the_old_when_asked(tmp_path: Path) -> None:
    claim_folder(tmp_path / "run", IDENTITY)
    (tmp_path / "run" / "train" / "default").mkdir(parents=True)
    for name in ("one_mask.nii.gz", "thesis.tex"):
        (tmp_path / "run" / name).touch()
    claim_folder(tmp_path / "run", IDENTITY | {"seed": 1}, ("train", "*_mask.nii.gz"), overwrite=True)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["run.json", "thesis.tex"]
    assert read_identity(tmp_path / "run")["seed"] == 1


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_work_of_another_command_is_never_replaced(tmp_path: Path, overwrite: bool) -> None:
    claim_folder(tmp_path, IDENTITY)
    with pytest.raises(RunFolderError, match=r"holds the work of another command \(prepare\)"):
        claim_folder(tmp_path, IDENTITY | {"command": "simulate"}, ("*",), overwrite=overwrite)
    assert read_identity(tmp_path)["command"] == "prepare"


def test_a_claim_that_was_cut_short_can_be_made_again(tmp_path: Path) -> None:
    (tmp_path / ".partial-0a1b2c-1-d3e4f5a6-run.json").touch()
    claim_folder(tmp_path, IDENTITY)
    assert is_run_folder(tmp_path)


def test_work_that_fails_altogether_leaves_nothing_in_a_new_folder(tmp_path: Path) -> None:
    def work(folder: Path, seed: int) -> None:
        with claimed(folder, IDENTITY | {"seed": seed}, ("*_mask.nii.gz",), overwrite=True):
            (folder / "one_mask.nii.gz").touch()
            raise CaseError("no")

    (tmp_path / "empty").mkdir()
    claim_folder(tmp_path / "ours", IDENTITY | {"seed": 1})
    for name in ("new", "empty", "ours"):
        with pytest.raises(CaseError):
            work(tmp_path / name, 1)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        "empty",
        "ours",
        "ours/one_mask.nii.gz",
        "ours/run.json",
    ]


def test_results_of_a_process_at_work_are_not_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with claimed(folder, IDENTITY, ("*_mask.nii.gz",)):
        (folder / "one_mask.nii.gz").touch()
        other = claimed(folder, IDENTITY | {"seed": 1}, ("*_mask.nii.gz",), overwrite=True)
        with pytest.raises(RunFolderError, match="another process is working there"), other:
            raise AssertionError
        with claimed(folder, IDENTITY, ("*_mask.nii.gz",)):
            pass
    with claimed(folder, IDENTITY | {"seed": 1}, ("*_mask.nii.gz",), overwrite=True):
        pass
    assert [path.name for path in folder.iterdir()] == ["run.json"]


def test_a_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match=r"run: lies below the file .*file, expected a folder"):
        require_claimable(tmp_path / "file" / "run", IDENTITY)


def test_an_empty_folder_is_claimed(tmp_path: Path) -> None:
    claim_folder(tmp_path, IDENTITY)
    assert is_run_folder(tmp_path)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_is_not_ours_is_never_touched(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(RunFolderError, match="holds files that no run of mapping wrote; give an empty or new folder"):
        claim_folder(tmp_path, IDENTITY, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(RunFolderError, match="is a file, expected a folder"):
        claim_folder(tmp_path / "run", IDENTITY)


@pytest.mark.parametrize(("text", "complaint"), [("{", "is damaged"), ("[]", "expected a JSON object")])
def test_a_damaged_marker_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunFolderError, match=complaint):
        read_identity(tmp_path)


def test_a_folder_without_a_marker_names_the_first_command(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"is not a run folder .* start with `mapping prepare DATA -o RUN`"):
        read_identity(tmp_path)


def test_what_is_missing_names_the_stage_that_writes_it(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    with pytest.raises(RunFolderError, match=r"folds.csv: not there yet; run `mapping folds .*` first"):
        run.require(run.folds_csv, "folds")
    assert run.require(tmp_path, "folds") == tmp_path


def test_every_stage_has_its_own_folder() -> None:
    run = RunFolder(Path("run"))
    assert [
        path.relative_to("run").as_posix()
        for path in (
            run.config_toml, run.environment_json, run.cases_csv, run.problems_csv, run.arrays, run.folds_csv,
            run.balance_csv, run.member("default", 0), run.pseudo_labels(1), run.probabilities("ensemble"),
            run.masks("ensemble-pp"), run.scores_csv, run.report_html,
        )
    ] == [
        "config.toml", "environment.json", "prepare/cases.csv", "prepare/problems.csv", "prepare/arrays",
        "folds/folds.csv", "folds/balance.csv", "train/default/fold_0", "train/pseudo_labels/fold_1",
        "predict/ensemble", "postprocess/ensemble-pp", "evaluate/scores.csv", "report/index.html",
    ]  # fmt: skip


def test_asking_whether_a_folder_can_be_claimed_writes_nothing(tmp_path: Path) -> None:
    require_claimable(tmp_path / "run", IDENTITY)
    assert not (tmp_path / "run").exists()
    claim_folder(tmp_path / "run", IDENTITY)
    require_claimable(tmp_path / "run", IDENTITY)
    require_claimable(tmp_path / "run", IDENTITY | {"seed": 1}, overwrite=True)
    with pytest.raises(RunFolderError, match="holds another run"):
        require_claimable(tmp_path / "run", IDENTITY | {"seed": 1})
