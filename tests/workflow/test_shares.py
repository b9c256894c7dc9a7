"""`mapping bids` and `mapping segment` with `--profile`: the same command in several jobs, each on some scans."""

from pathlib import Path

import pytest

from bids_data import contents, write_bids
from mapping_stroke.cli import main
from mapping_stroke.workflow import snakemake
from phantoms import write_phantoms
from planned_jobs import NoSnakemake, commands_of, finish
from small_models import write_seeing_model


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four scans."""
    return write_bids(tmp_path_factory.mktemp("shares") / "the data")


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> None:
    """All jobs succeed."""
    monkeypatch.setattr(snakemake, "snakemake_command", NoSnakemake(finish))


@pytest.mark.usefixtures("played")
@pytest.mark.slow  # on Slurm with `make slurm`, too
def test_every_job_of_a_bids_data_set_gets_a_shard(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    call = ["bids", str(data), "out", "participant", "--preset", "fast", "--session-label", "1", "2"]
    assert main([*call, "--profile", "local", "--jobs", "2"]) == 0
    expected = [
        "bids",
        str(data),
        str(tmp_path / "out"),
        "participant",
        "--session-label",
        "1",
        "2",
        "--preset",
        "fast",
    ]
    shards = [["--shard", "1/2"], ["--shard", "2/2"]]
    (tmp_path / "out.jobs" / "done" / "share" / "1_of_2").unlink()
    (tmp_path / "out.jobs" / "done" / "share" / "2_of_2").unlink()
    assert sorted(commands_of("shares", tmp_path / "out.jobs")) == [[*expected, *shard] for shard in shards]


@pytest.mark.usefixtures("played")
@pytest.mark.slow  # on Slurm with `make slurm`, too
def test_jobs_that_segment_share_the_output_folder(tmp_path: Path) -> None:
    data, model = write_phantoms(tmp_path / "scans", labelled=0, unlabelled=4), tmp_path / "model"
    write_seeing_model(model)
    call = ["segment", str(data), "-o", str(tmp_path / "out"), "--scans", "*_T1w.nii.gz", "--model", str(model)]
    assert main([*call, "--profile", "local", "--jobs", "9"]) == 0
    jobs = tmp_path / "out.jobs"
    names = sorted(path.name for path in (jobs / "done" / "share").iterdir())
    assert names == [f"{number}_of_4" for number in (1, 2, 3, 4)]
    (jobs / "done" / "share" / "1_of_4").unlink()
    (command,) = commands_of("shares", jobs)
    assert sorted(command) == sorted(call)


def test_a_profile_and_a_shard_exclude_each_other(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["bids", str(data), str(tmp_path / "out"), "participant", "--shard", "1/2", "--profile", "local"]
    assert main(call) == 2
    assert "--shard and --profile exclude each other" in capsys.readouterr().err


def test_failed_scans_give_status_3(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def leave_out(jobs: snakemake.Jobs) -> None:
        finish(jobs)
        jobs.done("share/1_of_2").write_text("3\n")

    monkeypatch.setattr(snakemake, "snakemake_command", NoSnakemake(leave_out))
    assert main(["bids", str(data), str(tmp_path / "out"), "participant", "--profile", "local", "--jobs", "2"]) == 3
    assert "share/1_of_2: scans failed" in capsys.readouterr().err


@pytest.mark.slow
def test_two_jobs_write_what_one_process_writes(data: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    write_seeing_model(model)
    for name, options in (("alone", []), ("together", ["--profile", "local", "--jobs", "2"])):
        call = ["bids", str(data), str(tmp_path / name), "participant", "--model", str(model), "--space", "mni"]
        assert main([*call, *options]) == 0
    alone, together = contents(tmp_path / "alone"), contents(tmp_path / "together")
    assert len([path for path in (tmp_path / "alone").glob("sub-*") if path.is_dir()]) == 3  # and a page for each scan
    assert alone == together
