"""Which scans of a BIDS data set are meant."""

from pathlib import Path

import pytest

from bids_data import NAMES, SCANS
from mapping_stroke.cohort.bids_scans import Choice, find_bids_scans
from mapping_stroke.errors import CaseError, ConfigError


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Names alone: nothing is opened."""
    others = ("sub-01/anat/sub-01_T2w", "derivatives/other/sub-01/anat/sub-01_desc-preproc_T1w", "sub-01/anat/notes")
    for scan in (*SCANS, *others):
        path = tmp_path / f"{scan}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def test_every_t1w_of_every_session_is_found_and_named_by_its_entities(data: Path) -> None:
    found = find_bids_scans(data, Choice()).cases
    assert tuple(found) == NAMES
    case = found["sub-02_ses-2_acq-mprage_run-1_T1w"]
    assert (case.subject, case.session, case.scan) == ("02", "2", data / f"{SCANS[2]}.nii.gz")


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (Choice(participants=("02",)), NAMES[1:3]),
        (Choice(participants=("sub-03", "01")), (NAMES[0], NAMES[3])),
        (Choice(sessions=("ses-2",)), NAMES[2:3]),
        (Choice(participants=("02",), sessions=("1",)), NAMES[1:2]),
        (Choice(shard="1/3"), (NAMES[0], NAMES[3])),
        (Choice(shard="3/3"), NAMES[2:3]),
        (Choice(shard="5/5"), ()),
    ],
)
def test_participants_sessions_and_shares_are_chosen(data: Path, choice: Choice, expected: tuple[str, ...]) -> None:
    assert tuple(find_bids_scans(data, choice).cases) == expected


def test_shares_hold_every_scan_once(data: Path) -> None:
    for count in range(1, 7):
        shares = [find_bids_scans(data, Choice(shard=f"{number}/{count}")).cases for number in range(1, count + 1)]
        assert sorted(name for share in shares for name in share) == sorted(NAMES)


@pytest.mark.parametrize(
    ("choice", "complaint"),
    [
        (Choice(participants=("9", "sub-01")), r"no participant 9 with a T1w scan \(only 01, 02, 03\)"),
        (Choice(sessions=("baseline",)), r"no session baseline with a T1w scan \(only 1, 2\)"),
        (Choice(participants=("01",), sessions=("1",)), r"no session 1 with a T1w scan \(only none\)"),
    ],
)
def test_unknown_labels_are_refused_with_the_known_ones(data: Path, choice: Choice, complaint: str) -> None:
    with pytest.raises(CaseError, match=complaint):
        find_bids_scans(data, choice)


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "1/0", "a/b", "1/2/3", "-1/2"])
def test_a_share_that_is_none_is_refused(shard: str) -> None:
    with pytest.raises(ConfigError, match="expected i/N with 1 <= i <= N"):
        Choice(shard=shard)


def test_a_folder_without_scans_is_refused(data: Path) -> None:
    with pytest.raises(CaseError, match="no such folder"):
        find_bids_scans(data / "missing", Choice())
    (data / "empty").mkdir()
    with pytest.raises(CaseError, match="holds no scan named sub-LABEL"):
        find_bids_scans(data / "empty", Choice())


def scans_of(data: Path, *more: str) -> tuple[dict[str, str], dict[str, str]]:
    """With further files, the path of each scan, and what is unclear."""
    for name in more:
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).touch()
    found = find_bids_scans(data, Choice())
    return {name: case.scan.relative_to(data).as_posix() for name, case in found.cases.items()}, found.unclear


def test_scans_outside_of_the_participants_folders_are_passed_over(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = scans_of(data)
    assert not capsys.readouterr().err
    others = ("fmriprep/sub-01/anat/sub-01_desc-preproc_T1w.nii.gz", "old/sub-09/anat/sub-09_T1w.nii.gz")
    assert scans_of(data, *others) == before
    assert f"skips 2 T1w scans outside its sub-* folders, such as {others[0]}" in capsys.readouterr().err


def test_scans_of_centres_are_taken_where_there_are_no_others(tmp_path: Path) -> None:
    scan = "CENTRE9/sub-1/anat/sub-1_T1w.nii.gz"
    assert scans_of(tmp_path, scan) == ({"sub-1_T1w": scan}, {})


@pytest.mark.parametrize(
    ("more", "taken", "told"),
    [
        ("sub-01_desc-brain_T1w.nii.gz", "sub-01_T1w.nii.gz", ""),
        ("sub-01_space-orig_T1w.nii", "sub-01_T1w.nii.gz", ""),
        ("sub-01_T1w.nii", "sub-01_T1w.nii.gz", "sub-01_T1w.nii.gz: exists in several formats; reads this file"),
    ],
)
def test_of_scans_with_one_name_the_raw_and_packed_one_is_taken(
    more: str, taken: str, told: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, unclear = scans_of(data, f"sub-01/anat/{more}")
    assert (found[NAMES[0]], unclear) == (f"sub-01/anat/{taken}", {})
    assert tuple(found) == NAMES
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "name"),
    [
        (("sub-01/other/sub-01_T1w.nii.gz",), "sub-01_T1w"),
        (("sub-09/sub-09_desc-a_T1w.nii.gz", "sub-09/sub-09_desc-b_T1w.nii.gz"), "sub-09_T1w"),
        (("sub-02/ses-2/anat/sub-02_ses-2_acq-MPRAGE_run-1_T1w.nii",), "sub-02_ses-2_acq-MPRAGE_run-1_T1w"),
    ],
)
def test_scans_of_one_name_are_told_and_stop_no_other(more: tuple[str, ...], name: str, data: Path) -> None:
    found, unclear = scans_of(data, *more)
    assert len(set(NAMES) - set(found)) <= 1
    assert list(unclear) == [name]
    assert name in found
    assert unclear[name].startswith("2 scans would have the same output name, ignoring case (")
    assert all(path in unclear[name] for path in more)


def ignoring(data: Path, *lines: str) -> Path:
    (data / ".bidsignore").write_text("".join(f"{line}\n" for line in lines))
    return data


def test_scans_that_bidsignore_names_are_passed_over(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ignoring(data, "*_acq-mprage_*", "sub-03/")
    found, _ = scans_of(data, "sub-09/anat/sub-09_T1w.nii.gz")
    assert tuple(found) == (*NAMES[:2], "sub-09_T1w")
    assert f"skips 2 T1w scans named in its .bidsignore, such as {SCANS[2]}.nii.gz" in capsys.readouterr().out
    assert find_bids_scans(data, Choice()).without == {}
    ignoring(data, "sub-*")
    with pytest.raises(CaseError, match=r"holds no scan named .*_T1w that is not in its .bidsignore"):
        find_bids_scans(data, Choice())


@pytest.fixture
def lacking(data: Path) -> Path:
    """Of six more participants there is no T1w scan; one of them and one more are ignored."""
    for name in ("4/anat/sub-4_UNIT1", "4/anat/sub-4_T2w", "5/ses-1/anat/sub-5_ses-1_part-phase_T1w", "8/sub-8_bold"):
        path = data / f"sub-{name}.nii.gz"
        path.parent.mkdir(parents=True) if not path.parent.exists() else None
        path.touch()
    (data / "sub-6" / "anat").mkdir(parents=True)
    (data / "participants.tsv").write_text("participant_id\tage\nsub-01\t4\n7\t5\nsub-4\t6\nsub-9\t7\nn/a\t\n")
    return ignoring(data, "sub-8/", "sub-9")


WITHOUT = {
    "4": "no T1w scan: sub-4 holds only other images (T2w, UNIT1); try `mapping segment` on the UNIT1",
    "5": "no T1w scan: sub-5 holds only other images (T1w)",
    "6": "no T1w scan: sub-6 holds no image",
    "7": "no T1w scan: listed in participants.tsv, but there is no folder sub-7",
}


@pytest.mark.parametrize(
    ("choice", "labels"),
    [
        (Choice(), "4567"),
        (Choice(participants=("sub-4", "01")), "4"),
        (Choice(participants=("7",)), "7"),
        (Choice(participants=("01",)), ""),
        (Choice(shard="1/3"), "47"),
        (Choice(shard="2/3"), "5"),
    ],
)
def test_participants_without_a_scan_are_known_with_the_reason(choice: Choice, labels: str, lacking: Path) -> None:
    assert find_bids_scans(lacking, choice).without == {label: WITHOUT[label] for label in labels}


def test_participants_of_a_centre_without_a_scan_are_known(tmp_path: Path) -> None:
    assert scans_of(tmp_path, "C/sub-1/anat/sub-1_T1w.nii.gz", "C/sub-2/anat/sub-2_T2w.nii.gz", "D/sub-3/sub-3_T2w.nii")
    assert find_bids_scans(tmp_path, Choice()).without == {"2": "no T1w scan: C/sub-2 holds only other images (T2w)"}


@pytest.mark.parametrize(
    ("choice", "gone"),
    [
        (Choice(), ["sub-01_run-2_T1w", "sub-08_ses-2_T1w"]),
        (Choice(participants=("08",)), ["sub-08_ses-2_T1w"]),
        (Choice(sessions=("1",)), []),
        (Choice(shard="2/2"), ["sub-08_ses-2_T1w"]),
    ],
)
def test_results_whose_scan_is_gone_are_known(choice: Choice, gone: list[str], data: Path) -> None:
    """A scan that is only ignored is not gone."""
    names = (*NAMES, "sub-08_ses-2_T1w", "sub-01_run-2_T1w")
    (data / "sub-08" / "anat").mkdir(parents=True)
    (data / "sub-08" / "anat" / "sub-08_T1w.nii.gz").touch()
    assert find_bids_scans(ignoring(data, "sub-03"), choice).gone(names) == gone
