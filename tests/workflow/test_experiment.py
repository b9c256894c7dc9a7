"""`mapping experiment`: the jobs it plans, what it refuses, what it says of a failed job, and a whole run."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mapping_stroke import cli
from mapping_stroke.cli import main
from mapping_stroke.processes import try_lock
from mapping_stroke.run_folder import RunFolder
from mapping_stroke.workflow import execution as execution_module
from mapping_stroke.workflow import snakemake
from mapping_stroke.workflow.execution import Execution, as_options
from mapping_stroke.workflow.jobs import Jobs, read_jobs
from phantoms import write_phantoms
from planned_jobs import NoSnakemake, commands_of, finish

TINY = ("--size", "tiny", "--folds", "2", "--device", "cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("experiment") / "the data")


Experiment = Callable[..., int]


@pytest.fixture
def experiment(data: Path, tmp_path: Path) -> Experiment:
    """Runs `mapping experiment` at the tiny size, in a folder with a space in its name."""
    return lambda *options: main(["experiment", str(data), "-o", str(tmp_path / "the run"), *TINY, *options])


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "the run")


def plan(run: RunFolder) -> Jobs:
    jobs = read_jobs(run.experiment)
    assert jobs is not None
    return jobs


def test_a_dry_run_shows_the_jobs(experiment: Experiment, run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert experiment("--dry-run") == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    stages = ["prepare", "folds", "arrays", "train", "predict", "postprocess", "evaluate", "report"]
    assert [line[0] for line in lines] == ["Stage", *stages]
    assert dict(lines)["train"].strip() == "8 jobs: 8 waiting"
    assert not run.path.exists()


def modified(folder: Path) -> dict[Path, int]:
    return {path: path.lstat().st_mtime_ns for path in (folder, *folder.rglob("*"))}


def test_a_dry_run_writes_and_removes_nothing(
    data: Path,
    experiment: Experiment,
    run: RunFolder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["prepare", str(data), "-o", str(run.path)]) == 0
    monkeypatch.setattr(snakemake, "snakemake_command", NoSnakemake(finish))
    assert experiment() == 0
    (run.path / "train" / "default" / "fold_0").mkdir(parents=True)
    (run.experiment / "lock").touch()  # of a killed command
    before = modified(run.path)
    capsys.readouterr()
    assert experiment("--folds", "3", "--dry-run", "--overwrite") == 0
    shown = capsys.readouterr().out
    assert "holds another experiment, which would be removed" in shown
    assert "12 jobs: 12 waiting" in shown
    assert experiment("--dry-run") == 0
    assert "8 jobs: 8 done" in capsys.readouterr().out
    assert experiment("--folds", "3", "--dry-run") == 2
    assert main(["experiment", str(write_phantoms(run.path.parent / "other")), "-o", str(run.path), "--dry-run"]) == 2
    assert modified(run.path) == before


def test_a_dry_run_on_other_data_keeps_the_markers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, folder = write_phantoms(tmp_path / "data"), tmp_path / "run"
    call = ["experiment", str(data), "-o", str(folder), *TINY]
    assert main(["prepare", str(data), "-o", str(folder)]) == 0
    monkeypatch.setattr(snakemake, "snakemake_command", NoSnakemake(finish))
    assert main(call) == 0
    write_phantoms(data, labelled=5)
    before = modified(folder)
    assert main([*call, "--dry-run"]) == 0
    assert "8 jobs: 8 waiting" in capsys.readouterr().out
    assert modified(folder) == before


@pytest.mark.parametrize("lock", ["experiment/lock", "train/default/.fold_0.lock"])
def test_a_run_at_work_is_not_overwritten(
    lock: str,
    experiment: Experiment,
    run: RunFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(snakemake, "snakemake_command", NoSnakemake(finish))
    assert experiment() == 0
    other = write_phantoms(tmp_path / "other")
    held = try_lock(run.path / lock)
    assert held is not None
    before = modified(run.path)
    for command in (
        lambda: experiment("--folds", "3", "--overwrite"),
        lambda: experiment("--folds", "3", "--overwrite", "--dry-run"),
        lambda: main(["experiment", str(other), "-o", str(run.path), *TINY, "--overwrite"]),
        lambda: main(["prepare", str(other), "-o", str(run.path), "--overwrite"]),
    ):
        assert command() == 2
        assert "another command is working on this run" in capsys.readouterr().err
    after = modified(run.path)
    assert {path for path in before if path.is_file()} == {path for path in after if path.is_file()}
    held.release()
    assert main(["prepare", str(other), "-o", str(run.path), "--overwrite"]) == 0
    assert not run.experiment.exists()


def test_every_training_is_a_job(experiment: Experiment, run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snakemake, "snakemake_command", NoSnakemake(finish))
    assert experiment() == 0
    members = [job for job in plan(run).names if job.startswith("train/")]
    schemes = ("default", "dice-topk10", "residual", "self-training")
    assert members == [f"train/{scheme}/fold_{fold}" for scheme in schemes for fold in (0, 1)]


def test_each_job_runs_a_command_that_exists(
    experiment: Experiment, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(snakemake, "snakemake_command", NoSnakemake())
        assert experiment("--rule", "paper", "--mirror", "--epochs", "3") == 2
    calls = commands_of("experiment", run.experiment)
    assert len(calls) == len(plan(run).names)
    assert next(call for call in calls if call[0] == "postprocess")[2:] == ["--rule", "paper"]
    assert next(call for call in calls if call[0] == "predict")[2:] == ["--shard", "1/1", "--mirror", "--device", "cpu"]
    for command in cli.COMMANDS:
        monkeypatch.setattr(command, "run", lambda _: 0)
    # one for each command and its options: the folds differ only by their numbers
    kinds = {tuple(word for word in call if not word.isdigit()): call for call in calls}
    assert [main(call) for call in kinds.values()] == [0] * len(kinds)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--epochs", "3"], "epochs was not given, now 3"),
        (["--seed", "1"], "seed was 0, now 1"),
        (["--exclude-bad"], "exclude_bad was False, now True"),
    ],
)
def test_other_settings_are_refused_by_name(
    changed: list[str],
    message: str,
    experiment: Experiment,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(snakemake, "snakemake_command", NoSnakemake(finish))
    assert experiment() == 0
    assert experiment(*changed) == 2
    assert message in capsys.readouterr().err
    assert experiment("--jobs", "3", "--retries", "1") == 0


def test_settings_of_a_stage_that_has_not_begun_may_change(
    experiment: Experiment, run: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(snakemake, "snakemake_command", NoSnakemake(lambda jobs: finish(jobs, ("prepare", "folds"))))
    assert experiment() == 2
    capsys.readouterr()
    assert experiment("--rule", "none", "--epochs", "2") == 2
    assert "other settings" not in capsys.readouterr().err
    assert experiment("--rule", "none", "--epochs", "2", "--folds", "3") == 2
    assert "folds was 2, now 3" in capsys.readouterr().err
    assert 'rule = "none"' in (run.experiment / "settings.toml").read_text()


def test_a_case_that_stopped_the_experiment_can_be_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(jobs: Jobs) -> None:
        for file in (jobs.begun("prepare"), jobs.failed("prepare"), jobs.log("prepare")):
            file.write_text("2\n")

    data = write_phantoms(tmp_path / "data")
    call = ["experiment", str(data), "-o", str(tmp_path / "run"), *TINY]
    monkeypatch.setattr(snakemake, "snakemake_command", NoSnakemake(refuse))
    assert main(call) == 2
    monkeypatch.setattr(snakemake, "snakemake_command", NoSnakemake(finish))
    assert main([*call, "--exclude-bad"]) == 0


def test_overwrite_starts_again(experiment: Experiment, run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snakemake, "snakemake_command", NoSnakemake(finish))
    assert experiment() == 0
    monkeypatch.setattr(snakemake, "snakemake_command", NoSnakemake())
    assert experiment("--folds", "3", "--overwrite") == 2
    assert set(plan(run).states().values()) == {"waiting"}


def test_a_failed_job_is_quoted_and_named(
    experiment: Experiment, run: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(jobs: Jobs) -> None:
        finish(jobs, ("prepare", "folds", "arrays"))
        job = "train/residual/fold_1"
        jobs.log(job).write_text("[a] mapping\nan older attempt\n[b] mapping\nMember 1 of 1\nmapping: no memory left\n")
        jobs.begun(job).touch()
        jobs.failed(job).write_text("2\n")

    monkeypatch.setattr(snakemake, "snakemake_command", NoSnakemake(fail))
    assert experiment() == 2
    printed = capsys.readouterr()
    assert "mapping: no memory left" in printed.out
    assert "an older attempt" not in printed.out
    assert "1 job failed (train/residual/fold_1)" in printed.err
    assert main(["status", str(run.path)]) == 0
    shown = capsys.readouterr().out
    assert "8 jobs: 7 waiting, 1 failed" in shown
    assert "mapping: no memory left" in shown


def test_a_job_that_saved_its_work_is_stopped_not_failed(
    experiment: Experiment, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(jobs: Jobs) -> None:
        finish(jobs, ("prepare", "folds", "arrays"))
        for marker in (jobs.begun("train/default/fold_0"), jobs.failed("train/default/fold_0")):
            marker.write_text("75\n")

    monkeypatch.setattr(snakemake, "snakemake_command", NoSnakemake(stop))
    assert experiment() == 2
    assert plan(run).states()["train/default/fold_0"] == "stopped"


def test_other_data_are_checked_again(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy, folder = write_phantoms(tmp_path / "data"), tmp_path / "run"
    call = ["experiment", str(copy), "-o", str(folder), *TINY]
    assert main(["prepare", str(copy), "-o", str(folder)]) == 0
    monkeypatch.setattr(snakemake, "snakemake_command", NoSnakemake(finish))
    assert main(call) == 0
    assert main(call) == 0
    assert "have changed" not in capsys.readouterr().out
    write_phantoms(copy, labelled=5)
    assert main(call) == 0
    assert "every stage is checked again" in capsys.readouterr().out


def test_self_training_needs_unlabelled_scans(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_phantoms(tmp_path / "data", unlabelled=0)
    call = ["experiment", str(data), "-o", str(tmp_path / "run"), *TINY, "--dry-run"]
    assert main([*call, "--schemes", "default", "self-training"]) == 2
    assert "needs scans without a mask" in capsys.readouterr().err
    assert main([*call, "--schemes", "self-training"]) == 2
    assert "add default" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert main(call) == 0
    printed = capsys.readouterr().out
    assert "no unlabelled scans: self-training is left out" in printed
    assert "6 jobs: 6 waiting" in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--profile", "slurm"], "no command sbatch here"),
        (["--profile", "pbs"], "--profile pbs: expected local, slurm, or a folder"),
        (["--jobs", "0"], "got --jobs 0, expected 1 or more"),
        (["--folds", "1"], "got --folds 1, expected 2 or more"),
        (["--epochs", "0"], "got --epochs 0, expected 1 or more"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_once(
    options: list[str],
    message: str,
    experiment: Experiment,
    run: RunFolder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(execution_module.shutil, "which", lambda _: None)
    assert experiment(*options) == 2
    assert message in capsys.readouterr().err
    assert not run.path.exists()


def test_a_second_command_on_the_same_run_is_refused(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    statuses: list[int] = []
    monkeypatch.setattr(snakemake, "snakemake_command", NoSnakemake(lambda _: statuses.append(experiment())))
    assert experiment() == 2
    assert statuses == [2]
    assert "another command is running these jobs" in capsys.readouterr().err


def test_failed_cases_give_status_3(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def leave_out(jobs: Jobs) -> None:
        finish(jobs)
        jobs.done("evaluate").write_text("3\n")

    monkeypatch.setattr(snakemake, "snakemake_command", NoSnakemake(leave_out))
    assert experiment() == 3
    assert "evaluate: some cases failed" in capsys.readouterr().err


def test_options_say_only_what_differs() -> None:
    assert as_options(Execution(), Execution()) == []
    given = Execution(profile="slurm", jobs=4, memory_gb=8)
    assert as_options(given, Execution()) == ["--profile", "slurm", "--jobs", "4", "--memory-gb", "8"]


@pytest.mark.parametrize(
    ("execution", "at_once", "times"), [(Execution(), 1, 0), (Execution("slurm"), 40, 3), (Execution(jobs=2), 2, 0)]
)
def test_a_cluster_runs_more_jobs_and_tries_again(execution: Execution, at_once: int, times: int) -> None:
    assert (execution.jobs_at_once, execution.times) == (at_once, times)


@pytest.mark.slow
def test_an_experiment_runs_and_has_nothing_left_to_do(
    experiment: Experiment, run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert experiment("--epochs", "1", "--jobs", "2") == 0
    assert run.report_html.is_file()
    assert len(list(run.members.glob("*/fold_*/weights.safetensors"))) == 8
    assert json.loads((run.experiment / "plan.json").read_text())["jobs"]
    written = run.report_html.stat().st_mtime_ns
    assert str(run.report_html) in capsys.readouterr().out
    assert experiment("--epochs", "1", "--jobs", "2") == 0
    assert run.report_html.stat().st_mtime_ns == written
