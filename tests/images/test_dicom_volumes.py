"""DICOM folders as they come from archives and de-identifiers: without series UIDs, sent twice, with other images."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless, SecondaryCaptureImageStorage, generate_uid

from dicom_files import position, told, write_enhanced, write_series
from mapping_stroke.errors import ImageError
from mapping_stroke.images.dicom_choice import choose_series
from mapping_stroke.images.dicom_series import find_series
from mapping_stroke.images.image import Image, read_image

COUNT = 20
VOXELS = np.random.default_rng(0).integers(0, 1200, (10, 12, COUNT)).astype(np.int16)
OTHER = np.random.default_rng(1).integers(0, 1200, (10, 12, COUNT)).astype(np.int16)
PLACED = np.diag([0.9, 1.1, 1.3, 1.0])
CORONAL = PLACED @ np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
UID, STUDY = generate_uid(), generate_uid()
GUESSED = (
    "its DICOM images have no SeriesInstanceUID, or a different one each: those with the same series number and name "
    "count as one series"
)
ONE_LEFT_OUT = "1 image of its DICOM series is left out: of another kind or place than its other slices"
Change = Callable[[int, Dataset], None]


def add(folder: Path, voxels: np.ndarray = VOXELS, affine: np.ndarray = PLACED, **tags: Any) -> list[Path]:
    return write_series(folder, voxels, affine, **{"SeriesInstanceUID": UID, "StudyInstanceUID": STUDY} | tags)


def add_image(folder: Path, copied: Path, name: str = "KEY.dcm", **tags: Any) -> Path:
    """A further image of a series, made of one of its slices."""
    data = pydicom.dcmread(copied)
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.InstanceNumber = 999
    for tag, value in tags.items():
        if value is None:
            del data[tag]
        else:
            setattr(data, tag, value)
    folder.mkdir(exist_ok=True)
    data.save_as(folder / name)
    return folder / name


def require_clean(image: Image, voxels: np.ndarray = VOXELS, affine: np.ndarray = PLACED) -> None:
    np.testing.assert_array_equal(image.voxels, voxels)
    np.testing.assert_allclose(image.affine, affine, atol=1e-6)


def blank(_: int, data: Dataset) -> None:
    data.SeriesInstanceUID = ""


def lacking(_: int, data: Dataset) -> None:
    del data.SeriesInstanceUID


def own(_: int, data: Dataset) -> None:
    data.SeriesInstanceUID = generate_uid()


def all_own(_: int, data: Dataset) -> None:
    data.SeriesInstanceUID, data.StudyInstanceUID = generate_uid(), generate_uid()


@pytest.mark.parametrize("change", [blank, lacking, own, all_own])
@pytest.mark.parametrize("number", [4, None])
def test_slices_without_a_series_uid_or_with_one_each_are_one_series(
    tmp_path: Path, change: Change, number: int | None
) -> None:
    add(tmp_path, change=change, SeriesNumber=number)
    image = read_image(tmp_path)
    require_clean(image)
    assert image.warnings == (GUESSED,)


@pytest.mark.parametrize("change", [blank, own])
def test_series_without_uids_are_told_apart_by_number_and_name(tmp_path: Path, change: Change) -> None:
    add(tmp_path / "t1", change=change)
    add(tmp_path / "t2", OTHER, change=change, SeriesNumber=5, SeriesDescription="t2_flair", ProtocolName="t2_flair")
    for file in (tmp_path / "t2").iterdir():
        file.rename(tmp_path / "t1" / f"other-{file.name}")
    add_image(tmp_path / "t1", next((tmp_path / "t1").glob("other-*")), SeriesNumber=1, SeriesDescription="localizer")
    require_clean(read_image(tmp_path / "t1"))
    require_clean(read_image(tmp_path / "t1", series="5"), OTHER)


def test_series_that_nothing_tells_apart_but_how_they_lie_are_listed(tmp_path: Path) -> None:
    nameless = {"SeriesNumber": None, "SeriesDescription": "", "ProtocolName": "", "SeriesInstanceUID": ""}
    add(tmp_path, **nameless)
    add(tmp_path / "other", OTHER, CORONAL, **nameless)
    with pytest.raises(ImageError, match=r"2 series could be meant, and none is named like a T1w scan: none:1 '' \(20"):
        read_image(tmp_path)
    require_clean(read_image(tmp_path, series="none:1"))


@pytest.mark.parametrize("shift_slices", [0, 0.5, 3.5, COUNT])
def test_two_series_that_nothing_tells_apart_are_not_mixed(tmp_path: Path, shift_slices: float) -> None:
    moved = PLACED.copy()
    moved[2, 3] = shift_slices * 1.3
    add(tmp_path / "a", change=blank)
    add(tmp_path / "b", OTHER, moved, change=blank)
    assert [series.number for series in find_series(tmp_path)] == ["4:1", "4:2"]
    require_clean(read_image(tmp_path, series="4:1"))
    for file in (tmp_path / "b").iterdir():
        file.rename(tmp_path / "a" / f"other-{file.name}")
    with pytest.raises(ImageError, match=r"several have the same number.*each series into a folder of their own"):
        read_image(tmp_path / "a")


def test_an_image_that_was_computed_of_a_series_is_left_out(tmp_path: Path) -> None:
    files = add(tmp_path)
    add_image(tmp_path, files[7], ImageType=["DERIVED", "SECONDARY"])
    image = read_image(tmp_path)
    require_clean(image)
    assert image.warnings == (ONE_LEFT_OUT,)
    assert choose_series(tmp_path).number == "4"


@pytest.mark.parametrize(
    "tags",
    [
        {"ImageType": ["DERIVED", "SECONDARY"], "ImagePositionPatient": told(position(PLACED, 7.5))},
        {"ImageType": ["DERIVED", "SECONDARY"], "ImagePositionPatient": None},
        {"ImagePositionPatient": None, "ImageOrientationPatient": None, "PixelSpacing": None},
        {"ImageOrientationPatient": ["0", "1", "0", "0", "0", "1"]},
        {"SOPClassUID": SecondaryCaptureImageStorage, "ImageOrientationPatient": None},
        {"EchoTime": "9.9"},
    ],
    ids=["between", "nowhere", "capture", "localizer", "lost", "another echo"],
)
@pytest.mark.parametrize("change", [None, blank])
def test_an_image_that_is_no_slice_is_left_out(tmp_path: Path, tags: dict[str, Any], change: Change | None) -> None:
    files = add(tmp_path, change=change)
    add_image(tmp_path, files[7], **tags)
    image = read_image(tmp_path)
    require_clean(image)
    assert ONE_LEFT_OUT in image.warnings


def test_computed_slices_of_a_series_are_a_volume_beside_it(tmp_path: Path) -> None:
    files = add(tmp_path)
    for k, file in enumerate(files[:9]):
        place = told(position(PLACED, 2 * k + 0.5))
        add_image(tmp_path, file, f"Z{k}.dcm", ImageType=["DERIVED", "SECONDARY", "MPR"], ImagePositionPatient=place)
    require_clean(read_image(tmp_path, series="4:1"))
    assert [len(series.slices) for series in find_series(tmp_path)] == [COUNT, 9]


def test_an_echo_that_lacks_a_slice_does_not_spoil_the_other(tmp_path: Path) -> None:
    add(tmp_path / "a", EchoTime="1.6")
    add(tmp_path / "b", OTHER, EchoTime="3.2")[5].unlink()
    require_clean(read_image(tmp_path, series="4:1"))
    with pytest.raises(ImageError, match="1 of 20 slices is missing"):
        read_image(tmp_path, series="4:2")


def test_a_gap_is_not_hidden_by_taking_every_other_slice(tmp_path: Path) -> None:
    def interleave(k: int, data: Dataset) -> None:
        data.AcquisitionNumber = 1 + k % 2

    files = add(tmp_path, change=interleave)
    files[8].unlink()
    with pytest.raises(ImageError, match="1 of 20 slices is missing"):
        read_image(tmp_path)


def test_odd_and_even_slices_are_no_volumes_though_two_images_are_one_too_many(tmp_path: Path) -> None:
    def interleave(k: int, data: Dataset) -> None:
        data.AcquisitionNumber = 1 + k % 2

    for changes in ([interleave], [interleave, blank]):
        files = add(tmp_path, change=lambda k, data, all_=changes: [change(k, data) for change in all_])
        for k in (6, 9):
            add_image(tmp_path, files[k], f"{k}.dcm", PixelData=pydicom.dcmread(files[0]).PixelData)
        with pytest.raises(ImageError, match=r"several different slices at one place|several have the same"):
            read_image(tmp_path)


@pytest.mark.parametrize("folder", ["a", "b"], ids=["beside", "in a folder of their own"])
@pytest.mark.parametrize("count", [COUNT, 6], ids=["all", "some"])
@pytest.mark.parametrize("change", [None, blank, own], ids=["with UID", "blank", "one each"])
def test_images_that_were_sent_twice_are_read_once(
    tmp_path: Path, folder: str, count: int, change: Change | None
) -> None:
    for number, file in enumerate(add(tmp_path / "a", change=change)[:count]):
        data = pydicom.dcmread(file)
        tags = {"InstanceNumber": data.InstanceNumber, "SeriesInstanceUID": data.SeriesInstanceUID}
        add_image(tmp_path / folder, file, f"{number}.dcm", **tags)
    image = read_image(tmp_path)
    require_clean(image)
    copies = f"{count} of its DICOM files are copies of slices in others: one of each is read"
    assert image.warnings == ((copies, GUESSED) if change else (copies,))


@pytest.mark.parametrize("wanted", ["", "4"])
def test_a_series_that_was_sent_again_under_another_uid_is_read_once(tmp_path: Path, wanted: str) -> None:
    add(tmp_path / "a")
    add(tmp_path / "b", SeriesInstanceUID=generate_uid())
    image = read_image(tmp_path, series=wanted)
    require_clean(image)
    assert image.warnings == (f"{COUNT} of its DICOM files are copies of slices in others: one of each is read",)
    shutil.rmtree(tmp_path / "b")
    add(tmp_path / "b", OTHER, SeriesInstanceUID=generate_uid())
    with pytest.raises(ImageError, match="2 series "):
        read_image(tmp_path, series=wanted)


def test_a_copy_in_another_encoding_is_a_copy(tmp_path: Path) -> None:
    def compress(_: int, data: Dataset) -> None:
        data.compress(RLELossless)

    add(tmp_path / "a")
    add(tmp_path / "b", change=compress)
    require_clean(read_image(tmp_path))


def test_a_whole_file_that_was_sent_twice_is_read_once(tmp_path: Path) -> None:
    for name in "ab":
        write_enhanced(tmp_path / name, VOXELS, PLACED, SeriesInstanceUID=UID)
    image = read_image(tmp_path)
    require_clean(image)
    assert image.warnings == ("1 of its DICOM files are copies of slices in others: one of each is read",)


def test_images_of_one_place_that_differ_are_no_copies(tmp_path: Path) -> None:
    add(tmp_path / "a")
    for file in add(tmp_path / "b", OTHER):
        file.rename(tmp_path / "a" / f"other-{file.name}")
    with pytest.raises(ImageError, match=r"several different slices at one place, such as IM0000.dcm, other-IM0000"):
        read_image(tmp_path / "a")


def test_images_without_uids_of_their_own_are_no_copies(tmp_path: Path) -> None:
    for name, voxels, echo in (("a", VOXELS, "1.6"), ("b", OTHER, "3.2")):
        add(tmp_path / name, voxels, EchoTime=echo, change=lambda _, data: setattr(data, "SOPInstanceUID", ""))
    require_clean(read_image(tmp_path, series="4:1"))
    require_clean(read_image(tmp_path, series="4:2"), OTHER)


@pytest.mark.parametrize("renew", [True, False], ids=["new UIDs", "same UIDs"])
def test_a_copy_makes_up_for_a_file_that_was_cut(tmp_path: Path, renew: bool) -> None:
    for file in add(tmp_path / "a"):
        if renew:
            add_image(tmp_path / "b", file, file.name, InstanceNumber=pydicom.dcmread(file).InstanceNumber)
        else:
            (tmp_path / "b").mkdir(exist_ok=True)
            shutil.copy(file, tmp_path / "b")
    cut = tmp_path / "a" / "IM0111.dcm"
    cut.write_bytes(cut.read_bytes()[:-100])
    require_clean(read_image(tmp_path))


@pytest.mark.parametrize("kept_bytes", [0, 200, 400, 800])
def test_a_file_that_was_cut_in_its_header_is_told(tmp_path: Path, kept_bytes: int) -> None:
    files = add(tmp_path)
    for file, refused in ((files[5], True), (files[-1], False)):
        content = file.read_bytes()
        file.write_bytes(content[:kept_bytes])
        damaged = rf"1 DICOM file next to its slices is damaged \({file.name}\): check whether slices are missing"
        if refused:
            with pytest.raises(ImageError, match=rf"1 of 20 slices is missing, .*; {damaged}"):
                read_image(tmp_path)
        else:
            assert read_image(tmp_path).warnings == (damaged.replace("\\", ""),)
        file.write_bytes(content)
