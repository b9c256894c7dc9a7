"""The files of a challenge: which scans, their grids by the header alone, results on exactly these grids."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name its users know

from mapping_stroke.cohort.challenge import ChallengeFolders, NiftiGrid, find_weights, read_grid, write_on_grid
from mapping_stroke.errors import BundleError, CaseError, ImageError
from mapping_stroke.images.image import read_image, write_image
from small_models import write_model, write_trained_run

SHAPE = (15, 16, 17)
OBLIQUE = np.array([[0.0, -0.9, 0.2, 11.0], [1.1, 0.0, 0.0, -20.0], [0.0, 0.3, 1.4, 7.0], [0, 0, 0, 1]])


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape, np.float32)


def write_mha(path: Path, *, more_axes: tuple[int, ...] = ()) -> Path:
    image = sitk.GetImageFromArray(noise(*more_axes, *SHAPE[::-1]), isVector=False)
    if not more_axes:
        image.SetSpacing((0.9, 1.1, 1.4))
        image.SetOrigin((3.25, -20.5, 7.125))
        image.SetDirection((0, 1, 0, 0, 0, 1, 1, 0, 0))
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path


def write_nifti(path: Path) -> Path:
    write_image(path, noise(*SHAPE), OBLIQUE)
    return path


def test_scans_are_the_files_of_the_two_formats(tmp_path: Path) -> None:
    for name in ("b.nii.gz", "a.mha", "C.MHA", "d.tif", "e.nii", "notes.txt", ".f.mha"):
        (tmp_path / name).touch()
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "g.mha").touch()
    found = ChallengeFolders(tmp_path, tmp_path / "out").find_scans()
    assert [scan.name for scan in found] == ["C.MHA", "a.mha", "b.nii.gz"]


def test_no_scan_is_an_error_that_tells_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="missing: no such folder, expected scans in it"):
        ChallengeFolders(tmp_path / "missing", tmp_path).find_scans()
    with pytest.raises(CaseError, match=r"holds nothing, expected scans \(.mha or .nii.gz\)"):
        ChallengeFolders(tmp_path, tmp_path).find_scans()
    (tmp_path / "scan.tif").touch()
    with pytest.raises(CaseError, match=r"holds scan.tif, expected scans"):
        ChallengeFolders(tmp_path, tmp_path).find_scans()


def test_an_mha_result_repeats_the_numbers_of_its_scan(tmp_path: Path) -> None:
    scan, target = write_mha(tmp_path / "scan.mha"), tmp_path / "out" / "scan.mha"
    voxels = (255 * noise(*SHAPE)).astype(np.uint8)
    write_on_grid(target, voxels, read_grid(scan))
    given, written = sitk.ReadImage(str(scan)), sitk.ReadImage(str(target))
    assert written.GetPixelIDTypeAsString() == "8-bit unsigned integer"
    for part in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(written, part)() == getattr(given, part)()
    assert b"CompressedData = True" in target.read_bytes()
    np.testing.assert_array_equal(read_image(target).voxels, voxels)
    assert [file.name for file in target.parent.iterdir()] == ["scan.mha"]


def test_a_nifti_result_repeats_the_header_of_its_scan(tmp_path: Path) -> None:
    scan, target = write_nifti(tmp_path / "scan.nii.gz"), tmp_path / "out.nii.gz"
    voxels = noise(*SHAPE)
    write_on_grid(target, voxels, read_grid(scan))
    given, written = nib.load(scan), nib.load(target)
    assert written.get_data_dtype() == np.float32
    for field in ("sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "pixdim"):
        np.testing.assert_array_equal(written.header[field], given.header[field])
    np.testing.assert_array_equal(np.asarray(written.dataobj), voxels)


@pytest.mark.parametrize("write", [write_mha, write_nifti])
def test_a_scan_that_was_cut_off_still_has_its_grid(write, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    scan = write(tmp_path / ("scan.mha" if write is write_mha else "scan.nii.gz"))
    whole = read_grid(scan)
    content = scan.read_bytes()
    scan.write_bytes(content[: -len(content) // 8])
    with pytest.raises(ImageError):
        read_image(scan)
    assert read_grid(scan).shape == whole.shape == SHAPE


def test_a_nifti_scan_that_was_unpacked_under_its_name_has_its_grid(tmp_path: Path) -> None:
    scan = write_nifti(tmp_path / "scan.nii.gz")
    packed = read_grid(scan)
    scan.write_bytes(gzip.decompress(scan.read_bytes()))
    unpacked = read_grid(scan)
    assert isinstance(packed, NiftiGrid)
    assert isinstance(unpacked, NiftiGrid)
    assert unpacked.shape == packed.shape == SHAPE
    np.testing.assert_equal(unpacked.placement.fields, packed.placement.fields)


def test_axes_behind_the_third_are_no_part_of_the_grid(tmp_path: Path) -> None:
    grid = read_grid(write_mha(tmp_path / "scan.mha", more_axes=(2,)))
    assert grid.shape == SHAPE
    write_on_grid(tmp_path / "mask.mha", np.zeros(SHAPE, np.uint8), grid)
    assert read_image(tmp_path / "mask.mha").shape == SHAPE


@pytest.mark.parametrize("name", ["scan.mha", "scan.nii.gz"])
def test_without_a_header_there_is_no_grid(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"no image at all" * 100)
    with pytest.raises(ImageError, match=r"its header cannot be read \(.*\); export the scan again"):
        read_grid(tmp_path / name)


def test_a_flat_image_has_no_grid(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((4, 4), np.float32)), str(tmp_path / "flat.mha"))
    with pytest.raises(ImageError, match="its header cannot be read"):
        read_grid(tmp_path / "flat.mha")


def test_a_header_of_more_voxels_than_memory_has_no_grid(tmp_path: Path) -> None:
    scan = write_mha(tmp_path / "scan.mha")
    scan.write_bytes(scan.read_bytes().replace(b"DimSize = 15 16 17", b"DimSize = 50000 60000 70000"))
    with pytest.raises(ImageError, match="50000 x 60000 x 70000 voxels, expected a volume"):
        read_grid(scan)


def test_where_nothing_was_uploaded_there_are_no_weights(tmp_path: Path) -> None:
    assert find_weights(tmp_path / "missing") is None
    (tmp_path / ".hidden").touch()
    assert find_weights(tmp_path) is None


@pytest.mark.parametrize("place", ["any.mapping", "unpacked/any.mapping", "unpacked"])
def test_an_uploaded_model_is_found_in_the_folder_or_one_below(place: str, tmp_path: Path) -> None:
    bundle = write_model(tmp_path / place)
    (tmp_path / "README.md").touch()
    assert find_weights(tmp_path) == bundle.path


def test_the_folder_itself_may_be_the_model_or_a_run(tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    assert find_weights(tmp_path / "model") == tmp_path / "model"
    write_trained_run(tmp_path / "run")
    assert find_weights(tmp_path / "run") == tmp_path / "run"


def test_two_uploaded_models_are_refused(tmp_path: Path) -> None:
    write_model(tmp_path / "a.mapping")
    write_model(tmp_path / "b.mapping")
    with pytest.raises(BundleError, match=r"holds several models \(a.mapping, b.mapping\), expected one"):
        find_weights(tmp_path)
