import json
from pathlib import Path

import pytest

from mapping_stroke.cli import main
from phantoms import write_phantoms


def prepared_run(folder: Path) -> Path:
    run = folder / "run"
    assert main(["prepare", str(write_phantoms(folder / "data", 4, 0)), "-o", str(run)]) == 0
    assert main(["folds", str(run), "--number", "2"]) == 0
    return run


def test_less_than_one_job_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = prepared_run(tmp_path)
    assert main(["train", str(run), "--size", "tiny", "--jobs", "0"]) == 2
    assert "got 0 jobs, expected 1 or more" in capsys.readouterr().err
    assert not (run / "train").exists()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--devices", "2", "--jobs", "2"], "--jobs trains each fold on one device; leave out --jobs, or --devices"),
        (["--devices", "2"], "several devices need a command line of their own: call `mapping train ... --devices N`"),
        (
            ["--devices", "3"],
            "split equally between 3 processes; give fewer --devices, or --batch 3 (which trains",
        ),
        (
            ["--nodes", "2", "--batch", "5"],
            "split equally between 2 processes; give fewer --devices, or --batch 6",
        ),
        (["--batch", "0"], "got --batch 0, expected 1 or more"),
    ],
)
def test_devices_without_work_of_their_own_are_refused(
    options: list[str], problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = prepared_run(tmp_path)
    assert main(["train", str(run), "--size", "tiny", "--device", "cpu", *options]) == 2
    assert problem in capsys.readouterr().err
    assert not (run / "train").exists()


@pytest.mark.slow
def test_folds_trained_side_by_side_end_with_the_same_weights(tmp_path: Path) -> None:
    found = []
    for jobs in ("1", "2"):
        run = prepared_run(tmp_path / jobs)
        options = ["--size", "tiny", "--schemes", "default", "--device", "cpu", "--jobs", jobs]
        assert main(["train", str(run), *options]) == 0
        cards = [json.loads((run / f"train/default/fold_{fold}/member.json").read_text()) for fold in (0, 1)]
        found.append([card["weights_sha256"] for card in cards])
    assert found[0] == found[1]
