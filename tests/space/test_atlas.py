"""Atlases of the user: volumes by region, and what is refused."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bids_data import write_atlas
from mapping_stroke.errors import CaseError, ImageError
from mapping_stroke.images.image import write_image
from mapping_stroke.space.atlas import ELSEWHERE, Atlas, read_atlas


def test_voxels_count_in_the_region_of_their_centre(tmp_path: Path) -> None:
    atlas = read_atlas(*write_atlas(tmp_path))
    assert atlas.regions == ("left back", "right back", "front", ELSEWHERE)
    points = np.array([[-1.0, -1, 0], [-1, -70, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0], [200, 0, 0]])
    assert atlas.volumes_ml(points, 1000.0) == {"left back": 2, "right back": 1, "front": 2, ELSEWHERE: 1}
    assert set(atlas.volumes_ml(points[:0], 1000.0).values()) == {0}


def test_other_names_of_columns_and_commas_are_understood(tmp_path: Path) -> None:
    image, _ = write_atlas(tmp_path)
    (tmp_path / "atlas.csv").write_text("Region,LABEL\nback,1\nfront,3\n")
    assert read_atlas(image, tmp_path / "atlas.csv").names == {1: "back", 3: "front"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("index\tcolour\n1\tred\n", "has the columns index, colour, expected one of numbers"),
        ("index\tname\none\tback\n", "a row lacks a whole number or a name"),
        ("index\tname\n1\n", "a row lacks a whole number or a name"),
        ("", "has the columns none"),
        ("index\tname\n1\t \n", r"a row lacks a whole number or a name \(number 1\)"),
        ("index\tname\n1\tfront\n1\tback\n", "number 1 has two names, 'front' and 'back'"),
        ("index\tname\n1\telsewhere\n", "a region is named 'elsewhere', as what lies in no region is; rename it"),
        ("index\tname\n9\tfront\n", "none of its numbers occurs in .*atlas.nii.gz; name the table of this atlas"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    image, table = write_atlas(tmp_path)
    table.write_text(text)
    with pytest.raises(CaseError, match=complaint):
        read_atlas(image, table)


def test_an_atlas_that_is_none_is_refused(tmp_path: Path) -> None:
    image, table = write_atlas(tmp_path)
    with pytest.raises(CaseError, match="no such file; name the table"):
        read_atlas(image, tmp_path / "missing.tsv")
    write_image(image, np.full((3, 3, 3), 0.5, np.float32), np.eye(4))
    with pytest.raises(ImageError, match="expected a label atlas"):
        read_atlas(image, table)


def whole_numbers(top: int = 1) -> np.ndarray:
    labels = np.zeros((20, 20, 20), np.float32)
    labels[5:15, 5:15, 5:15] = top
    return labels


CENTRED = np.array([[4.0, 0, 0, -38], [0, 4, 0, -56], [0, 0, 4, -30], [0, 0, 0, 1]])


@pytest.mark.parametrize(
    ("labels", "affine", "complaint"),
    [
        (np.full((3, 3, 3), 0.5, np.float32), CENTRED, "expected a label atlas"),
        (-whole_numbers(), CENTRED, "expected a label atlas"),
        (whole_numbers()[0], CENTRED, "has 2 dimensions .*, expected 3"),
        (np.stack([whole_numbers()] * 2, -1), CENTRED, "has 4 dimensions .*, expected 3"),
        (np.zeros((3, 3, 3), np.float32), CENTRED, "has no labelled voxel"),
        (whole_numbers(2**25), CENTRED, "holds the number 33554432, expected at most 16777215; number its regions"),
        (whole_numbers(), None, "the header does not place the voxels, expected an atlas in MNI152 space"),
        (whole_numbers(), np.diag([4.0, 4, 4, 1]) + 200, "only 0% of its labelled voxels lie in the brain of MNI152"),
    ],
)
def test_images_that_are_no_atlas_in_mni152_space_are_refused(
    tmp_path: Path, labels: np.ndarray, affine: np.ndarray | None, complaint: str
) -> None:
    _, table = write_atlas(tmp_path)
    if affine is not None:
        affine = np.vstack([affine[:3], [0, 0, 0, 1]])
    image = nib.Nifti1Image(labels, affine)
    if affine is None:
        image.header["sform_code"], image.header["qform_code"] = 0, 0
    nib.save(image, tmp_path / "atlas.nii")
    with pytest.raises(ImageError, match=complaint) as refused:
        read_atlas(tmp_path / "atlas.nii", table)
    assert str(refused.value).startswith(str(tmp_path / "atlas.nii"))


def in_a_row(*numbers: int) -> Atlas:
    """Voxels of 1 mm at x = 0, 1, ..., numbered so; 1 and 3 are parts of one region."""
    labels = np.int32(numbers).reshape(-1, 1, 1)
    return Atlas(labels, np.eye(4), {1: "a", 2: "b", 3: "a"}, Path("atlas.nii"), Path("atlas.tsv"), "")


def test_the_largest_part_of_a_lesion_names_its_region_and_the_table_decides_ties() -> None:
    atlas = in_a_row(1, 3, 2, 2, 2, 9, 0)
    points = np.array([[x, 0, 0] for x in (0, 1, 2, 2, 3, 0, 5, 6, 4)], np.float64)
    lesions = np.array([1, 1, 1, 2, 2, 2, 3, 3, 3])
    assert atlas.main_regions(points, lesions) == ("a", "b", ELSEWHERE)
    assert atlas.main_regions(np.array([[0.0, 0, 0], [2, 0, 0]]), np.array([1, 1])) == ("a",)
    assert atlas.main_regions(points[:0], lesions[:0]) == ()


def test_centres_between_two_voxels_do_not_go_by_the_last_bit() -> None:
    atlas = in_a_row(1, 2)
    for noise in (-1e-6, 0, 1e-6):
        assert atlas.volumes_ml(np.array([[0.5 + noise, 0, 0]]), 1000.0) == {"a": 1, "b": 0, ELSEWHERE: 0}


@given(arrays(np.float64, (7, 3), elements=st.floats(-3, 9)))
def test_no_volume_is_lost_or_counted_twice(points: np.ndarray) -> None:
    volumes = in_a_row(1, 2, 0, 3, 9).volumes_ml(points, 1000.0)
    assert list(volumes) == ["a", "b", ELSEWHERE]
    assert sum(volumes.values()) == 7
