from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from cohorts import AFFINE, SHAPE, mask_voxels, scan_voxels, truncate, write_any, write_mask, write_scan
from mapping_stroke.dataset.cases import Case, FoundCase
from mapping_stroke.dataset.checks import (
    Problem,
    check_case,
    check_cases,
    check_names,
    problem_from,
    read_problems,
    write_problems,
)
from mapping_stroke.errors import CaseError


@pytest.fixture
def found(tmp_path: Path) -> FoundCase:
    """A case of which all is well."""
    scan, mask = write_scan(tmp_path / "a_T1w.nii.gz"), write_mask(tmp_path / "a_lesion.nii.gz", 3)
    return FoundCase("a", "a", "1", "R001", scan, mask)


def mask_of(found: FoundCase) -> Path:
    assert found.mask is not None
    return found.mask


def the_problem(found: FoundCase) -> Problem:
    (problem,) = check_case(found).problems
    return problem


def test_a_good_case_is_measured(found: FoundCase) -> None:
    checked = check_case(found)
    assert checked.problems == ()
    assert checked.case == Case(
        case_id="a",
        subject="a",
        session="1",
        site="R001",
        split="training",
        scan=found.scan,
        mask=found.mask,
        load_vox=3,
        load_ml=0.006,
        components=1,
        spacing_mm=(1.0, 1.0, 2.0),
        shape=SHAPE,
        orientation="LAS",
    )


def test_components_are_face_connected(found: FoundCase) -> None:
    mask = np.zeros(SHAPE, np.float32)
    mask[0, 0, 0] = mask[1, 1, 0] = mask[1, 1, 1] = 1
    write_any(mask_of(found), mask)
    case = check_case(found).case
    assert case is not None
    assert (case.load_vox, case.components) == (3, 2)


def test_an_unlabelled_scan_has_no_load(found: FoundCase) -> None:
    case = check_case(replace(found, mask=None)).case
    assert case is not None
    assert (case.split, case.mask, case.load_vox, case.load_ml, case.components) == ("testing", None, None, None, None)


@pytest.mark.parametrize("which", ["scan", "mask"])
def test_a_truncated_file_is_an_error(found: FoundCase, which: str) -> None:
    path = found.scan if which == "scan" else mask_of(found)
    truncate(path)
    problem = the_problem(found)
    assert check_case(found).case is None
    assert (problem.severity, problem.file) == ("error", path)
    assert problem.found.startswith("cannot be read")
    assert problem.remedy == "copy or download the file again"


def test_a_file_that_is_no_image_is_an_error(found: FoundCase) -> None:
    found.scan.write_text("not an image")
    assert the_problem(found).found.startswith("cannot be read")


def test_a_broken_link_is_an_error(found: FoundCase, tmp_path: Path) -> None:
    (tmp_path / "b_T1w.nii.gz").symlink_to(tmp_path / "gone.nii.gz")
    assert the_problem(replace(found, scan=tmp_path / "b_T1w.nii.gz")).found == "is a link to a file that is not here"


@pytest.mark.parametrize("which", ["scan", "mask"])
def test_a_4d_file_is_an_error(found: FoundCase, which: str) -> None:
    write_any(found.scan if which == "scan" else mask_of(found), np.ones((*SHAPE, 2), np.float32))
    problem = the_problem(found)
    assert (problem.found, problem.expected) == ("has 4 dimensions (shape 6x5x4x2)", "3")


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("which", ["scan", "mask"])
def test_nan_or_infinity_is_an_error(found: FoundCase, which: str, value: float) -> None:
    voxels = scan_voxels()
    voxels[1, 2, 2] = value
    write_any(found.scan if which == "scan" else mask_of(found), voxels)
    problem = the_problem(found)
    assert (problem.found, problem.expected) == ("holds 1 NaN or infinite voxels", "numbers")


def test_nan_around_a_mask_is_a_warning(found: FoundCase) -> None:
    voxels = mask_voxels(3)
    voxels[:, -1] = np.nan
    write_any(mask_of(found), voxels)
    problem, case = the_problem(found), check_case(found).case
    assert (problem.severity, problem.file) == ("warning", mask_of(found))
    assert problem.found == "NaN outside the field of view (20.0% of the voxels) is read as 0"
    assert case is not None
    assert case.load_vox == 3


@pytest.mark.parametrize("value", [0, 7])
def test_a_scan_of_one_value_is_an_error(found: FoundCase, value: int) -> None:
    write_any(found.scan, np.full(SHAPE, value, np.float32))
    problem = the_problem(replace(found, mask=None))
    assert (problem.severity, problem.found, problem.expected) == ("error", f"all voxels are {value}", "a brain")


def test_a_mask_in_the_place_of_a_scan_is_an_error(found: FoundCase) -> None:
    voxels = np.zeros(SHAPE, np.float32)
    voxels[1:3] = 7
    write_any(found.scan, voxels)
    assert the_problem(replace(found, mask=None)).found == "all non-zero voxels are 7"


def test_a_header_that_contradicts_itself_is_a_warning(found: FoundCase) -> None:
    image = nib.load(found.scan)
    image.header["qoffset_x"] += 9
    nib.Nifti1Image(np.asarray(image.dataobj), None, image.header).to_filename(found.scan)
    problem = the_problem(found)
    assert (problem.severity, problem.file) == ("warning", found.scan)
    assert problem.found == "the header's sform and qform place voxels up to 9.0 mm apart; the sform is used"


def test_a_mask_of_another_shape_is_an_error(found: FoundCase) -> None:
    write_any(mask_of(found), mask_voxels(3, (6, 5, 5)))
    problem = the_problem(found)
    assert problem.line == (
        "a: the mask has shape (6, 5, 5), its scan has (6, 5, 4); "
        f"resample the mask onto the scan with nearest neighbour ({found.mask})"
    )


def test_a_mask_elsewhere_is_an_error(found: FoundCase) -> None:
    moved = AFFINE.copy()
    moved[0, 3] = 4
    write_mask(mask_of(found), affine=moved)
    assert the_problem(found).found == "the mask lies up to 4.0 mm away from its scan (affines differ)"


@pytest.mark.parametrize(
    ("values", "told"),
    [((1, 2), "0, 1, 2"), ((1, 2, 3, 4, 5), "0, 1, 2, 3, 4, ..."), ((0.3, 1), "0, 0.3, 1"), ((-1,), "0, -1")],
)
def test_a_mask_of_several_values_is_an_error(found: FoundCase, values: tuple[float, ...], told: str) -> None:
    mask = np.zeros(SHAPE, np.float32)
    mask.ravel()[: len(values)] = values
    write_any(mask_of(found), mask)
    problem = the_problem(found)
    assert (problem.severity, problem.found) == ("error", f"the mask is not binary ({told})")
    assert (problem.expected, problem.remedy) == ("0 and 1", "save the lesion as 1 and everything else as 0")


@pytest.mark.parametrize(("value", "told"), [(0.9999, "0.9999"), (255, "255")])
def test_a_mask_of_0_and_another_value_is_read_with_a_warning(found: FoundCase, value: float, told: str) -> None:
    write_any(mask_of(found), mask_voxels(4) * np.float32(value))
    checked = check_case(found)
    assert checked.case is not None
    assert checked.case.load_vox == 4
    assert [(problem.severity, problem.found) for problem in checked.problems] == [
        ("warning", f"the mask holds 0 and {told}")
    ]


def test_an_empty_mask_is_a_warning_and_a_load_of_0(found: FoundCase) -> None:
    write_mask(mask_of(found), 0)
    checked = check_case(found)
    assert checked.case is not None
    assert (checked.case.split, checked.case.load_vox, checked.case.components) == ("training", 0, 0)
    assert [(problem.severity, problem.found) for problem in checked.problems] == [("warning", "the mask is empty")]


def test_a_mask_of_most_of_the_brain_is_a_warning(found: FoundCase) -> None:
    write_mask(mask_of(found), 90)
    problem = the_problem(found)
    assert problem.severity == "warning"
    assert problem.found == "the mask covers 75% of the scan's non-zero voxels"


def test_an_id_that_cannot_name_a_file_is_an_error(found: FoundCase) -> None:
    assert the_problem(replace(found, case_id="a\\b")).found.startswith("case id 'a\\\\b'")


def test_all_problems_of_a_case_are_told_at_once(found: FoundCase) -> None:
    write_any(found.scan, np.zeros(SHAPE, np.float32))
    write_any(mask_of(found), np.arange(30, dtype=np.float32).reshape(2, 3, 5))
    told = [problem.found.split(" (")[0] for problem in check_case(found).problems]
    assert told == ["all voxels are 0", "the mask is not binary", "the mask has shape"]


def test_results_come_in_the_order_of_the_cases(found: FoundCase) -> None:
    cases = [replace(found, case_id=f"c{number}") for number in range(20)]
    assert [checked.case.case_id for checked in check_cases(cases) if checked.case] == [case.case_id for case in cases]


def test_checking_can_be_left_halfway(found: FoundCase) -> None:
    checks = check_cases([found] * 50)
    assert next(checks).case is not None
    checks.close()


def test_an_id_that_two_scans_have_is_an_error(found: FoundCase) -> None:
    (problem,) = check_names([found, replace(found, scan=Path("/b_T1w.nii"), mask=None)])
    assert (problem.severity, problem.case_id) == ("error", "a")
    assert problem.found == "2 scans have this id, ignoring case (also /b_T1w.nii)"


def test_ids_that_differ_in_capitals_alone_are_an_error_for_both(found: FoundCase) -> None:
    problems = check_names([found, replace(found, case_id="A", scan=Path("/A_T1w.nii"), mask=None)])
    assert [(problem.severity, problem.case_id) for problem in problems] == [("error", "a"), ("error", "A")]
    assert problems[0].found == "2 scans have this id, ignoring case (also /A_T1w.nii)"
    assert problems[1].file == Path("/A_T1w.nii")


def test_a_mask_that_two_scans_share_is_an_error_for_both(found: FoundCase) -> None:
    problems = check_names([found, replace(found, case_id="b", scan=Path("/b_T1w.nii"))])
    assert [problem.case_id for problem in problems] == ["a", "b"]
    assert problems[0].found == "another scan has the same mask (b_T1w.nii)"


def test_names_that_are_well_give_no_problem(found: FoundCase) -> None:
    assert check_names([found, replace(found, case_id="b", mask=None)]) == []
    assert check_names([]) == []


def test_problems_come_back_as_they_were_written(tmp_path: Path) -> None:
    problems = [
        Problem("error", "a", Path("/a.nii"), "has 4 dimensions", "3", "extract one"),
        Problem("warning", "", Path("/b,c.nii"), 'a "mask"', "", "rename it"),
    ]
    write_problems(tmp_path / "problems.csv", problems)
    assert read_problems(tmp_path / "problems.csv") == problems


def test_a_problem_reads_as_one_line() -> None:
    error = CaseError("/a.nii: has 4 dimensions, expected 3; extract one volume")
    problem = problem_from(error, "a", Path("/a.nii"))
    assert problem.line == "a: has 4 dimensions, expected 3; extract one volume (/a.nii)"
    assert Problem("warning", "", Path("/m.nii"), "a mask", "", "look").line == "a mask; look (/m.nii)"
