"""An image in memory is read as its file is: the same voxels, at the same place, with the same warnings."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name its users know
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mapping_stroke.images.image import Image, orientation_names, read_image
from mapping_stroke.images.in_memory import read_given

SHAPE = (3, 4, 5)
CODES = [(0, 0), (0, 1), (1, 0), (1, 2), (2, 1)]
KINDS = [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64]


def affine_of(axes: str, tilt: float) -> np.ndarray:
    ras, ours = (nib.orientations.axcodes2ornt(codes) for codes in ("RAS", axes))
    turn = nib.orientations.inv_ornt_aff(nib.orientations.ornt_transform(ras, ours), SHAPE)
    tilted = nib.affines.from_matvec(nib.eulerangles.euler2mat(tilt, tilt / 2) @ np.diag([1, 1.25, 2]), [3, -4, 5])
    return np.asarray(tilted @ turn)


def voxels_of(kind: type) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, SHAPE).astype(kind)


def require_same(one: Image | Path, other: Image) -> None:
    assert isinstance(one, Image)
    np.testing.assert_array_equal(one.voxels, other.voxels)
    np.testing.assert_array_equal(one.affine, other.affine)
    assert one.warnings == other.warnings
    assert (one.placement is None) == (other.placement is None)
    if one.placement and other.placement:
        np.testing.assert_array_equal(one.placement.pixdim, other.placement.pixdim)
        for name, value in one.placement.fields.items():
            np.testing.assert_array_equal(value, other.placement.fields[name])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    axes=st.sampled_from(orientation_names()),
    tilt=st.floats(-0.3, 0.3),
    codes=st.sampled_from(CODES),
    kind=st.sampled_from(KINDS),
    version=st.sampled_from([nib.Nifti1Image, nib.Nifti2Image]),
)
def test_a_nifti_image_is_placed_as_its_file(
    tmp_path: Path, axes: str, tilt: float, codes: tuple[int, int], kind: type, version: Any
) -> None:
    affine = affine_of(axes, tilt)
    image = version(voxels_of(kind), affine, dtype=kind)
    image.set_qform(affine, code=codes[0])
    image.set_sform(affine, code=codes[1])
    nib.save(image, tmp_path / "scan.nii")
    of_file = read_image(tmp_path / "scan.nii")
    require_same(read_given(image), of_file)
    require_same(read_given(nib.load(tmp_path / "scan.nii")), of_file)


def test_an_affine_that_was_changed_since_counts_as_it_would_in_the_file(tmp_path: Path) -> None:
    image = nib.Nifti1Image(voxels_of(np.int16), np.eye(4))
    moved = nib.Nifti1Image(image.dataobj, affine_of("LPS", 0.1), image.header)
    moved.header.set_sform(np.eye(4), code=1)  # the image does not know, and overrides it
    read = read_given(moved)
    np.testing.assert_array_equal(moved.header.get_sform(), np.eye(4))  # only saving may correct it
    require_same(read, read_image(_saved(moved, tmp_path)))


def _saved(image: Any, folder: Path) -> Path:
    nib.save(image, folder / "saved.nii")
    return folder / "saved.nii"


def test_numbers_that_a_file_would_round_stay_as_they_are(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.linspace(0, 1, 60, dtype=np.float32).reshape(SHAPE), np.eye(4))
    image.header.set_data_dtype(np.uint8)
    read = read_given(image)
    assert isinstance(read, Image)
    np.testing.assert_array_equal(read.voxels, image.dataobj)
    np.testing.assert_allclose(read_image(_saved(image, tmp_path)).voxels, read.voxels, atol=0.51 / 255)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tilt", [0.0, 0.2])
def test_an_itk_image_is_placed_as_its_file(tmp_path: Path, kind: type, tilt: float) -> None:
    image = sitk.GetImageFromArray(voxels_of(kind).T)
    image.SetDirection((nib.eulerangles.euler2mat(tilt) @ np.diag([1, -1, -1])).ravel())
    image.SetSpacing((1, 1.5, 2))
    image.SetOrigin((10, 20, -30))
    sitk.WriteImage(image, tmp_path / "scan.nrrd")
    of_file, read = read_image(tmp_path / "scan.nrrd"), read_given(image)
    assert isinstance(read, Image)
    np.testing.assert_array_equal(read.voxels, of_file.voxels)
    np.testing.assert_allclose(read.affine, of_file.affine, atol=1e-12)
    assert read.voxels.flags.c_contiguous


def test_paths_and_our_own_images_pass_through(tmp_path: Path) -> None:
    own = Image(voxels_of(np.float32), np.eye(4))
    assert read_given(own) is own
    assert read_given(str(tmp_path)) == read_given(tmp_path) == tmp_path
