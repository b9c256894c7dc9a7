"""`mapping postprocess` from end to end."""

from pathlib import Path

import numpy as np
import pytest

from mapping_stroke import cli
from mapping_stroke.images.image import read_image
from predicted_runs import SHAPE, write_predicted_run, write_probability


def test_a_run_folder_keeps_its_masks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_predicted_run(tmp_path / "run")
    assert cli.main(["postprocess", str(run.path), "--rule", "paper"]) == 0
    assert len(list(run.masks("ensemble-pp").glob("*_mask.nii.gz"))) == 3
    assert capsys.readouterr().out == f"Masks: {run.path / 'postprocess'}\n"


def test_any_folder_of_maps_goes_to_another_folder(tmp_path: Path) -> None:
    write_probability(tmp_path / "maps", "one")
    call = ["postprocess", str(tmp_path / "maps"), "-o", str(tmp_path / "masks")]
    assert cli.main(call) == 0
    assert cli.main(call) == 0
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == [
        "one_mask.nii.gz",
        "run.json",
        "settings.json",
    ]
    assert np.argwhere(read_image(tmp_path / "masks" / "one_mask.nii.gz").voxels).tolist() == [[1, 1, 1]]


def test_another_rule_needs_another_folder_or_overwrite(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_probability(tmp_path / "maps", "one")
    call = ["postprocess", str(tmp_path / "maps"), "-o", str(tmp_path / "masks")]
    cli.main(call)
    assert cli.main([*call, "--rule", "none"]) == 2
    assert "holds another run (differs in rule)" in capsys.readouterr().err
    assert cli.main([*call, "--rule", "none", "--overwrite"]) == 0


@pytest.mark.parametrize("value", [1.5, -0.5])
def test_a_bad_map_is_one_line_and_leaves_nothing(
    value: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_probability(tmp_path / "maps", "one", np.full(SHAPE, value, np.float32))
    assert cli.main(["postprocess", str(tmp_path / "maps"), "-o", str(tmp_path / "masks")]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert "one_probability.nii.gz: probabilities must lie in [0, 1]" in told[0]
    assert not (tmp_path / "masks").exists()


def test_one_bad_map_among_others_fails_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_probability(tmp_path / "maps", "one")
    write_probability(tmp_path / "maps", "two", np.full(SHAPE, np.nan, np.float32))
    (tmp_path / "maps" / ".partial-0a1b2c-1-d3e4f5a6-one_probability.nii.gz").write_bytes(b"half")
    assert cli.main(["postprocess", str(tmp_path / "maps"), "-o", str(tmp_path / "masks")]) == 3
    assert "two_probability.nii.gz: holds 120 NaN" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "masks").glob("*.nii.gz")] == ["one_mask.nii.gz"]


def test_the_mask_of_a_map_that_is_gone_is_removed(tmp_path: Path) -> None:
    call = ["postprocess", str(tmp_path / "maps"), "-o", str(tmp_path / "masks")]
    write_probability(tmp_path / "maps", "one")
    write_probability(tmp_path / "maps", "two")
    assert cli.main(call) == 0
    (tmp_path / "maps" / "two_probability.nii.gz").unlink()
    assert cli.main([*call, "--overwrite"]) == 0
    assert [path.name for path in (tmp_path / "masks").glob("*.nii.gz")] == ["one_mask.nii.gz"]


def test_a_folder_without_maps_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["postprocess", str(tmp_path), "-o", str(tmp_path / "masks")]) == 2
    assert "holds no <case>_probability.nii.gz" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_run_needs_an_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["postprocess", str(tmp_path)]) == 2
    assert "is not a run folder; name a folder for its masks with -o" in capsys.readouterr().err
