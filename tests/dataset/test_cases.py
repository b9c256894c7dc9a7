from dataclasses import replace
from pathlib import Path

import pytest

from cohorts import make_case
from mapping_stroke.dataset.cases import has_sides, labelled_loads, read_cases, write_cases
from mapping_stroke.errors import CaseError

CASES = [make_case("sub-1_ses-1", 7, subject="1", site="R001"), make_case("sub-2", None), make_case("sub-3", 0)]


def test_cases_come_back_as_they_were_written(tmp_path: Path) -> None:
    write_cases(tmp_path / "cases.csv", CASES)
    assert read_cases(tmp_path / "cases.csv") == CASES


def test_the_table_reads_as_documented(tmp_path: Path) -> None:
    write_cases(tmp_path / "cases.csv", CASES[:2])
    assert (tmp_path / "cases.csv").read_text().splitlines() == [
        "case_id,subject,session,site,split,scan,mask,load_vox,load_ml,components,"
        "spacing_x_mm,spacing_y_mm,spacing_z_mm,shape,orientation,left_ml,right_ml",
        "sub-1_ses-1,1,,R001,training,/data/sub-1_ses-1_T1w.nii.gz,/data/sub-1_ses-1_lesion.nii.gz,"
        "7,0.014,1,1.0,1.0,2.0,6x5x4,LAS,,",
        "sub-2,sub-2,,,testing,/data/sub-2_T1w.nii.gz,,,,,1.0,1.0,2.0,6x5x4,LAS,,",
    ]


def test_a_table_of_an_earlier_version_tells_no_sides(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    cases = [replace(CASES[0], left_ml=0.004, right_ml=0.01)]
    write_cases(path, cases)
    assert read_cases(path) == cases
    assert has_sides(path)
    path.write_text("\n".join(line.rsplit(",", 2)[0] for line in path.read_text().splitlines()))
    assert read_cases(path) == CASES[:1]
    assert not has_sides(path)


def test_only_labelled_cases_have_a_load() -> None:
    assert labelled_loads(CASES) == {"sub-1_ses-1": 7, "sub-3": 0}


@pytest.mark.parametrize("case_id", ["", "a/b", "a\\b"])
def test_an_id_that_cannot_name_a_file_is_refused(case_id: str) -> None:
    with pytest.raises(CaseError, match="expected a name without slashes"):
        replace(CASES[0], case_id=case_id)


def test_a_mask_without_its_load_is_refused() -> None:
    with pytest.raises(CaseError, match="sub-1_ses-1: a training case has a mask, a load and a number of lesions"):
        replace(CASES[0], load_vox=None)
    with pytest.raises(CaseError, match="a testing case none of them"):
        replace(CASES[0], split="testing")


def test_a_negative_load_is_refused() -> None:
    with pytest.raises(CaseError, match="load of -1 voxels, expected 0 or more"):
        replace(CASES[0], load_vox=-1)


def test_a_table_without_cases_is_refused(tmp_path: Path) -> None:
    write_cases(tmp_path / "cases.csv", [])
    with pytest.raises(CaseError, match="holds no case"):
        read_cases(tmp_path / "cases.csv")


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="cannot be read"):
        read_cases(tmp_path / "cases.csv")


def test_a_table_without_a_column_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cases.csv").write_text("case_id,subject\na,b\n")
    with pytest.raises(CaseError, match="has no column session, site, split"):
        read_cases(tmp_path / "cases.csv")


@pytest.mark.parametrize(
    ("good", "bad"),
    [(",7,", ",seven,"), ("6x5x4", "6x5"), (",training,", ",trainign,"), (",training,", ",testing,"), ("LAS\n", "\n")],
)
def test_a_damaged_line_is_named(tmp_path: Path, good: str, bad: str) -> None:
    write_cases(tmp_path / "cases.csv", CASES[:1])
    text = (tmp_path / "cases.csv").read_text()
    if bad == "\n":
        text, bad = text.replace(",6x5x4,LAS", ""), "line 2"
    else:
        text = text.replace(good, bad)
    (tmp_path / "cases.csv").write_text(text)
    with pytest.raises(CaseError, match=r"cases\.csv: line 2 is damaged"):
        read_cases(tmp_path / "cases.csv")


def test_an_id_that_comes_twice_is_refused(tmp_path: Path) -> None:
    write_cases(tmp_path / "cases.csv", [CASES[0], CASES[0]])
    with pytest.raises(CaseError, match="case sub-1_ses-1 occurs more than once"):
        read_cases(tmp_path / "cases.csv")
