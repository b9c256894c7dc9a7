"""Reading, checking and writing images."""

import gzip
import struct
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name its users know
from hypothesis import given
from hypothesis.strategies import floats, sampled_from, tuples
from scipy.spatial.transform import Rotation

from mapping_stroke.errors import GeometryError, ImageError
from mapping_stroke.images.formats import image_suffix
from mapping_stroke.images.image import (
    Image,
    image_stem,
    orientation_names,
    read_image,
    reorient,
    require_same_grid,
    restore_axes,
    write_image,
)

OBLIQUE = np.array([[0.0, -2.0, 0.0, 30.0], [1.2, 0.0, 0.9, -40.0], [-0.9, 0.0, 1.2, 5.0], [0.0, 0.0, 0.0, 1.0]])
"""Axes swapped, turned and flipped, spacing 1.5 x 2 x 1.5 mm."""
VOXELS = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)


def sitk_image(voxels: np.ndarray, affine: np.ndarray) -> sitk.Image:
    """An ITK image whose voxels lie at the same points as with this RAS affine."""
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image = sitk.GetImageFromArray(voxels.T)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_what_is_written_is_read_back(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "new" / f"scan{suffix}"
    write_image(path, VOXELS, OBLIQUE)
    image = read_image(path)
    np.testing.assert_array_equal(image.voxels, VOXELS)
    np.testing.assert_allclose(image.affine, OBLIQUE, atol=1e-5)
    assert image.voxels.dtype == np.float32


@pytest.mark.parametrize("suffix", [".mha", ".mhd", ".nrrd"])
def test_an_itk_file_places_its_voxels_at_the_same_points(tmp_path: Path, suffix: str) -> None:
    image = sitk_image(VOXELS, OBLIQUE)
    sitk.WriteImage(image, str(tmp_path / f"scan{suffix}"))
    read = read_image(tmp_path / f"scan{suffix}")
    np.testing.assert_array_equal(read.voxels, VOXELS)
    x_lps, y_lps, z_lps = image.TransformIndexToPhysicalPoint((1, 2, 3))
    np.testing.assert_allclose(read.affine @ [1, 2, 3, 1], [-x_lps, -y_lps, z_lps, 1], atol=1e-5)
    np.testing.assert_allclose(read.affine, OBLIQUE, atol=1e-5)


def test_nibabel_and_itk_agree_on_the_same_nifti(tmp_path: Path) -> None:
    write_image(tmp_path / "scan.nii.gz", VOXELS, OBLIQUE)
    sitk.WriteImage(sitk.ReadImage(str(tmp_path / "scan.nii.gz")), str(tmp_path / "scan.nrrd"))
    np.testing.assert_allclose(
        read_image(tmp_path / "scan.nrrd").affine, read_image(tmp_path / "scan.nii.gz").affine, atol=1e-5
    )


def test_a_freesurfer_volume_is_read(tmp_path: Path) -> None:
    nib.save(nib.MGHImage(VOXELS, OBLIQUE), tmp_path / "scan.mgz")
    image = read_image(tmp_path / "scan.mgz")
    np.testing.assert_array_equal(image.voxels, VOXELS)
    np.testing.assert_allclose(image.affine, OBLIQUE, atol=1e-4)


def test_spacing_volume_and_orientation_come_from_the_affine() -> None:
    image = Image(VOXELS, OBLIQUE)
    assert image.shape == (2, 3, 4)
    assert image.spacing_mm == pytest.approx((1.5, 2.0, 1.5))
    assert image.voxel_volume_mm3 == pytest.approx(4.5)
    assert Image(VOXELS, np.eye(4)).orientation == "RAS"
    assert Image(VOXELS, np.diag([-1.0, 1.0, 1.0, 1.0])).orientation == "LAS"


def test_a_mask_is_stored_as_bytes_0_and_1(tmp_path: Path) -> None:
    write_image(tmp_path / "mask.nii.gz", VOXELS > 20, np.eye(4))
    stored = nib.load(tmp_path / "mask.nii.gz")
    assert stored.get_data_dtype() == np.uint8
    assert np.asarray(stored.dataobj).sum() == 3
    assert stored.header.get_xyzt_units()[0] == "mm"
    assert (stored.header["sform_code"], stored.header["qform_code"]) == (2, 2)


def test_the_header_scales_the_intensities(tmp_path: Path) -> None:
    image = nib.Nifti1Image(VOXELS.astype(np.int16), np.eye(4))
    image.header.set_slope_inter(0.5, -3)
    nib.save(image, tmp_path / "scan.nii")
    stored = nib.load(tmp_path / "scan.nii")
    np.testing.assert_allclose(read_image(tmp_path / "scan.nii").voxels, stored.get_fdata(), atol=1e-6)
    raw = np.asarray(stored.dataobj.get_unscaled())
    np.testing.assert_allclose(read_image(tmp_path / "scan.nii").voxels, raw * 0.5 - 3, atol=1e-6)


def test_big_endian_files_are_read(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(VOXELS, np.eye(4), header=nib.Nifti1Header(endianness=">")), tmp_path / "scan.nii")
    np.testing.assert_array_equal(read_image(tmp_path / "scan.nii").voxels, VOXELS)


def test_a_fourth_axis_of_length_one_is_dropped(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(VOXELS[..., None], np.eye(4)), tmp_path / "scan.nii.gz")
    assert read_image(tmp_path / "scan.nii.gz").shape == (2, 3, 4)


def test_a_series_of_volumes_is_refused(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((2, 3, 4, 5), np.float32), np.eye(4)), tmp_path / "bold.nii.gz")
    with pytest.raises(ImageError, match=r"bold.nii.gz: has 4 dimensions \(shape 2x3x4x5\), expected 3; extract one"):
        read_image(tmp_path / "bold.nii.gz")


def test_a_single_slice_is_refused(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 4), np.float32)), str(tmp_path / "slice.mha"))
    with pytest.raises(ImageError, match="has 2 dimensions"):
        read_image(tmp_path / "slice.mha")


@pytest.mark.parametrize("kept", [0.0, 0.05, 0.5, 0.99])
def test_a_truncated_file_is_refused_in_one_line(tmp_path: Path, kept: float) -> None:
    noise = np.random.default_rng(0).random((16, 16, 16), np.float32)
    write_image(tmp_path / "scan.nii.gz", noise, np.eye(4))
    whole = (tmp_path / "scan.nii.gz").read_bytes()
    (tmp_path / "scan.nii.gz").write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(ImageError, match=r"scan.nii.gz: cannot be read \(.+\); copy or download") as refusal:
        read_image(tmp_path / "scan.nii.gz")
    assert "\n" not in str(refusal.value)


def test_a_file_that_is_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scan.nii.gz").write_bytes(gzip.compress(b"not an image" * 100))
    (tmp_path / "scan.nrrd").write_text("not an image")
    for name in ("scan.nii.gz", "scan.nrrd"):
        with pytest.raises(ImageError, match="cannot be read"):
            read_image(tmp_path / name)


def test_a_name_that_is_no_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"scan.dcm: not an image file name; expected one of .nii"):
        read_image(tmp_path / "scan.dcm")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"scan.nii: no such file"):
        read_image(str(tmp_path / "scan.nii"))
    (tmp_path / "dropped.nii").symlink_to(tmp_path / "scan.nii")
    with pytest.raises(ImageError, match=r"dropped.nii: is a link to a file that is not here; .* `datalad get`"):
        read_image(tmp_path / "dropped.nii")


@pytest.mark.parametrize("suffix", [".nii.gz", ".mgz"])
def test_a_packed_file_is_checked_to_its_end(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"scan{suffix}"
    (nib.Nifti1Image if suffix == ".nii.gz" else nib.MGHImage)(VOXELS, np.eye(4)).to_filename(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(ImageError, match="cannot be read"):
        read_image(path)
    path.write_bytes(whole[:-8] + b"\0" * 4 + whole[-4:])
    with pytest.raises(ImageError, match="cannot be read"):
        read_image(path)
    path.write_bytes(whole)
    np.testing.assert_array_equal(read_image(path).voxels, VOXELS)


@pytest.mark.parametrize(
    ("voxels", "what"),
    [
        (VOXELS.astype(np.complex64), "complex numbers"),
        (np.zeros(VOXELS.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")]), "colours"),
    ],
)
def test_voxels_that_are_no_real_numbers_are_refused(tmp_path: Path, voxels: np.ndarray, what: str) -> None:
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "scan.nii.gz")
    with pytest.raises(ImageError, match=f"scan.nii.gz: holds {what}, expected one real number per voxel"):
        read_image(tmp_path / "scan.nii.gz")


def test_an_image_in_memory_holds_numbers_alone() -> None:
    with pytest.raises(ImageError, match="holds 1 NaN or infinite voxels"):
        Image(np.where(VOXELS == 3, np.nan, VOXELS), np.eye(4))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers_are_counted(tmp_path: Path, bad: float) -> None:
    voxels = np.ones((4, 4, 4), np.float32)
    voxels[1, 1, 1:3] = bad
    write_image(tmp_path / "scan.nii.gz", voxels, np.eye(4))
    with pytest.raises(ImageError, match="holds 2 NaN or infinite voxels"):
        read_image(tmp_path / "scan.nii.gz")


def test_nan_beyond_the_field_of_view_is_read_as_0_and_told(tmp_path: Path) -> None:
    voxels = np.ones((4, 4, 5), np.float32)
    voxels[0], voxels[1:3, 1, 0] = np.nan, np.nan
    write_image(tmp_path / "scan.nii.gz", voxels, OBLIQUE)
    image = read_image(tmp_path / "scan.nii.gz")
    np.testing.assert_array_equal(image.voxels, np.nan_to_num(voxels))
    assert image.warnings == ("NaN outside the field of view (27.5% of the voxels) is read as 0",)


@pytest.mark.parametrize(("bad", "told_vox"), [(np.nan, 17), (np.inf, 1)])
def test_nan_around_excuses_nothing_within(tmp_path: Path, bad: float, told_vox: int) -> None:
    voxels = np.ones((4, 4, 4), np.float32)
    voxels[0], voxels[2, 2, 2] = np.nan, bad
    write_image(tmp_path / "scan.nii.gz", voxels, OBLIQUE)
    with pytest.raises(ImageError, match=f"holds {told_vox} NaN or infinite voxels"):
        read_image(tmp_path / "scan.nii.gz")


def test_a_file_of_nothing_but_nan_is_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "scan.nii.gz", np.full_like(VOXELS, np.nan), OBLIQUE)
    with pytest.raises(ImageError, match="holds 24 NaN or infinite voxels"):
        read_image(tmp_path / "scan.nii.gz")


def test_an_image_has_three_axes_and_voxels_with_a_size() -> None:
    with pytest.raises(ImageError, match="the affine is singular"):
        Image(VOXELS, np.diag([1.0, 1.0, 0.0, 1.0]))


def test_a_file_with_a_singular_affine_is_refused(tmp_path: Path) -> None:
    image = nib.Nifti1Image(VOXELS, np.eye(4))
    image.set_sform(np.diag([1.0, 1.0, 0.0, 1.0]), code=2)
    nib.save(image, tmp_path / "scan.nii")
    with pytest.raises(ImageError, match=r"scan.nii: the affine is singular"):
        read_image(tmp_path / "scan.nii")


def test_a_failure_while_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "scan.nii.gz", VOXELS, np.eye(4))

    def half_save(_: object, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(nib, "save", half_save)
    with pytest.raises(OSError, match="disk full"):
        write_image(tmp_path / "scan.nii.gz", VOXELS * 2, np.eye(4))
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["scan.nii.gz"]
    np.testing.assert_array_equal(read_image(tmp_path / "scan.nii.gz").voxels, VOXELS)


def test_names_are_split_at_the_image_suffix() -> None:
    assert (image_suffix(Path("a.b_T1w.NII.GZ")), image_stem(Path("a.b_T1w.NII.GZ"))) == (".nii.gz", "a.b_T1w")
    assert (image_suffix(Path("a.txt")), image_stem(Path("a.txt"))) == (None, "a")


def test_one_grid_is_required_to_a_tenth_of_a_voxel() -> None:
    names, remedy = ("case 12: mask", "its scan"), "resample the mask"
    scan = Image(VOXELS, np.diag([2.0, 2.0, 2.0, 1.0]))
    near, far = scan.affine.copy(), scan.affine.copy()
    near[0, 3], far[0, 3] = 0.15, 5.0
    require_same_grid(Image(VOXELS, near), scan, names, remedy)
    with pytest.raises(GeometryError, match=r"mask lies up to 5.0 mm away from its scan \(affines differ\); resample"):
        require_same_grid(Image(VOXELS, far), scan, names, remedy)
    with pytest.raises(GeometryError, match=r"mask has shape \(2, 3, 3\), its scan has \(2, 3, 4\); resample the mask"):
        require_same_grid(Image(VOXELS[..., 1:].copy(), scan.affine), scan, names, remedy)


def test_a_flipped_grid_is_another_grid() -> None:
    flipped = np.diag([-1.0, 1.0, 1.0, 1.0])
    flipped[0, 3] = 1.0
    with pytest.raises(GeometryError, match=r"up to 1.0 mm"):
        require_same_grid(Image(VOXELS, flipped), Image(VOXELS, np.eye(4)), ("mask", "scan"), "resample")


def test_an_affine_of_nan_is_refused() -> None:
    with pytest.raises(ImageError, match="the affine is singular"):
        Image(VOXELS, np.full((4, 4), np.nan))


def test_a_volume_of_several_channels_is_refused(tmp_path: Path) -> None:
    sitk.WriteImage(
        sitk.GetImageFromArray(np.zeros((4, 4, 4, 3), np.float32), isVector=True), str(tmp_path / "rgb.nrrd")
    )
    with pytest.raises(ImageError, match=r"rgb.nrrd: holds 3 numbers per voxel .*, expected one; save"):
        read_image(tmp_path / "rgb.nrrd")


def oriented(codes: str, edges_mm: tuple[float, float, float] = (1.0, 2.0, 3.0)) -> np.ndarray:
    """An affine whose axes point there."""
    affine = np.zeros((4, 4))
    for axis, code in enumerate(codes):
        row = next(row for row, ends in enumerate(("LR", "PA", "IS")) if code in ends)
        affine[row, axis] = edges_mm[axis] * (1 if code in "RAS" else -1)
    affine[:, 3] = 5, -7, 11, 1
    return affine


def require_same_points(image: Image, other: Image) -> None:
    """Every voxel of one image lies where the other has a voxel of the same value."""
    for index in np.ndindex(*image.shape):
        place = np.linalg.solve(other.affine, image.affine @ [*index, 1])[:3]
        np.testing.assert_allclose(place, place.round(), atol=1e-6)
        assert other.voxels[tuple(place.round().astype(int))] == image.voxels[index]


@pytest.mark.parametrize("codes", orientation_names())
def test_turning_to_ras_axes_moves_no_voxel_and_can_be_undone(codes: str) -> None:
    image = Image(np.random.default_rng(0).random((2, 3, 4), np.float32), oriented(codes))
    assert image.orientation == codes
    turned = reorient(image)
    assert turned.orientation == "RAS"
    assert turned.voxels.flags.c_contiguous
    require_same_points(image, turned)
    np.testing.assert_array_equal(restore_axes(turned.voxels, image), image.voxels)
    there = reorient(turned, codes)
    np.testing.assert_array_equal(there.voxels, image.voxels)
    np.testing.assert_allclose(there.affine, image.affine, atol=1e-12)


@given(
    codes=sampled_from(orientation_names()),
    angles=tuples(*[floats(-0.7, 0.7)] * 3),
    edges_mm=tuples(*[floats(0.3, 6)] * 3),
    axes=sampled_from(["RAS", "LPS", "SAR"]),
)
def test_an_oblique_grid_is_turned_without_interpolation(
    codes: str, angles: tuple[float, ...], edges_mm: tuple[float, float, float], axes: str
) -> None:
    rotation = np.eye(4)
    rotation[:3, :3] = Rotation.from_euler("xyz", angles).as_matrix()
    image = Image(VOXELS, rotation @ oriented(codes, edges_mm))
    turned = reorient(image, axes)
    assert turned.orientation == axes
    require_same_points(image, turned)
    np.testing.assert_array_equal(restore_axes(turned.voxels, image, axes), image.voxels)


@pytest.mark.parametrize("codes", orientation_names())
@pytest.mark.parametrize("suffix", [".nii.gz", ".mgz", ".mha", ".nrrd"])
def test_every_orientation_of_every_format_is_read_alike(tmp_path: Path, codes: str, suffix: str) -> None:
    affine, path = oriented(codes), tmp_path / f"scan{suffix}"
    write_any_format(path, VOXELS, affine)
    image = read_image(path)
    np.testing.assert_array_equal(image.voxels, VOXELS)
    np.testing.assert_allclose(image.affine, affine, atol=1e-5)
    assert image.warnings == ()
    write_image(tmp_path / "mask.nii.gz", image.voxels > 5, image)
    np.testing.assert_allclose(read_image(tmp_path / "mask.nii.gz").affine, affine, atol=1e-5)


def write_any_format(path: Path, voxels: np.ndarray, affine: np.ndarray) -> None:
    """A file that another program wrote, in the format of its name."""
    if path.suffix in (".mgz", ".mgh"):
        nib.save(nib.MGHImage(voxels, affine), path)
    elif path.name.endswith((".nii", ".nii.gz")):
        nib.save(nib.Nifti1Image(voxels, affine), path)
    else:
        sitk.WriteImage(sitk_image(voxels, affine), str(path))


@pytest.mark.parametrize("kind", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha", ".mhd", ".nrrd"])
def test_whole_and_real_numbers_of_every_width_are_read(tmp_path: Path, kind: str, suffix: str) -> None:
    path, voxels = tmp_path / f"scan{suffix}", VOXELS.astype(kind)
    if suffix.startswith(".nii"):
        nib.save(nib.Nifti1Image(voxels, OBLIQUE, dtype=voxels.dtype), path)
    else:
        sitk.WriteImage(sitk_image(voxels, OBLIQUE), str(path))
    np.testing.assert_array_equal(read_image(path).voxels, VOXELS)
    np.testing.assert_allclose(read_image(path).affine, OBLIQUE, atol=1e-5)


@pytest.mark.parametrize("kind", ["u1", "i2", "i4", "f4"])
@pytest.mark.parametrize("suffix", [".mgz", ".mgh"])
def test_a_freesurfer_volume_of_every_type_is_read(tmp_path: Path, kind: str, suffix: str) -> None:
    nib.save(nib.MGHImage(VOXELS.astype(kind), OBLIQUE), tmp_path / f"scan{suffix}")
    np.testing.assert_array_equal(read_image(tmp_path / f"scan{suffix}").voxels, VOXELS)


@pytest.mark.parametrize(
    ("slope", "intercept", "expected"),
    [(2.0, 3.0, VOXELS * 2 + 3), (-1.0, 5.0, 5 - VOXELS), (0.0, 5.0, VOXELS), (np.nan, np.nan, VOXELS)],
)
def test_a_slope_of_zero_or_nan_scales_nothing(
    tmp_path: Path, slope: float, intercept: float, expected: np.ndarray
) -> None:
    nib.save(nib.Nifti1Image(VOXELS.astype(np.int16), np.eye(4)), tmp_path / "scan.nii")
    header = bytearray((tmp_path / "scan.nii").read_bytes())
    struct.pack_into("<ff", header, 112, slope, intercept)
    (tmp_path / "scan.nii").write_bytes(header)
    np.testing.assert_array_equal(read_image(tmp_path / "scan.nii").voxels, expected)


def test_numbers_too_large_for_us_are_refused_without_noise(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(VOXELS.astype(np.float64) * 1e40, np.eye(4)), tmp_path / "scan.nii")
    with pytest.raises(ImageError, match="holds 23 NaN or infinite voxels"):
        read_image(tmp_path / "scan.nii")


@pytest.mark.parametrize("axes", [1, 2, 4])
def test_axes_of_length_one_behind_the_third_are_dropped(tmp_path: Path, axes: int) -> None:
    voxels = VOXELS.reshape(2, 3, 4, *[1] * axes)
    nib.save(nib.Nifti1Image(voxels, OBLIQUE), tmp_path / "scan.nii")
    image = read_image(tmp_path / "scan.nii")
    np.testing.assert_array_equal(image.voxels, VOXELS)
    write_image(tmp_path / "mask.nii", image.voxels > 3, image)
    assert nib.load(tmp_path / "mask.nii").shape == (2, 3, 4)


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_a_fourth_axis_of_length_one_is_dropped_from_an_itk_file(tmp_path: Path, suffix: str) -> None:
    sitk.WriteImage(sitk.JoinSeries([sitk_image(VOXELS, OBLIQUE)]), str(tmp_path / f"scan{suffix}"))
    np.testing.assert_array_equal(read_image(tmp_path / f"scan{suffix}").voxels, VOXELS)
    np.testing.assert_allclose(read_image(tmp_path / f"scan{suffix}").affine, OBLIQUE, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "header", "axes"),
    [
        ("a.nrrd", "NRRD0004\ntype: float\ndimension: 3\nsizes: 2 3 4\nendian: little\nencoding: raw\n\n", "LPS"),
        ("a.mha", "NDims = 3\nDimSize = 2 3 4\nElementType = MET_FLOAT\nElementDataFile = LOCAL\n", "LPS"),
    ],
)
def test_an_itk_file_that_does_not_place_its_voxels_says_so(tmp_path: Path, name: str, header: str, axes: str) -> None:
    (tmp_path / name).write_bytes(header.encode() + VOXELS.T.tobytes())
    image = read_image(tmp_path / name)
    assert image.orientation == axes
    unsized, told = image.warnings
    assert "does not give the voxel size along each axis: 1 mm is assumed" in unsized
    assert "assumed to point left, posterior and superior, so left and right are a guess" in told


NRRD = """NRRD0004
type: float
dimension: 3
space: left-posterior-superior
{}
sizes: 2 3 4
endian: little
encoding: raw

"""
MHA = """NDims = 3
TransformMatrix = 1 0 0 0 1 0 0 0 1
{}
DimSize = 2 3 4
ElementType = MET_FLOAT
ElementDataFile = LOCAL
"""


@pytest.mark.parametrize(
    ("header", "sizes", "warnings"),
    [
        (MHA, "ElementSpacing = 2 2 2", 0),
        (MHA, "ElementSize = 2 2 2", 0),
        (MHA, "Comment = no size", 1),
        (NRRD, "space directions: (2,0,0) (0,2,0) (0, 0, 2)", 0),
        (NRRD, "space directions: (2,0,0) (0,2,0) none", 1),
        (NRRD, "# no size", 1),
    ],
)
def test_an_itk_file_that_gives_no_voxel_size_says_so(tmp_path: Path, header: str, sizes: str, warnings: int) -> None:
    path = tmp_path / ("scan.mha" if header == MHA else "scan.nrrd")
    path.write_bytes(header.format(sizes).encode() + VOXELS.T.tobytes())
    told = read_image(path).warnings
    assert len(told) == warnings
    assert all("does not give the voxel size" in line for line in told)


@pytest.mark.parametrize(
    ("header", "sizes"), [(MHA, "ElementSpacing = 0 1 1"), (NRRD, "space directions: (0,0,0) (0,1,0) (0,0,1)")]
)
def test_an_itk_file_with_voxels_of_no_size_is_refused(tmp_path: Path, header: str, sizes: str) -> None:
    path = tmp_path / ("scan.mha" if header == MHA else "scan.nrrd")
    path.write_bytes(header.format(sizes).encode() + VOXELS.T.tobytes())
    with pytest.raises(ImageError, match=r"voxels of 0 x 1 x 1 mm, expected edges above 0 mm; write the true"):
        read_image(path)


def test_a_freesurfer_volume_that_does_not_place_its_voxels_says_so(tmp_path: Path) -> None:
    nib.save(nib.MGHImage(VOXELS, OBLIQUE), tmp_path / "scan.mgh")
    whole = bytearray((tmp_path / "scan.mgh").read_bytes())
    whole[28:30] = b"\0\0"
    (tmp_path / "scan.mgz").write_bytes(gzip.compress(whole))
    image = read_image(tmp_path / "scan.mgz")
    assert image.orientation == "LIA"
    unsized, told = image.warnings
    assert "does not give the voxel size" in unsized
    assert "assumed to point left, inferior and anterior" in told


@pytest.mark.parametrize(("suffix", "wrong"), [(".nii", ".nii.gz"), (".nii.gz", ".nii"), (".mgh", ".mgz")])
def test_whether_a_file_is_packed_tells_its_content_not_its_name(tmp_path: Path, suffix: str, wrong: str) -> None:
    write_any_format(tmp_path / f"scan{suffix}", VOXELS, OBLIQUE)
    right = read_image(tmp_path / f"scan{suffix}")
    (tmp_path / f"scan{suffix}").rename(tmp_path / f"renamed{wrong}")
    image = read_image(tmp_path / f"renamed{wrong}")
    np.testing.assert_array_equal(image.voxels, VOXELS)
    np.testing.assert_array_equal(image.affine, right.affine)


def test_a_header_that_asks_for_more_than_the_memory_is_refused_before_reading(tmp_path: Path) -> None:
    header = nib.Nifti1Header()
    header.set_data_shape((30000, 30000, 30000))
    with (tmp_path / "scan.nii").open("wb") as file:
        header.write_to(file)
    (tmp_path / "scan.mha").write_text(
        "NDims = 3\nDimSize = 30000 30000 30000\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    for name in ("scan.nii", "scan.mha"):
        with pytest.raises(ImageError, match=rf"{name}: has 30000x30000x30000 voxels, which need .* GB to read, but"):
            read_image(tmp_path / name)


@pytest.mark.parametrize("kept", [0.3, 0.9, 0.999])
@pytest.mark.parametrize("suffix", [".nii", ".mgh", ".mha", ".nrrd"])
def test_a_truncated_file_of_every_format_is_refused(tmp_path: Path, suffix: str, kept: float) -> None:
    path = tmp_path / f"scan{suffix}"
    write_any_format(path, np.random.default_rng(0).random((16, 16, 16), np.float32), np.eye(4))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * 4 * 16**3)])  # an MGH file may lack what stands behind its voxels
    with pytest.raises(ImageError, match=rf"scan{suffix}: cannot be read \(.+\); copy or download") as refusal:
        read_image(path)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("top", [1.0, 0.5])
def test_a_map_in_steps_is_read_back_to_half_a_step(tmp_path: Path, top: float) -> None:
    voxels = np.linspace(0, top, 24, dtype=np.float32).reshape(2, 3, 4)
    write_image(tmp_path / "map.nii.gz", voxels, OBLIQUE, step=top / 255)
    assert nib.load(tmp_path / "map.nii.gz").get_data_dtype() == np.uint8
    for read in (read_image(tmp_path / "map.nii.gz").voxels, nib.load(tmp_path / "map.nii.gz").get_fdata()):
        np.testing.assert_allclose(read, voxels, atol=0.5001 * top / 255)
        assert read.min() == 0
        assert top * (1 - 1e-6) < read.max() <= top
    itk = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "map.nii.gz"))).T
    np.testing.assert_allclose(itk, voxels, atol=0.5001 * top / 255)


@pytest.mark.parametrize("voxels", [VOXELS, VOXELS - 1])
def test_a_map_that_leaves_its_steps_is_refused(tmp_path: Path, voxels: np.ndarray) -> None:
    with pytest.raises(ImageError, match=r"map.nii.gz: holds .*, expected 0 to 1; write it without steps"):
        write_image(tmp_path / "map.nii.gz", voxels, OBLIQUE, step=1 / 255)
    assert not (tmp_path / "map.nii.gz").exists()


def test_a_result_must_lie_on_the_grid_of_its_scan(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="must lie on the grid"):
        write_image(tmp_path / "mask.nii", VOXELS[1:], Image(VOXELS, OBLIQUE))


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".mgz"])
def test_a_file_that_unpacks_to_far_more_than_its_header_says_is_refused_early(tmp_path: Path, suffix: str) -> None:
    kind = nib.MGHImage if suffix == ".mgz" else nib.Nifti1Image
    packed = gzip.compress(kind(VOXELS, OBLIQUE).to_bytes()) + gzip.compress(bytes(10**7)) * 30
    path = tmp_path / f"scan{suffix}"
    path.write_bytes(packed)
    assert path.stat().st_size < 2e6
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match=r"holds more than 64 MB, but its header describes 0.0 MB of voxels"):
            read_image(path)
        assert tracemalloc.get_traced_memory()[1] < 2.5e8
    finally:
        tracemalloc.stop()


def test_what_programs_append_to_a_file_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(gzip.compress(nib.Nifti1Image(VOXELS, OBLIQUE).to_bytes() + bytes(10**6)))
    np.testing.assert_array_equal(read_image(path).voxels, VOXELS)
