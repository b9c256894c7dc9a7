"""What `mapping status` tells, from files alone."""

import json
import os
import platform
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from mapping_stroke.cli import main
from mapping_stroke.dataset.folds import write_folds
from mapping_stroke.errors import RunFolderError
from mapping_stroke.files import write_json, write_text
from mapping_stroke.run_folder import RunFolder
from mapping_stroke.stages.status import (
    SILENT_S,
    MemberStatus,
    Progress,
    is_running,
    read_progress,
    run_status,
    write_progress,
)
from small_runs import write_epochs

NOW = 1_000_000.0


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """Two folds; one member trained, one running, one killed, one that failed, and one of an extra scheme."""
    run = RunFolder(tmp_path / "run")
    write_folds(run.folds_csv, {"a": 0, "b": 1})
    write_text(run.config_toml, '[train]\nsize = "full"\nvariant = "container"\n')
    trained, running, killed = run.member("default", 0), run.member("default", 1), run.member("dice-topk10", 0)
    failed, extra = run.member("residual", 1), run.member("mixup", 1)
    for folder in (trained, running, killed, failed, extra):
        write_json(folder / "recipe.json", {"recipe": "0"})
    write_epochs(trained / "epochs.csv", epochs=4)
    write_json(trained / "member.json", {"training": {"epochs": 1000}})
    write_epochs(running / "epochs.csv", epochs=3)
    write_progress(running, Progress("running", 3, 1000, 17, 300, seconds_left=7200.0))
    write_progress(killed, Progress("running", 2, 800, started=psutil.Process().create_time() - 1000))
    write_progress(failed, Progress("failed", 1, 1000, why="the loss is nan on a batch of a, b; check these scans"))
    return run


def rounded(one: MemberStatus) -> MemberStatus:
    return replace(one, silent_s=None, best_dice=None if one.best_dice is None else round(one.best_dice, 6))


def test_every_member_is_listed_also_those_not_begun(run: RunFolder) -> None:
    found = {(one.scheme, one.fold): rounded(one) for one in run_status(run)}
    assert list(found) == [
        (scheme, fold) for scheme in ("default", "dice-topk10", "residual", "self-training", "mixup") for fold in (0, 1)
    ]
    nan = "the loss is nan on a batch of a, b; check these scans"
    for expected in (
        MemberStatus("default", 0, "trained", 1000, 1000, 0.3),
        MemberStatus("default", 1, "running", 3, 1000, 0.2, seconds_left=7200.0),
        MemberStatus("dice-topk10", 0, "stopped", 2, 800),
        MemberStatus("dice-topk10", 1, "not begun", 0, 800),
        MemberStatus("residual", 1, "failed", 1, 1000, why=nan),
        MemberStatus("self-training", 0, "not begun", 0, 1000),
        MemberStatus("mixup", 0, "not begun", 0, 1000),
        MemberStatus("mixup", 1, "stopped", 0, 1000),
    ):
        assert found[expected.scheme, expected.fold] == expected


def test_an_experiment_lists_the_members_that_it_planned(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = ["prepare", "train/default/fold_0", "train/default/fold_1", "train/dice-topk10/fold_0", "report"]
    write_json(run.experiment / "plan.json", {"jobs": jobs})
    planned = [("default", 0), ("default", 1), ("dice-topk10", 0)]
    assert [(one.scheme, one.fold) for one in run_status(run)] == [*planned, ("mixup", 1), ("residual", 1)]
    assert main(["status", str(run.path)]) == 0
    assert "self-training" not in capsys.readouterr().out


def test_the_table_tells_it_and_nothing_is_written(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in sorted(run.path.rglob("*"))}
    assert main(["status", str(run.path)]) == 0
    assert {path: path.stat().st_mtime_ns for path in sorted(run.path.rglob("*"))} == before
    told = capsys.readouterr().out
    row = next(line for line in told.splitlines() if "running" in line)
    assert row.split()[:5] == ["default", "1", "running", "3/1000", "0.200"]
    assert " s ago" in row
    assert row.endswith("2 h 00 min")
    assert "residual, fold 1, failed: the loss is nan" in told
    assert "10 members: 1 trained, 1 running, 2 stopped, 5 not begun, 1 failed" in told


def test_the_age_of_the_last_sign_is_told(run: RunFolder) -> None:
    sign = run.member("default", 1) / "progress.json"
    os.utime(sign, (time.time() - 120, time.time() - 120))
    running = next(one for one in run_status(run) if one.state == "running")
    assert running.silent_s == pytest.approx(120, abs=30)


def test_before_the_first_training_the_length_is_not_known(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    with pytest.raises(RunFolderError, match="run `mapping folds"):
        run_status(run)
    write_folds(run.folds_csv, {"a": 0, "b": 1})
    assert {(one.state, one.epochs) for one in run_status(run)} == {("not begun", None)}
    assert main(["status", str(tmp_path)]) == 0


def test_a_sign_of_life_is_read_back_and_a_damaged_one_is_none(tmp_path: Path) -> None:
    assert read_progress(tmp_path) is None
    sign = Progress("running", 3, 10, 4, 5, 60.0)
    write_progress(tmp_path, sign)
    assert read_progress(tmp_path) == sign
    for text in ("{", "[]", json.dumps({"state": "running"}), json.dumps({"other": 1})):
        (tmp_path / "progress.json").write_text(text)
        assert read_progress(tmp_path) is None


def test_a_process_runs_if_it_is_there_and_the_same_one() -> None:
    sign = Progress("running", 0, 10)
    assert is_running(sign, NOW)
    assert not is_running(replace(sign, state="stopped"), NOW)
    assert not is_running(replace(sign, started=sign.started - 100), NOW)
    assert not is_running(replace(sign, process=2**22 + 1), NOW)


def test_a_process_of_another_machine_runs_until_it_is_silent() -> None:
    sign = Progress("running", 0, 10, written=NOW, host=f"not-{platform.node()}")
    assert is_running(sign, NOW + SILENT_S - 1)
    assert not is_running(sign, NOW + SILENT_S + 1)
