"""`mapping evaluate` from end to end."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mapping_stroke import cli
from mapping_stroke.files import read_csv
from mapping_stroke.images.image import write_image
from mapping_stroke.stages.postprocess import postprocess_run
from predicted_runs import AFFINE, reference_mask, write_predicted_run


def arguments(root: Path) -> list[str]:
    return ["evaluate", str(root / "masks"), "--references", str(root / "references"), "-o", str(root / "scores")]


def call(root: Path, *more: str) -> int:
    return cli.main([*arguments(root), *more])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of one mask and one of its reference."""
    for folder in ("masks", "references"):
        write_image(tmp_path / folder / "one_mask.nii.gz", reference_mask(), AFFINE)
    return tmp_path


def test_a_run_folder_keeps_its_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_predicted_run(tmp_path / "run")
    postprocess_run(run)
    assert cli.main(["evaluate", str(run.path)]) == 0
    assert len(read_csv(run.scores_csv)) == 8
    assert "Ensemble + PP  2      0.67 ± 0.00" in capsys.readouterr().out


def test_the_unlabelled_scans_of_a_run_are_scored_against_given_references(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_predicted_run(tmp_path / "run")
    postprocess_run(run)
    references = tmp_path / "references"
    call = ["evaluate", str(run.path), "--references", str(references)]
    assert cli.main(call) == 2
    assert "holds no reference of an unlabelled scan" in capsys.readouterr().err
    write_image(references / "sub-c_mask.nii.gz", reference_mask(), AFFINE)
    write_image(references / "sub-a_mask.nii.gz", reference_mask(), AFFINE)  # labelled: no test scan
    assert cli.main(call) == 0
    rows = read_csv(run.path / "evaluate" / "test" / "scores.csv")
    assert [(row["method"], row["case_id"], row["fold"]) for row in rows] == [
        (method, "sub-c", "") for method in ("default", "residual", "ensemble", "ensemble-pp")
    ]
    assert not run.scores_csv.exists()
    write_image(references / "sub-c.nii.gz", reference_mask(), AFFINE)
    assert cli.main(call) == 2
    assert "holds 2 references of sub-c" in capsys.readouterr().err


def test_any_folder_of_masks_is_scored(root: Path) -> None:
    assert call(root) == 0
    assert call(root) == 0
    files = sorted(path.name for path in (root / "scores").iterdir())
    assert files == ["run.json", "scored.json", "scores.csv", "summary.csv"]
    assert read_csv(root / "scores" / "scores.csv")[0]["dice"] == "1.0"


def test_arrows_are_no_failure_where_the_output_has_none(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    command = [sys.executable, "-m", "mapping_stroke.cli", *arguments(root)]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "95HD (mm)\N{NO-BREAK SPACE}?" in done.stdout.decode("latin-1")


def test_another_profile_needs_another_folder_or_overwrite(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call(root)
    assert call(root, "--profile", "isles2026") == 2
    assert "holds another run (differs in profile)" in capsys.readouterr().err
    assert call(root, "--profile", "isles2026", "--overwrite") == 0


def test_a_pair_of_different_shapes_is_one_line_and_leaves_nothing(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_image(root / "masks" / "one_mask.nii.gz", np.zeros((2, 2, 2), np.bool_), AFFINE)
    assert call(root) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert "has shape (2, 2, 2), its reference" in told[0]
    assert not (root / "scores").exists()


def test_one_bad_pair_among_others_fails_alone(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_image(root / "masks" / "two_mask.nii.gz", np.zeros((2, 2, 2), np.bool_), AFFINE)
    write_image(root / "references" / "two_mask.nii.gz", reference_mask(), AFFINE)
    assert call(root) == 3
    assert "has shape (2, 2, 2), its reference" in capsys.readouterr().err
    assert [row["case_id"] for row in read_csv(root / "scores" / "scores.csv")] == ["one"]


def test_hidden_and_partial_files_are_no_masks(root: Path) -> None:
    for name in ("._one_mask.nii.gz", ".partial-0a1b2c-1-d3e4f5a6-one_mask.nii.gz"):
        (root / "masks" / name).write_bytes(b"half")
    assert call(root) == 0


def test_overwriting_never_replaces_the_work_of_another_command(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_predicted_run(root / "scores")
    assert call(root, "--overwrite") == 2
    assert "holds the work of another command (experiment)" in capsys.readouterr().err
    assert run.probabilities("ensemble").is_dir()


def test_a_missing_reference_writes_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "references" / "one_mask.nii.gz").unlink()
    assert call(root) == 2
    assert "holds 0 references of one" in capsys.readouterr().err
    assert not (root / "scores").exists()


def test_references_and_output_go_together(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", str(root / "masks"), "-o", str(root / "scores")]) == 2
    assert "--references and -o go together" in capsys.readouterr().err
    assert cli.main(["evaluate", str(root / "masks")]) == 2
    assert "is not a run folder; name the reference masks with --references" in capsys.readouterr().err
