"""DICOM folders that are read: voxels, places, what is left out, and what is refused."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 - the name its users know
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless, generate_uid
from scipy.spatial.transform import Rotation

from dicom_files import LPS, PERSON, position, told, write_enhanced, write_series
from mapping_stroke.errors import ImageError
from mapping_stroke.images.dicom_series import find_series
from mapping_stroke.images.formats import find_source, stored_files
from mapping_stroke.images.image import read_image, require_same_grid, write_image

VOXELS = np.random.default_rng(0).integers(-50, 1200, (10, 12, 9)).astype(np.int16)


def placed(*degrees: float, edges: tuple[float, float, float] = (0.9, 1.1, 1.3)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() @ np.diag(edges)
    affine[:3, 3] = -31.5, 22.25, 5.0
    return affine


OBLIQUE = placed(10, -20, 35)
FLIPPED = OBLIQUE @ np.diag([1, 1, -1, 1.0])
SAGITTAL = placed(90, 0, 90)


def itk_affine(files: list[Path]) -> np.ndarray:
    """Where SimpleITK places the same series."""
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(files[0].parent)))
    image = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return LPS @ affine


@pytest.mark.parametrize("affine", [OBLIQUE, SAGITTAL, placed(180, 0, 0)], ids=["oblique", "sagittal", "turned"])
def test_a_series_is_read_where_the_volume_lay_that_it_was_made_of(tmp_path: Path, affine: np.ndarray) -> None:
    files = write_series(tmp_path / "dicom", VOXELS, affine)
    image = read_image(tmp_path / "dicom")
    np.testing.assert_array_equal(image.voxels, VOXELS)
    np.testing.assert_allclose(image.affine, affine, atol=1e-6)
    np.testing.assert_allclose(image.affine, itk_affine(files), atol=1e-6)
    assert image.warnings == ()
    write_image(tmp_path / "same.nii.gz", VOXELS.astype(np.float32), affine)
    require_same_grid(image, read_image(tmp_path / "same.nii.gz"), ("a", "b"), "-")


def test_slices_are_ordered_along_their_normal(tmp_path: Path) -> None:
    """A left-handed grid comes back as the right-handed one: the same voxels at the same places."""
    write_series(tmp_path, VOXELS, FLIPPED)
    image = read_image(tmp_path)
    np.testing.assert_array_equal(image.voxels, VOXELS[:, :, ::-1])
    np.testing.assert_allclose(image.affine[:3, 3], (FLIPPED @ [0, 0, 8, 1])[:3], atol=1e-6)


def test_each_slice_has_its_own_scaling(tmp_path: Path) -> None:
    def scale(k: int, data: Dataset) -> None:
        data.RescaleSlope, data.RescaleIntercept = str(1 + k / 4), str(-k)

    write_series(tmp_path, VOXELS, OBLIQUE, change=scale)
    k = np.arange(9)
    np.testing.assert_allclose(read_image(tmp_path).voxels, VOXELS * (1 + k / 4) - k, rtol=1e-6)


def compress_by_itk(name: str, data: Dataset, scratch: Path) -> None:
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(scratch))
    writer.SetImageIO("GDCMImageIO")
    writer.UseCompressionOn()
    writer.SetCompressor(name)
    writer.Execute(sitk.GetImageFromArray(data.pixel_array[np.newaxis]))
    packed = pydicom.dcmread(scratch)
    data.PixelData, data.file_meta.TransferSyntaxUID = packed.PixelData, packed.file_meta.TransferSyntaxUID
    data["PixelData"].is_undefined_length = True


@pytest.mark.parametrize(
    ("name", "syntax"),
    [("", RLELossless), ("", JPEGLSLossless), ("JPEG", JPEGLosslessSV1), ("JPEG2000", JPEG2000Lossless)],
    ids=["RLE", "JPEG-LS", "JPEG", "JPEG 2000"],
)
def test_compressed_slices_are_read(tmp_path: Path, name: str, syntax: str) -> None:
    def compress(_: int, data: Dataset) -> None:
        if name:
            compress_by_itk(name, data, tmp_path / ".scratch.dcm")
        else:
            data.compress(syntax, generate_instance_uid=False)

    write_series(tmp_path, np.abs(VOXELS), OBLIQUE, change=compress, suffix="")
    assert pydicom.dcmread(next(tmp_path.glob("IM*"))).file_meta.TransferSyntaxUID == syntax
    np.testing.assert_array_equal(read_image(tmp_path).voxels, np.abs(VOXELS))


@pytest.mark.parametrize("order", [range(9), [3, 1, 8, 0, 2, 7, 5, 6, 4]], ids=["in order", "mixed"])
def test_frames_of_one_file_are_placed_one_by_one(tmp_path: Path, order: Any) -> None:
    path = write_enhanced(tmp_path / "enhanced", VOXELS, OBLIQUE, order)
    for place in (tmp_path, path):
        image = read_image(place)
        np.testing.assert_array_equal(image.voxels, VOXELS)
        np.testing.assert_allclose(image.affine, OBLIQUE, atol=1e-6)


def test_frames_are_scaled_alike_or_refused(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "alike" / "a", VOXELS, OBLIQUE, scaling=[(2.0, 5.0)] * 9)
    np.testing.assert_array_equal(read_image(tmp_path / "alike").voxels, 2.0 * VOXELS + 5)
    write_enhanced(tmp_path / "apart" / "a", VOXELS, OBLIQUE, scaling=[(1.0 + k, 5.0) for k in range(9)])
    with pytest.raises(ImageError, match=r"its frames have different rescale slopes.*dcm2niix"):
        read_image(tmp_path / "apart")


def test_other_files_beside_and_folders_between_do_not_matter(tmp_path: Path) -> None:
    files = write_series(tmp_path / "disc" / "DICOM" / "A", VOXELS, OBLIQUE, suffix="")
    (tmp_path / "disc" / "DICOM" / "B").mkdir()
    for file in files[::2]:
        shutil.move(file, tmp_path / "disc" / "DICOM" / "B" / file.name)
    (tmp_path / "disc" / "readme.txt").write_text("of the burning program")
    (tmp_path / "disc" / "damaged.dcm").write_bytes(bytes(128) + b"DICM" + b"nonsense" * 9)
    (tmp_path / "disc" / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "disc" / ".hidden").write_bytes(files[1].read_bytes())
    np.testing.assert_array_equal(read_image(tmp_path / "disc").voxels, VOXELS)


def test_a_file_without_the_magic_is_read_by_its_name(tmp_path: Path) -> None:
    for file in write_series(tmp_path, VOXELS, OBLIQUE, suffix=".ima"):
        file.write_bytes(file.read_bytes()[132:])
    np.testing.assert_array_equal(read_image(tmp_path).voxels, VOXELS)


def test_a_number_that_is_none_is_no_number(tmp_path: Path) -> None:
    def spoil(_: int, data: Dataset) -> None:
        data.SeriesNumber = "1234"

    for file in write_series(tmp_path, VOXELS, OBLIQUE, change=spoil):
        file.write_bytes(file.read_bytes().replace(b"1234", b"anon"))
    assert find_series(tmp_path)[0].facts.number is None
    np.testing.assert_array_equal(read_image(tmp_path).voxels, VOXELS)


def test_frames_without_places_are_no_volume(tmp_path: Path) -> None:
    def multiply(_: int, data: Dataset) -> None:
        data.NumberOfFrames = 2**31 - 1

    write_series(tmp_path, VOXELS[:, :, :1], OBLIQUE, change=multiply)
    with pytest.raises(ImageError, match="several different slices at one place"):
        read_image(tmp_path)


def test_copies_are_read_once_and_told(tmp_path: Path) -> None:
    files = write_series(tmp_path / "a", VOXELS, OBLIQUE)
    for file in files[:4]:
        shutil.copy(file, tmp_path / f"copy of {file.name}")
    image = read_image(tmp_path)
    np.testing.assert_array_equal(image.voxels, VOXELS)
    assert image.warnings == ("4 of its DICOM files are copies of slices in others: one of each is read",)


def test_the_same_files_under_other_names_come_in_the_same_order(tmp_path: Path) -> None:
    files = write_series(tmp_path / "a", VOXELS, OBLIQUE)
    (tmp_path / "b").mkdir()
    for number, file in enumerate(files):
        shutil.copy(file, tmp_path / "b" / f"{number}")
    contents = [[path.read_bytes() for path in stored_files(find_source(tmp_path / name))] for name in "ab"]
    assert contents[0] == contents[1]
    assert len(contents[0]) == 9


def leave_out(*numbers: int) -> Any:
    def remove(folder: Path, files: list[Path]) -> None:
        for number in numbers:
            files[number].unlink()

    return remove


def change(**tags: Any) -> Any:
    """Change tags of the fifth slice."""

    def apply(folder: Path, files: list[Path]) -> None:
        data = pydicom.dcmread(files[4])
        for name, value in tags.items():
            if value is None:
                del data[name]
            else:
                setattr(data, name, value)
        data.save_as(files[4])

    return apply


def aside(k: int) -> np.ndarray:
    """Where a slice would lie that is moved along its rows."""
    return np.asarray((LPS @ OBLIQUE @ [30, 0, k, 1])[:3])


def write_over(tag: str, text: bytes) -> Any:
    """Replace what a value of the fifth slice begins with, whatever the standard allows."""

    def apply(folder: Path, files: list[Path]) -> None:
        value = "\\".join(map(str, pydicom.dcmread(files[4])[tag].value)).encode()
        content = files[4].read_bytes()
        assert content.count(value) == 1
        files[4].write_bytes(content.replace(value, text + value[len(text) :]))

    return apply


def stretch(folder: Path, files: list[Path]) -> None:
    """Move the upper slices apart, ever more."""
    for k, file in enumerate(files):
        data = pydicom.dcmread(file)
        data.ImagePositionPatient = told(position(OBLIQUE, k + 0.1 * max(k - 3, 0) * max(k - 4, 0)))
        data.save_as(file)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            leave_out(4),
            r"1 of 9 slices is missing, between IM0111.dcm and IM0185.dcm; export the complete series again",
        ),
        (leave_out(2, 3, 6), r"3 of 9 slices are missing, in 2 gaps, the first between IM0037.dcm and IM0148.dcm"),
        (
            change(ImagePositionPatient=told(position(OBLIQUE, 4.4))),
            r"IM0148.dcm lies off the even steps of its other",
        ),
        (
            change(ImagePositionPatient=told(position(OBLIQUE, 500))),
            r"IM0148.dcm lies off the even steps of its other",
        ),
        (change(ImagePositionPatient=["0", "0", "1e9"]), r"IM0148.dcm lies off the even steps of its other"),
        (
            change(ImagePositionPatient=told(aside(4))),
            r"IM0148.dcm lies beside the line of its other 8 slices: the position",
        ),
        (change(ImagePositionPatient=None), r"1 of its 9 slices \(IM0148.dcm\) does not state its place"),
        (write_over("ImagePositionPatient", b"left"), r"1 of its 9 slices \(IM0148.dcm\) does not state its place"),
        (write_over("ImagePositionPatient", b"nan\\"), r"\(IM0148.dcm\) does not state its place"),
        (
            change(SOPInstanceUID="1.2.3", ImagePositionPatient=told(position(OBLIQUE, 3))),
            r"several different slices at one place, such as IM0111.dcm, IM0148.dcm: a header has",
        ),
        (stretch, r"lie 1.3 to 2.34 mm apart, expected an even spacing"),
    ],
    ids=["gap", "gaps", "between", "far", "farther", "aside", "nowhere", "text", "nan", "twice", "uneven"],
)
def test_slices_that_make_no_even_stack_are_refused(tmp_path: Path, spoil: Any, message: str) -> None:
    spoil(tmp_path, write_series(tmp_path, VOXELS, OBLIQUE))
    with pytest.raises(ImageError, match=message) as refusal:
        read_image(tmp_path)
    assert "\n" not in str(refusal.value)
    assert str(refusal.value).startswith(str(tmp_path))
    assert not any(str(value) in str(refusal.value) for value in PERSON.values())


def test_positions_rounded_as_headers_round_them_make_an_even_stack(tmp_path: Path) -> None:
    def shorten(k: int, data: Dataset) -> None:
        data.ImagePositionPatient = [f"{number:.2f}" for number in position(OBLIQUE, k)]
        data.ImageOrientationPatient = [f"{float(number):.4f}" for number in data.ImageOrientationPatient]

    write_series(tmp_path, VOXELS, OBLIQUE, change=shorten)
    np.testing.assert_allclose(read_image(tmp_path).affine, OBLIQUE, atol=0.006)


def test_a_tilted_gantry_is_refused(tmp_path: Path) -> None:
    def tilt(k: int, data: Dataset) -> None:
        data.ImagePositionPatient = told(position(OBLIQUE, k) + 0.3 * k * LPS[:3, :3] @ OBLIQUE[:3, 1])

    write_series(tmp_path, VOXELS, OBLIQUE, change=tilt)
    with pytest.raises(ImageError, match=r"displaced sideways by up to 2.6 mm .tilted gantry.*orthogonal grid"):
        read_image(tmp_path)


def test_a_file_that_is_cut_is_named(tmp_path: Path) -> None:
    files = write_series(tmp_path, VOXELS, OBLIQUE)
    files[4].write_bytes(files[4].read_bytes()[:-100])
    with pytest.raises(ImageError, match=rf"{files[4].name}: its pixels cannot be read"):
        read_image(tmp_path)


def test_a_single_slice_is_no_volume(tmp_path: Path) -> None:
    files = write_series(tmp_path, VOXELS, OBLIQUE)
    with pytest.raises(ImageError, match=r"series 4 't1_mprage_sag' \(1 slice\) is a single slice.*pass the folder"):
        read_image(files[0])


def test_volumes_of_one_series_are_told_apart(tmp_path: Path) -> None:
    uid = generate_uid()
    for number, echo in enumerate(("1.64", "3.5"), 1):
        write_series(tmp_path / str(number), VOXELS + number, OBLIQUE, SeriesInstanceUID=uid, EchoTime=echo)
    write_series(tmp_path / "localizer", VOXELS, SAGITTAL, SeriesInstanceUID=uid)
    titles = [series.title for series in find_series(tmp_path)]
    assert titles == [
        "4:1 't1_mprage_sag' (9 slices of 0.9 x 1.1 x 1.3 mm, echo time 1.64)",
        "4:2 't1_mprage_sag' (9 slices of 0.9 x 1.1 x 1.3 mm, echo time 3.5)",
        "4:3 't1_mprage_sag' (9 slices of 0.9 x 1.1 x 1.3 mm)",
    ]
    with pytest.raises(ImageError, match="3 series look like a T1w scan: 4:1 't1_mprage_sag'"):
        read_image(tmp_path)
    np.testing.assert_array_equal(read_image(tmp_path, series="4:2").voxels, VOXELS + 2)
