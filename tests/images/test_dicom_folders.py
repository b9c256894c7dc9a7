"""Folders with links: they are followed without end or repetition, and what is not here is told."""

import os
from pathlib import Path

import numpy as np
import pytest

from dicom_files import write_series
from mapping_stroke.errors import ImageError, LostContentError
from mapping_stroke.images.dicom_choice import choose_series
from mapping_stroke.images.dicom_series import dicom_files, lost_files
from mapping_stroke.images.formats import stored_files
from mapping_stroke.images.image import read_image

VOXELS = np.random.default_rng(0).integers(0, 1200, (10, 12, 9)).astype(np.int16)
PLACED = np.diag([0.9, 1.1, 1.3, 1.0])


@pytest.fixture
def person(tmp_path: Path) -> Path:
    """A folder that is named like a person, with a series."""
    write_series(tmp_path / "pacs" / "Person_Name_1950", VOXELS, PLACED)
    return tmp_path / "pacs" / "Person_Name_1950"


def link(place: Path, target: Path | str) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)
    return place


def test_links_to_folders_and_to_files_are_followed(person: Path, tmp_path: Path) -> None:
    link(tmp_path / "study" / "sub-001", person)
    link(tmp_path / "inner" / "sub-001" / "scan", person)
    for file in person.iterdir():
        link(tmp_path / "files" / file.name, file)
    for place in ("study/sub-001", "inner/sub-001", "inner", "files"):
        image = read_image(tmp_path / place)
        np.testing.assert_array_equal(image.voxels, VOXELS)
        assert image.warnings == ()
        assert not any("Person" in str(file) for file in stored_files(choose_series(tmp_path / place)))


def test_links_in_circles_end_and_no_file_is_read_twice(person: Path) -> None:
    link(person / "again", person)
    link(person / "above", person.parent)
    link(person / "itself", "itself")
    (person / "below").mkdir()
    link(person / "below" / "up", "..")
    link(person / "below" / "twin.dcm", next(person.glob("*.dcm")))
    os.link(next(person.glob("*.dcm")), person / "hard.dcm")
    assert len(list(dicom_files(person))) == 9
    assert read_image(person).warnings == ()


def test_a_link_does_not_lead_to_the_folders_around(person: Path) -> None:
    write_series(person.parent / "other", VOXELS + 1, PLACED)
    link(person / "up", person.parent)
    np.testing.assert_array_equal(read_image(person).voxels, VOXELS)


def test_folders_are_known_by_their_own_path(person: Path) -> None:
    write_series(person / "b", VOXELS + 1, PLACED)
    link(person / "a", person / "b")
    assert {file.parent for file in dicom_files(person)} == {person, person / "b"}


@pytest.mark.parametrize(
    ("name", "is_lost"),
    [
        *(("IM0.dcm", True), ("I10", True), ("1.2.840.7", True), ("MR.0001", True), ("a.IMA", True)),
        *(("README", False), ("sub-01_T1w.json", False), ("T1.nii.gz", False), (".hidden1", False)),
    ],
)
def test_links_that_lead_nowhere_are_lost_where_they_are_named_like_dicom(
    name: str, *, is_lost: bool, tmp_path: Path
) -> None:
    place = link(tmp_path / "p0" / name, "../.git/annex/objects/k0")
    assert lost_files(tmp_path) == ([place] if is_lost else [])


def test_a_series_whose_content_was_dropped_is_refused_with_the_remedy(tmp_path: Path) -> None:
    for index in range(3):
        link(tmp_path / f"IM{index}.dcm", f"../.git/annex/objects/k{index}")
    with pytest.raises(LostContentError) as refusal:
        read_image(tmp_path)
    assert str(refusal.value) == (
        f"{tmp_path}: holds no readable DICOM image; 3 links in it lead to files that are not here "
        "(IM0.dcm): if this is a DataLad data set, run `datalad get` on it, or delete the broken links"
    )


def test_a_series_of_which_some_content_was_dropped_is_no_shorter_one(tmp_path: Path) -> None:
    files = write_series(tmp_path / "t1", VOXELS, PLACED)
    for file in files[6:]:
        file.unlink()
        link(file, "../.git/annex/objects/k0")
    with pytest.raises(LostContentError, match=r"may be incomplete; 3 links in it lead .*`datalad get`"):
        read_image(tmp_path)


def test_content_that_was_dropped_elsewhere_does_not_matter_to_a_t1w_scan(tmp_path: Path) -> None:
    write_series(tmp_path / "t1", VOXELS, PLACED)
    link(tmp_path / "t2" / "IM0.dcm", "../.git/annex/objects/k0")
    np.testing.assert_array_equal(read_image(tmp_path).voxels, VOXELS)


def test_another_series_is_not_taken_for_a_t1w_scan_whose_content_may_have_been_dropped(tmp_path: Path) -> None:
    write_series(tmp_path / "a", VOXELS, PLACED, SeriesDescription="flair", ProtocolName="flair", SeriesNumber=2)
    np.testing.assert_array_equal(read_image(tmp_path).voxels, VOXELS)
    link(tmp_path / "b" / "IM0.dcm", "../.git/annex/objects/k0")
    with pytest.raises(ImageError, match="`datalad get`"):
        read_image(tmp_path)
    np.testing.assert_array_equal(read_image(tmp_path, series="2").voxels, VOXELS)
