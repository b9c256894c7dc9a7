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
