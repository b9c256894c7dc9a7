import errno
import hashlib
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from broken_disk import fail_to_look_at
from cohorts import SHAPE, truncate, write_any, write_atlas, write_mask, write_scan
from mapping_stroke.cli import main
from mapping_stroke.dataset.cases import read_cases
from mapping_stroke.dataset.checks import read_problems
from mapping_stroke.files import read_csv, write_json
from mapping_stroke.run_folder import RunFolder
from mapping_stroke.stages import prepare as prepare_stage
from mapping_stroke.stages.arrays import labelled_contents
from mapping_stroke.stages.provenance import find_other_data, read_manifest

pytestmark = pytest.mark.usefixtures("coarse_pictures")


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


@pytest.fixture
def atlas(tmp_path: Path) -> Path:
    return write_atlas(tmp_path / "atlas", loads=[3, 5, 30], unlabelled=2)


def prepare(data: Path, run: RunFolder, *more: str) -> int:
    return main(["prepare", str(data), "-o", str(run.path), *more])


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def errors(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def file_of(data: Path, person: str, what: str) -> Path:
    (path,) = data.rglob(f"*{person}*_{what}.nii.gz")
    return path


def test_an_atlas_folder_is_prepared(atlas: Path, run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(atlas, run) == 0
    environment, *others = files(run.path)
    assert environment.startswith("environments/prepare/")
    assert others == [
        "prepare/arrays/contents.json",
        "prepare/cases.csv",
        "prepare/checked.txt",
        "prepare/data.csv",
        "prepare/examples.png",
        "prepare/load_distribution.png",
        "prepare/problems.csv",
        "run.json",
    ]
    cases = read_cases(run.cases_csv)
    assert [(case.case_id, case.split, case.load_vox) for case in cases] == [
        ("sub-r001s001_ses-1", "training", 3),
        ("sub-r001s002_ses-1", "training", 5),
        ("sub-r001s003_ses-1", "training", 30),
        ("sub-r002s001_ses-1", "testing", None),
        ("sub-r002s002_ses-1", "testing", None),
    ]
    assert cases[0].scan.is_file()
    assert read_problems(run.problems_csv) == []
    assert json.loads((run.path / "run.json").read_text()) == {
        "format": 1,
        "kind": "experiment",
        "data": str(atlas.resolve()),
        "layout": "atlas",
        "scans": None,
        "masks": None,
    }
    told = capsys.readouterr()
    assert told.err == ""
    assert told.out.splitlines()[:4] == [
        "5 scans found, layout atlas (ATLAS R2.0)",
        "5 cases: 3 with a mask, 2 without",
        "lesion load: median 0.01 mL, middle half 0.008 to 0.035 mL, all 0.006 to 0.06 mL",
        "lesions a case: median 1, at most 1",
    ]
    assert f"written: {run.cases_csv}" in told.out


def test_a_plain_folder_is_prepared_by_patterns(tmp_path: Path, run: RunFolder) -> None:
    write_scan(tmp_path / "data" / "p1" / "t1.nii.gz")
    write_mask(tmp_path / "data" / "p1" / "stroke.nii.gz")
    assert prepare(tmp_path / "data", run, "--scans", "*/t1.nii.gz", "--masks", "{id}/stroke.nii.gz") == 0
    (case,) = read_cases(run.cases_csv)
    assert (case.case_id, case.load_vox) == ("p1", 3)


def test_a_bids_folder_is_prepared(atlas: Path, run: RunFolder) -> None:
    assert prepare(atlas / "Training", run) == 0
    assert [case.site for case in read_cases(run.cases_csv)] == ["R001"] * 3


def test_scans_alone_are_prepared_with_a_warning(
    tmp_path: Path, run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scan(tmp_path / "data" / "a_T1w.nii.gz")
    assert prepare(tmp_path / "data", run) == 0
    assert [name for name in files(run.path) if name.endswith((".csv", ".png"))] == [
        "prepare/cases.csv",
        "prepare/data.csv",
        "prepare/problems.csv",
    ]
    assert errors(capsys) == [
        "warning: no case has a mask, so nothing can be trained or scored; if there are masks, name them with --masks"
    ]


def test_all_problems_are_listed_and_nothing_is_written(
    atlas: Path, run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    truncate(file_of(atlas, "r001s001", "T1w"))
    write_any(file_of(atlas, "r001s002", "mask"), np.ones((7, 5, 4), np.float32))
    write_any(file_of(atlas, "r002s001", "T1w"), np.ones((*SHAPE, 2), np.float32))
    write_mask(file_of(atlas, "r001s003", "mask"), 0)
    assert prepare(atlas, run) == 2
    told = errors(capsys)
    assert [line.split(": ")[:2] for line in told] == [
        ["error", "sub-r001s001_ses-1"],
        ["error", "sub-r001s002_ses-1"],
        ["warning", "sub-r001s003_ses-1"],
        ["error", "sub-r002s001_ses-1"],
        ["mapping", "3 of 5 cases have problems (listed above); fix them, or leave them out with --exclude-bad"],
    ]
    assert all("; " in line for line in told)
    assert not run.path.exists()


def spoil_truncated(data: Path) -> None:
    truncate(file_of(data, "r001s001", "T1w"))


def spoil_4d(data: Path) -> None:
    write_any(file_of(data, "r001s001", "T1w"), np.ones((*SHAPE, 2), np.float32))


def spoil_zero(data: Path) -> None:
    write_any(file_of(data, "r001s001", "T1w"), np.zeros(SHAPE, np.float32))


def spoil_nan(data: Path) -> None:
    write_any(file_of(data, "r001s001", "T1w"), np.full(SHAPE, np.nan, np.float32))


def spoil_grid(data: Path) -> None:
    write_any(file_of(data, "r001s001", "mask"), np.ones((7, 5, 4), np.float32))


def spoil_labels(data: Path) -> None:
    write_any(file_of(data, "r001s001", "mask"), np.arange(120, dtype=np.float32).reshape(SHAPE))


def spoil_id(data: Path) -> None:
    write_scan(data / "Testing" / "R002" / "sub-r001s001" / "ses-1" / "anat" / "sub-r001s001_ses-1_T1w.nii.gz")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_truncated, r"cannot be read \(.*\); copy or download the file again"),
        (spoil_4d, r"has 4 dimensions \(shape 6x5x4x2\), expected 3; extract one volume"),
        (spoil_zero, "all voxels are 0, expected a brain; export the scan again"),
        (spoil_nan, "holds 120 NaN or infinite voxels, expected numbers; replace them"),
        (spoil_grid, "the mask has shape .*; resample the mask onto the scan"),
        (spoil_labels, r"the mask is not binary \(0, 1, 2, 3, 4, \.\.\.\), expected 0 and 1; save the lesion as 1"),
        (spoil_id, "2 scans have this id, ignoring case .*, expected one; rename or move all but one"),
    ],
)
def test_one_bad_case_is_one_line_and_status_2(
    atlas: Path, run: RunFolder, capsys: pytest.CaptureFixture[str], spoil, message: str
) -> None:
    spoil(atlas)
    assert prepare(atlas, run) == 2
    (line,) = errors(capsys)
    assert re.match(f"mapping: sub-r001s001_ses-1: {message}", line)
    assert line.endswith("; or leave the case out with --exclude-bad")
    assert not run.path.exists()


def test_bad_cases_can_be_left_out(atlas: Path, run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    spoil_truncated(atlas)
    spoil_zero(atlas)
    write_mask(file_of(atlas, "r001s002", "mask"), 0)
    assert prepare(atlas, run, "--exclude-bad") == 3
    assert [case.case_id for case in read_cases(run.cases_csv)] == [
        "sub-r001s002_ses-1",
        "sub-r001s003_ses-1",
        "sub-r002s001_ses-1",
        "sub-r002s002_ses-1",
    ]
    assert [(problem.severity, problem.case_id) for problem in read_problems(run.problems_csv)] == [
        ("error", "sub-r001s001_ses-1"),
        ("warning", "sub-r001s002_ses-1"),
    ]
    assert "4 cases (1 left out): 2 with a mask, 2 without" in capsys.readouterr().out


def test_two_scans_of_one_id_are_both_left_out(atlas: Path, run: RunFolder) -> None:
    spoil_id(atlas)
    assert prepare(atlas, run, "--exclude-bad") == 3
    assert "sub-r001s001_ses-1" not in [case.case_id for case in read_cases(run.cases_csv)]


def test_nothing_left_is_refused(tmp_path: Path, run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    truncate(write_scan(tmp_path / "data" / "a_T1w.nii.gz"))
    assert prepare(tmp_path / "data", run, "--exclude-bad") == 2
    assert errors(capsys)[-1].endswith("none of the 1 cases can be used; fix their problems")
    assert not run.path.exists()


def test_no_scans_are_refused(tmp_path: Path, run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").mkdir()
    assert prepare(tmp_path / "data", run) == 2
    (line,) = errors(capsys)
    assert "no scans found among 0 image files; looked for ATLAS R2.0" in line
    assert not run.path.exists()


def test_warnings_of_one_kind_are_counted(tmp_path: Path, run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_atlas(tmp_path / "atlas", loads=[0] * 8, unlabelled=0)
    assert prepare(data, run) == 0
    told = errors(capsys)
    assert len(told) == 6
    remedy = "correct for a person without a lesion, otherwise draw it"
    assert told[-1] == f"warning: 3 more cases with the same problem ({remedy})"
    assert len(read_problems(run.problems_csv)) == 8


def test_unchanged_files_are_not_opened_again(atlas: Path, run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    write_mask(file_of(atlas, "r001s002", "mask"), 0)
    assert prepare(atlas, run) == 0
    first = capsys.readouterr()
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    assert prepare(atlas, run) == 0
    again = capsys.readouterr()
    assert again.out.splitlines()[1] == "the files are unchanged since the last check"
    assert again.err == first.err
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before


def test_the_files_of_every_case_are_hashed(atlas: Path, run: RunFolder) -> None:
    assert prepare(atlas, run) == 0
    rows = read_csv(run.data_csv)
    cases = read_cases(run.cases_csv)
    assert [(row["case_id"], row["image"], row["file"]) for row in rows] == [
        (case.case_id, image, str(file))
        for case in cases
        for image, file in (("scan", case.scan), ("mask", case.mask))
        if file
    ]
    for row in rows:
        whole = Path(row["file"]).read_bytes()
        assert (int(row["size_bytes"]), row["sha256"]) == (len(whole), hashlib.sha256(whole).hexdigest())


def test_later_stages_do_not_read_the_files_for_their_hashes_again(
    atlas: Path, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert prepare(atlas, run) == 0
    monkeypatch.setattr(prepare_stage, "sha256", lambda path: pytest.fail(f"{path} is read again"))
    assert labelled_contents(run, read_cases(run.cases_csv))


def test_a_corrected_file_gets_another_hash(atlas: Path, run: RunFolder) -> None:
    assert prepare(atlas, run) == 0
    before = read_manifest(run.data_csv)
    write_mask(file_of(atlas, "r001s002", "mask"), 4)
    assert prepare(atlas, run) == 0
    after = read_manifest(run.data_csv)
    assert {image for image in before if before[image] != after[image]} == {("sub-r001s002_ses-1", "mask")}


def test_members_trained_on_other_files_are_named(atlas: Path, run: RunFolder) -> None:
    assert prepare(atlas, run) == 0
    recipe = {"recipe": "r", "data": labelled_contents(run, read_cases(run.cases_csv))}
    write_json(run.member("residual", 1) / "recipe.json", recipe)
    assert find_other_data(run) == []
    write_mask(file_of(atlas, "r001s002", "mask"), 4)
    assert prepare(atlas, run) == 0
    (line,) = find_other_data(run)
    assert line.startswith("residual, fold 1: was trained on other files than data.csv lists; run `mapping prepare`")
    run.data_csv.write_text("damaged")
    assert find_other_data(run) == []


def test_a_run_of_an_earlier_version_gets_its_hashes(atlas: Path, run: RunFolder) -> None:
    assert prepare(atlas, run) == 0
    whole = run.data_csv.read_bytes()
    run.data_csv.unlink()
    assert read_manifest(run.data_csv) == {}
    assert prepare(atlas, run) == 0
    assert run.data_csv.read_bytes() == whole


def test_bad_cases_are_told_again(atlas: Path, run: RunFolder) -> None:
    spoil_truncated(atlas)
    assert prepare(atlas, run, "--exclude-bad") == 3
    assert prepare(atlas, run, "--exclude-bad") == 3
    assert prepare(atlas, run) == 2


def test_changed_files_are_checked_again(atlas: Path, run: RunFolder) -> None:
    assert prepare(atlas, run) == 0
    mask = write_mask(file_of(atlas, "r001s001", "mask"), 9)
    os.utime(mask, ns=(1, 1))
    assert prepare(atlas, run) == 0
    assert read_cases(run.cases_csv)[0].load_vox == 9


def test_a_table_without_the_sides_of_lesions_is_made_again(atlas: Path, run: RunFolder) -> None:
    assert prepare(atlas, run) == 0
    before = run.cases_csv.read_text()
    run.cases_csv.write_text("\n".join(line.rsplit(",", 2)[0] for line in before.splitlines()) + "\n")
    assert prepare(atlas, run) == 0
    assert run.cases_csv.read_text() == before


def test_a_damaged_table_is_made_again(atlas: Path, run: RunFolder) -> None:
    assert prepare(atlas, run) == 0
    run.cases_csv.write_text("case_id\n")
    assert prepare(atlas, run) == 0
    assert len(read_cases(run.cases_csv)) == 5


def test_a_run_folder_of_other_data_is_kept(atlas: Path, run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(atlas / "Training", run) == 0
    capsys.readouterr()
    assert prepare(atlas, run) == 2
    (line,) = errors(capsys)
    assert "holds another run (differs in data, layout); give another output folder, or --overwrite" in line
    assert len(read_cases(run.cases_csv)) == 3
    assert prepare(atlas, run, "--overwrite") == 0
    assert len(read_cases(run.cases_csv)) == 5


def test_a_run_folder_that_would_hold_the_data_is_refused(atlas: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(atlas)
    assert prepare(atlas, RunFolder(atlas), "--overwrite") == 2
    assert "would hold the data" in errors(capsys)[0]
    assert files(atlas) == before


def test_real_scans_are_prepared(shared: Path, tmp_path: Path, run: RunFolder) -> None:
    (tmp_path / "data").mkdir()
    for scan in sorted((shared / "data" / "native").glob("*.nii.gz"))[:2]:
        (tmp_path / "data" / scan.name).symlink_to(scan)
    assert prepare(tmp_path / "data", run) == 0
    assert [case.case_id for case in read_cases(run.cases_csv)] == ["oasis-1000_stripped", "oasis-1012_stripped"]


def test_a_scan_that_the_system_cannot_look_at_is_a_bad_case(
    atlas: Path, run: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_to_look_at(file_of(atlas, "r001s001", "T1w").name, monkeypatch, errno.EIO)
    assert prepare(atlas, run, "--exclude-bad") == 3
    assert len(read_cases(run.cases_csv)) == 4
    (problem,) = read_problems(run.problems_csv)
    assert (problem.case_id, problem.severity) == ("sub-r001s001_ses-1", "error")
    assert "Input/output error" in problem.found


def test_scans_that_bidsignore_names_are_left_out_and_told(
    atlas: Path, run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its masks are used: BIDS has no name for them, so that many data sets let the validator ignore them."""
    (atlas / ".bidsignore").write_text("*_mask.nii.gz\nTesting/\nsub-r001s003*\n")
    assert prepare(atlas, run) == 0
    cases = read_cases(run.cases_csv)
    assert [case.case_id for case in cases] == ["sub-r001s001_ses-1", "sub-r001s002_ses-1"]
    assert all(case.mask for case in cases)
    told = errors(capsys)
    assert len(told) == 2
    assert told[0].startswith("warning: 1 T1w scan left out because of .bidsignore; remove the line")
