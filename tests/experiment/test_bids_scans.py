"""Which scans of a BIDS data set are meant."""

from pathlib import Path

import pytest

from bids_data import NAMES, SCANS
from mapping_stroke.errors import CaseError, ConfigError
from mapping_stroke.experiment.bids_scans import Choice, find_bids_scans


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
    found = find_bids_scans(data, Choice())
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
    assert tuple(find_bids_scans(data, choice)) == expected


def test_shares_hold_every_scan_once(data: Path) -> None:
    for count in range(1, 7):
        shares = [find_bids_scans(data, Choice(shard=f"{number}/{count}")) for number in range(1, count + 1)]
        assert sorted(name for share in shares for name in share) == sorted(NAMES)


@pytest.mark.parametrize(
    ("choice", "complaint"),
    [
        (Choice(participants=("9", "sub-01")), r"no participant 9 with a T1w scan \(there are 01, 02, 03\)"),
        (Choice(sessions=("baseline",)), r"no session baseline with a T1w scan \(there are 1, 2\)"),
        (Choice(participants=("01",), sessions=("1",)), r"no session 1 with a T1w scan \(there are none\)"),
    ],
)
def test_unknown_labels_are_refused_with_the_known_ones(data: Path, choice: Choice, complaint: str) -> None:
    with pytest.raises(CaseError, match=complaint):
        find_bids_scans(data, choice)


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "1/0", "a/b", "1/2/3", "-1/2"])
def test_a_share_that_is_none_is_refused(shard: str) -> None:
    with pytest.raises(ConfigError, match="expected i/N with 1 <= i <= N"):
        Choice(shard=shard)


def test_a_folder_without_scans_and_scans_of_one_name_are_refused(data: Path) -> None:
    with pytest.raises(CaseError, match="no such folder"):
        find_bids_scans(data / "missing", Choice())
    (data / "empty").mkdir()
    with pytest.raises(CaseError, match="holds no scan named sub-LABEL"):
        find_bids_scans(data / "empty", Choice())
    (data / "sub-01" / "anat" / "sub-01_desc-brain_T1w.nii.gz").touch()
    with pytest.raises(CaseError, match="is named like it but for capitals or what was made of it; move one"):
        find_bids_scans(data, Choice())


def test_scans_whose_names_differ_in_capitals_alone_are_refused(data: Path) -> None:
    other = data / "sub-02" / "ses-2" / "anat" / "sub-02_ses-2_acq-MPRAGE_run-1_T1w.nii"
    other.touch()
    with pytest.raises(CaseError, match=r"acq-mprage_run-1_T1w\.nii.*acq-MPRAGE.* is named like it but for capitals"):
        find_bids_scans(data, Choice())
