"""Scans in folders of their own: how they are named, and what is said where none is found."""

from pathlib import Path

import pytest

from mapping_stroke.cli import main
from mapping_stroke.cohort.inputs import find_scans


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def refusal(capsys: pytest.CaptureFixture[str], output: Path, *arguments: Path | str) -> str:
    """What `mapping segment` says, one line, when it is called wrongly."""
    assert main(["segment", *map(str, arguments), "-o", str(output)]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert not output.exists()
    return told


@pytest.mark.parametrize(
    ("pattern", "place"),
    [("*/T1.nii.gz", "{}/T1.nii.gz"), ("*/mri/T1.mgz", "{}/mri/T1.mgz"), ("**/*_T1.mha", "{}_T1.mha")],
)
def test_a_pattern_names_scans_by_what_its_wildcards_stand_for(tmp_path: Path, pattern: str, place: str) -> None:
    wanted = {name: tmp_path / place.format(name) for name in ("p1", "p2")}
    touch(tmp_path, *(place.format(name) for name in wanted), "p1/T2.nii.gz", "p1/T1_mask.nii.gz", "p1/mri/aseg.mgz")
    assert find_scans([tmp_path], pattern=pattern) == wanted


def test_files_beside_folders_are_scans_whatever_the_pattern(tmp_path: Path) -> None:
    data, alone = touch(tmp_path / "data", "p1/T1.nii"), touch(tmp_path, "other.nii") / "other.nii"
    assert find_scans([alone, data], pattern="*/T1.nii") == {"other": alone, "p1": data / "p1" / "T1.nii"}


def test_scans_of_one_name_are_refused_with_the_option_that_tells_them_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    touch(tmp_path, "p1/T1.nii.gz", "p2/T1.nii.gz")
    told = refusal(capsys, tmp_path / "out", *sorted(tmp_path.glob("*/T1.nii.gz")))
    assert "has the same name" in told
    assert "`mapping segment FOLDER --scans PATTERN` with a pattern such as '*/T1.nii.gz'" in told


def test_a_folder_of_folders_is_refused_with_the_option_that_looks_into_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = refusal(capsys, tmp_path / "out", touch(tmp_path / "data", "p1/T1.nii.gz"))
    assert "data: holds no image file itself, expected scans; name another folder, or use `mapping segment FOLD" in told
    assert "mapping bids" not in told


@pytest.mark.parametrize("inside", ["dataset_description.json", "sub-01/anat/sub-01_T1w.nii.gz"])
def test_a_bids_data_set_is_refused_with_the_command_for_it(
    tmp_path: Path, inside: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "use `mapping bids`" in refusal(capsys, tmp_path / "out", touch(tmp_path / "data", inside))


@pytest.mark.parametrize(
    ("pattern", "complaint"),
    [
        ("*/T1.mgz", "data: no scans found among 2 image files; looked for '*/T1.mgz'"),
        ("*/*.nii", "has the same name"),
        ("", "expected a name pattern"),
    ],
)
def test_a_pattern_that_finds_no_scan_or_two_of_a_name_is_refused(
    tmp_path: Path, pattern: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = touch(tmp_path / "data", "p1/T1.nii", "p2/T1.nii")
    assert complaint in refusal(capsys, tmp_path / "out", data, "--scans", pattern)


def test_a_pattern_without_a_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan = touch(tmp_path, "scan.nii") / "scan.nii"
    told = refusal(capsys, tmp_path / "out", scan, "--scans", "*.nii")
    assert "--scans '*.nii' selects images in folders, but no folder is given" in told
