"""Where a NIfTI header places its voxels: the rule, its warnings, and that results say what the scan's header said."""

import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name its users know

from mapping_stroke.errors import ImageError
from mapping_stroke.images.image import Image, read_image, write_image
from mapping_stroke.images.nifti import FIELDS

VOXELS = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
HERE = np.array([[-2.0, 0, 0, 10], [0, 1.5, 0, -5], [0, 0, 1, 7], [0, 0, 0, 1]])
ELSEWHERE = HERE + np.array([[0, 0, 0, 30], [0] * 4, [0] * 4, [0] * 4])
MIRRORED = np.diag([-1.0, 1.0, 1.0, 1.0]) @ HERE
TURNED = np.array([[0.0, -2.0, 0.0, 30.0], [1.2, 0.0, 0.9, -40.0], [-0.9, 0.0, 1.2, 5.0], [0.0, 0.0, 0.0, 1.0]])
SHEARED = np.array([[1.0, 0.3, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


def write(path: Path, sform: np.ndarray | None, qform: np.ndarray | None, codes: tuple[int, int] = (1, 1)) -> Path:
    """A NIfTI file with these placements; None for a code of 0."""
    image = nib.Nifti1Image(VOXELS, None)
    image.header.set_sform(sform, code=codes[0] if sform is not None else 0)
    image.header.set_qform(qform, code=codes[1] if qform is not None else 0)
    image.to_filename(path)
    return path


def fields(path: Path) -> dict[str, object]:
    header = nib.load(path).header
    return {name: header[name].tolist() for name in FIELDS} | {"pixdim": header["pixdim"][:4].tolist()}


@pytest.mark.parametrize("codes", [(1, 1), (2, 1), (4, 3)])
def test_the_sform_counts_where_there_is_one(tmp_path: Path, codes: tuple[int, int]) -> None:
    image = read_image(write(tmp_path / "scan.nii", HERE, ELSEWHERE, codes))
    np.testing.assert_allclose(image.affine, HERE, atol=1e-6)
    assert image.warnings == ("the header's sform and qform place voxels up to 30.0 mm apart; the sform is used",)


def test_the_qform_counts_where_the_sform_has_no_code(tmp_path: Path) -> None:
    image = read_image(write(tmp_path / "scan.nii", None, TURNED))
    np.testing.assert_allclose(image.affine, TURNED, atol=1e-5)
    assert image.warnings == ()


def test_two_placements_that_agree_to_a_tenth_of_a_voxel_are_one(tmp_path: Path) -> None:
    near, far = HERE.copy(), HERE.copy()
    near[0, 3] += 0.09
    far[0, 3] += 0.11
    assert read_image(write(tmp_path / "near.nii", HERE, near)).warnings == ()
    assert len(read_image(write(tmp_path / "far.nii", HERE, far)).warnings) == 1


def test_a_conflict_about_left_and_right_is_told(tmp_path: Path) -> None:
    (told,) = read_image(write(tmp_path / "scan.nii", HERE, MIRRORED)).warnings
    assert "disagree on left and right; the sform is used" in told


def set_pixdim(path: Path, *pixdim: float, codes: tuple[int, int] | None = None) -> Path:
    """Other edges of a voxel in a NIfTI-1 header, and other codes of its qform and sform."""
    header = bytearray(path.read_bytes())
    struct.pack_into("<fff", header, 80, *pixdim)
    if codes:
        struct.pack_into("<hh", header, 252, *codes)
    path.write_bytes(header)
    return path


@pytest.mark.parametrize("qform", [None, HERE])
@pytest.mark.parametrize(
    ("pixdim", "told"),
    [
        ((1, 1, 1), "1 x 1 x 1"),
        ((0, 0, 0), "0 x 0 x 0"),
        ((2, 1.5, 0), "2 x 1.5 x 0"),
        ((2, 1.5, float("nan")), "2 x 1.5 x nan"),
        ((-2.2, 1.5, 1), "-2.2 x 1.5 x 1"),
        ((2, 1.55, 1), "2 x 1.55 x 1"),
    ],
)
def test_edges_of_a_voxel_that_contradict_the_sform_are_told(
    tmp_path: Path, qform: np.ndarray | None, pixdim: tuple[float, float, float], told: str
) -> None:
    path = set_pixdim(write(tmp_path / "scan.nii", HERE, qform), *pixdim)
    image = read_image(path)
    assert image.voxel_volume_mm3 == pytest.approx(3)
    assert image.warnings[0] == (
        f"the header gives voxels of {told} mm (pixdim) and of 2 x 1.5 x 1 mm (sform); the sform is used"
    )


@pytest.mark.parametrize("pixdim", [(2.000001, 1.4999999, 1.0), (2.01, 1.49, 1.005), (-2.0, 1.5, 1.0)])
def test_rounded_edges_and_their_sign_are_no_contradiction(tmp_path: Path, pixdim: tuple[float, float, float]) -> None:
    assert read_image(set_pixdim(write(tmp_path / "scan.nii", HERE, None), *pixdim)).warnings == ()


@pytest.mark.parametrize("qform", [None, HERE])
@pytest.mark.parametrize("pixdim", [(0, 0, 0), (2, 0, 1), (float("nan"), 1, 1)])
def test_a_scan_whose_header_gives_no_size_is_refused(
    tmp_path: Path, qform: np.ndarray | None, pixdim: tuple[float, float, float]
) -> None:
    """NIfTI's reader would take 1 mm for 0."""
    path = set_pixdim(write(tmp_path / "scan.nii", None, qform), *pixdim)
    with pytest.raises(
        ImageError, match=r"scan.nii: the header gives voxels of .* mm \(pixdim\) and no sform, expected"
    ):
        read_image(path)


@pytest.mark.parametrize("qform", [None, HERE])
def test_negative_edges_count_as_lengths_and_are_told(tmp_path: Path, qform: np.ndarray | None) -> None:
    image = read_image(set_pixdim(write(tmp_path / "scan.nii", None, qform), -2, 1.5, -1))
    assert image.spacing_mm == pytest.approx((2, 1.5, 1))
    assert image.warnings[0] == "the header gives voxels of -2 x 1.5 x -1 mm (pixdim); 2 x 1.5 x 1 mm is assumed"


def test_placements_with_voxels_of_two_sizes_are_told_with_both(tmp_path: Path) -> None:
    other = HERE @ np.diag([0.5, 1, 1, 1])
    assert read_image(write(tmp_path / "scan.nii", other, HERE)).warnings == (
        "the header gives voxels of 2 x 1.5 x 1 mm (pixdim) and of 1 x 1.5 x 1 mm (sform); the sform is used",
        "the header's sform and qform place voxels up to 1.0 mm apart; the sform is used",
    )


def test_a_sheared_sform_that_keeps_the_edges_contradicts_no_size(tmp_path: Path) -> None:
    image = nib.Nifti1Image(VOXELS, SHEARED)
    image.to_filename(tmp_path / "scan.nii")
    assert read_image(tmp_path / "scan.nii").warnings == ()


def test_an_old_header_with_good_edges_and_no_placement_is_told_of_the_axes_alone(tmp_path: Path) -> None:
    image = read_image(set_pixdim(write(tmp_path / "scan.nii", None, None), 0.9, 0.9, 1.2))
    assert image.spacing_mm == pytest.approx((0.9, 0.9, 1.2))
    assert len(image.warnings) == 1


def test_a_result_has_edges_although_its_scan_had_none(tmp_path: Path) -> None:
    """Programs refuse edges of 0, and some measure volumes by them."""
    image = read_image(set_pixdim(write(tmp_path / "scan.nii", HERE, HERE), 0, 0, 0))
    write_image(tmp_path / "mask.nii", image.voxels > 5, image)
    assert nib.load(tmp_path / "mask.nii").header["pixdim"][:4].tolist() == [-1, 2, 1.5, 1]
    assert read_image(tmp_path / "mask.nii").warnings == ()


def test_a_header_without_placement_is_guessed_as_nibabel_guesses(tmp_path: Path) -> None:
    image = read_image(write(tmp_path / "scan.nii", None, None))
    assert image.orientation == "LAS"
    assert image.spacing_mm == (1, 1, 1)
    assert image.warnings == (
        "the header does not place the voxels: the axes are assumed to point left, anterior and superior, so left and "
        "right are a guess",
    )


def break_qform(path: Path) -> Path:
    header = bytearray(path.read_bytes())
    struct.pack_into("<fff", header, 256, 0.9, 0.9, 0.9)
    path.write_bytes(header)
    return path


def test_a_damaged_qform_does_no_harm_beside_an_sform(tmp_path: Path) -> None:
    image = read_image(break_qform(write(tmp_path / "scan.nii", HERE, HERE)))
    np.testing.assert_allclose(image.affine, HERE, atol=1e-6)
    (told,) = image.warnings
    assert told.startswith("the header's qform is damaged (w2 should be positive")
    assert told.endswith("; the sform is used")


def test_a_damaged_qform_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"scan.nii: cannot be read \(w2 should be positive"):
        read_image(break_qform(write(tmp_path / "scan.nii", None, HERE)))


@pytest.mark.parametrize(
    ("sform", "qform"),
    [(HERE, HERE), (HERE, ELSEWHERE), (HERE, MIRRORED), (HERE, None), (None, TURNED), (None, None), (SHEARED, HERE)],
)
def test_a_result_repeats_the_placement_of_its_scan(
    tmp_path: Path, sform: np.ndarray | None, qform: np.ndarray | None
) -> None:
    """So that every program lays the two over one another, whichever placement it reads."""
    scan = write(tmp_path / "scan.nii", sform, qform, (3, 2))
    image = read_image(scan)
    write_image(tmp_path / "mask.nii.gz", image.voxels > 5, image)
    assert fields(tmp_path / "mask.nii.gz") == fields(scan)
    again = read_image(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(again.affine, image.affine)
    assert again.warnings == image.warnings


def test_a_result_of_another_format_is_placed_by_sform_and_qform_alike(tmp_path: Path) -> None:
    nib.save(nib.MGHImage(VOXELS, TURNED), tmp_path / "scan.mgz")
    image = read_image(tmp_path / "scan.mgz")
    write_image(tmp_path / "mask.nii", image.voxels > 5, image)
    header = nib.load(tmp_path / "mask.nii").header
    np.testing.assert_allclose(header.get_sform(), image.affine, atol=1e-4)
    np.testing.assert_allclose(header.get_qform(), image.affine, atol=1e-4)
    itk = sitk.ReadImage(str(tmp_path / "mask.nii")).TransformIndexToPhysicalPoint((1, 2, 3))
    np.testing.assert_allclose(np.array(itk) * [-1, -1, 1], (image.affine @ [1, 2, 3, 1])[:3], atol=1e-4)


def test_what_no_qform_can_say_is_left_to_the_sform(tmp_path: Path) -> None:
    write_image(tmp_path / "mask.nii", VOXELS, Image(VOXELS, SHEARED))
    header = nib.load(tmp_path / "mask.nii").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (2, 0)
    again = read_image(tmp_path / "mask.nii")
    np.testing.assert_allclose(again.affine, SHEARED, atol=1e-6)
    assert again.warnings == ()


def test_nifti_2_is_read_by_the_same_rule(tmp_path: Path) -> None:
    image = nib.Nifti2Image(VOXELS, None)
    image.header.set_sform(HERE, code=1)
    image.header.set_qform(ELSEWHERE, code=1)
    image.to_filename(tmp_path / "scan.nii.gz")
    scan = read_image(tmp_path / "scan.nii.gz")
    np.testing.assert_allclose(scan.affine, HERE)
    assert len(scan.warnings) == 1
    write_image(tmp_path / "mask.nii.gz", VOXELS, scan)
    np.testing.assert_allclose(nib.load(tmp_path / "mask.nii.gz").header.get_qform(), ELSEWHERE)
