"""Read, check and write images, which are voxels and the affine that places them, and masks of lesions."""

from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Shaped, UInt8, UInt16
from scipy import ndimage

from mapping_stroke.errors import GeometryError, ImageError
from mapping_stroke.files import written_whole
from mapping_stroke.images.dicom_series import DicomSeries
from mapping_stroke.images.formats import Stored, find_source, image_suffix, read_stored
from mapping_stroke.images.nifti import (
    SAME_PLACE_VOX,
    Affine,
    Placement,
    Shape,
    largest_shift_mm,
    voxel_edges_mm,
    write_placement,
)

Voxels = Float32[np.ndarray, "x y z"]  # intensities, or any scalar per voxel
Probability = Float32[np.ndarray, "x y z"]  # P(lesion) per voxel, in [0, 1]
Mask = Bool[np.ndarray, "x y z"]  # True inside a lesion
Numbers = UInt8[np.ndarray, "x y z"] | UInt16[np.ndarray, "x y z"]  # of labels, 0 outside

ROUNDING = 1e-4
"""By rounding, a mean may exceed the largest of its values by this fraction."""
SAME_VALUE = 1e-3
"""Values that differ by less than this fraction are one value, stored with rounding."""


@dataclass(frozen=True, eq=False)
class Image:
    """A scalar volume on a grid.

    Attributes:
        voxels: Array (x, y, z), float32, all finite.
        affine: Maps voxel indices to RAS millimetres.
        placement: Placement fields of the NIfTI header it was read from; None for other origins.
        warnings: Warnings for the user about the file it was read from, one line each.
    """

    voxels: Voxels
    affine: Affine
    placement: Placement | None = None
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.voxels.ndim != 3:
            raise ImageError(f"an image has 3 axes, got {self.voxels.ndim} (shape {self.voxels.shape})")
        if not np.isfinite(self.voxels).all():
            bad_vox = int((~np.isfinite(self.voxels)).sum())
            raise ImageError(f"holds {bad_vox} NaN or infinite voxels, expected numbers; replace them, e.g. by 0")
        if not np.isfinite(self.affine).all() or abs(np.linalg.det(self.affine[:3, :3])) < 1e-9:
            raise ImageError("the affine is singular, so voxels have no size; repair the header's sform or qform")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along each axis."""
        x, y, z = self.voxels.shape
        return x, y, z

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Length of a voxel's edge along each axis."""
        return voxel_edges_mm(self.affine)

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def orientation(self) -> str:
        """The nearest anatomical directions of the axes, such as `RAS`."""
        import nibabel as nib

        return "".join(nib.orientations.aff2axcodes(self.affine))


def image_stem(path: Path) -> str:
    """The file name without its image suffix."""
    suffix = image_suffix(path)
    return path.name[: -len(suffix)] if suffix else path.stem


def read_image(path: Path | str | DicomSeries, *, series: str = "") -> Image:
    """Read a scan, probability map or mask.

    Intensities are scaled by the header (`scl_slope`, `scl_inter`); axes of length 1 after the third are dropped. A
    NIfTI header places voxels by its sform if its code is above 0, else by its qform if that code is above 0, else only
    by the voxel edges; `warnings` reports any disagreement. NaN connected to the border, which programs write outside
    the field of view, becomes 0, which `warnings` also reports.

    Args:
        path: `.nii`, `.nii.gz`, `.mgz`, `.mgh`, `.mha`, `.mhd` or `.nrrd`; or a folder with a DICOM
            series, also in a subfolder; or such a series.
        series: Number, UID or description of the series in a folder; empty for the one that looks like a T1w scan.

    Returns:
        The image in the file's own voxel order, which for a DICOM series is along the row, down the column, slice by
        slice.

    Raises:
        ImageError: The file is missing, unreadable, truncated or not three-dimensional, or holds infinity, or NaN
            inside the volume; or it is unclear which DICOM series of a folder is meant.
    """
    source = path if isinstance(path, DicomSeries) else find_source(Path(path), series)
    return make_image(read_stored(source), source)


def make_image(stored: Stored, title: object) -> Image:
    """The content of a file, or of another program's image, as an image.

    Args:
        stored: The content.
        title: What errors call it, such as the path of the file.

    Raises:
        ImageError: It is not three-dimensional, or holds infinity, or NaN inside the volume.
    """
    if stored.voxels.ndim != 3:
        raise ImageError(
            f"{title}: has {stored.voxels.ndim} dimensions (shape {'x'.join(map(str, stored.voxels.shape))}), "
            "expected 3; extract one volume from it and pass that"
        )
    voxels, warnings = _without_nan_around(stored.voxels)
    try:
        return Image(np.ascontiguousarray(voxels), stored.affine, stored.placement, (*stored.warnings, *warnings))
    except ImageError as error:
        raise ImageError(f"{title}: {error}") from error


def write_image(
    path: Path, voxels: Voxels | Mask | Numbers, grid: Affine | Image, *, step: float | None = None
) -> None:
    """Write a volume as NIfTI, completely or not at all. A mask becomes uint8 with values 0 and 1.

    Args:
        path: Target, `.nii` or `.nii.gz`; its folder is created if missing.
        voxels: float32 (scans, probabilities), uint8 or uint16 (labels) or bool (masks).
        grid: An image with the same grid: sform, qform and codes of a NIfTI header are copied exactly, so that every
            program overlays the two. Or an affine, voxel index to RAS millimetres.
        step: Store float32 voxels, from 0 to 255 steps, as uint8 times this step (`scl_slope`): a quarter of the bytes,
            exact to half a step.
    """
    import nibabel as nib

    image = nifti_image(voxels, grid, step=step, title=path)
    with written_whole(path) as partial:
        nib.save(image, partial)


def nifti_image(
    voxels: Voxels | Mask | Numbers, grid: Affine | Image, *, step: float | None = None, title: object = "the map"
) -> Any:
    """The volume that `write_image` writes, as an image of nibabel; its voxels may be those given, not a copy.

    Args:
        voxels: See `write_image`.
        grid: See `write_image`.
        step: See `write_image`.
        title: What an error calls it.
    """
    import nibabel as nib

    assert not isinstance(grid, Image) or voxels.shape == grid.shape, "the voxels must lie on the grid"
    affine, placement = (grid.affine, grid.placement) if isinstance(grid, Image) else (grid, None)
    stored = voxels.astype(np.uint8) if voxels.dtype == bool else voxels
    if step is not None:
        stored, step = _count_steps(title, voxels, step)
    image = nib.Nifti1Image(stored, affine, dtype=stored.dtype)
    if step is not None:
        image.header.set_slope_inter(step, 0)
    image.header.set_xyzt_units("mm")
    write_placement(image.header, affine if placement is None else placement)
    return image


def orientation_names() -> list[str]:
    """The 48 possible orientations of three axes, such as `RAS` (right, anterior, superior)."""
    pairs = ("RL", "AP", "SI")
    return ["".join(ends) for order in permutations(pairs) for ends in product(*order)]


def reorient(image: Image, axes: str = "RAS") -> Image:
    """The same volume with its axes permuted and flipped to the nearest directions of `axes`, without interpolation."""
    import nibabel as nib

    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(image.affine), nib.orientations.axcodes2ornt(axes)
    )
    voxels = np.ascontiguousarray(nib.orientations.apply_orientation(image.voxels, turn))
    return Image(voxels, image.affine @ nib.orientations.inv_ornt_aff(turn, image.shape))


def restore_axes(
    voxels: Shaped[np.ndarray, "x y z"], target: Image, axes: str = "RAS"
) -> Shaped[np.ndarray, "x2 y2 z2"]:
    """Undo `reorient`: bring an array with orientation `axes` back to the axis order (and shape) of `target`."""
    import nibabel as nib

    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt(axes), nib.orientations.io_orientation(target.affine)
    )
    return np.ascontiguousarray(nib.orientations.apply_orientation(voxels, turn))


def restore_box(box: tuple[slice, slice, slice], shape: Shape, target: Image, axes: str = "RAS") -> tuple[slice, ...]:
    """Undo `reorient` for a box in a volume of that shape."""
    import nibabel as nib

    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(target.affine), nib.orientations.axcodes2ornt(axes)
    )
    restored = []
    for axis, sign in turn:  # for each axis of the file: its axis in `box`, and whether it is flipped
        edge, length = box[int(axis)], shape[int(axis)]
        restored.append(edge if sign > 0 else slice(length - edge.stop, length - edge.start))
    return tuple(restored)


def require_same_grid(image: Image, other: Image, names: tuple[str, str], remedy: str) -> None:
    """Raise `GeometryError` unless both images have the same shape and place every voxel within a tenth of a voxel.

    Args:
        image: The image that is checked.
        other: The image it must agree with.
        names: Names of the two in the message, such as `("case 12: mask", "its scan")`.
        remedy: Advice to the user.
    """
    if image.shape != other.shape:
        raise GeometryError(f"{names[0]} has shape {image.shape}, {names[1]} has {other.shape}; {remedy}")
    shift_mm = largest_shift_mm(image.affine, other.affine, other.shape)
    if shift_mm > SAME_PLACE_VOX * min(other.spacing_mm):
        raise GeometryError(f"{names[0]} lies up to {shift_mm:.1f} mm away from {names[1]} (affines differ); {remedy}")


def _without_nan_around(voxels: Voxels) -> tuple[Voxels, tuple[str, ...]]:
    """The voxels with 0 for NaN if all NaN is connected to the border, and a warning about it."""
    nan = np.isnan(voxels)
    # enclosed NaN is damage, not a field of view
    if not nan.any() or nan.all() or (nan & ndimage.binary_fill_holes(~nan)).any():
        return voxels, ()
    warning = f"NaN outside the field of view ({nan.mean():.1%} of the voxels) is read as 0"
    return np.where(nan, np.float32(0), voxels), (warning,)


def _count_steps(title: object, voxels: np.ndarray, step: float) -> tuple[UInt8[np.ndarray, "x y z"], float]:
    """Voxels as whole numbers of steps, and the step rounded down to float32, so that no value exceeds the largest."""
    low, high = float(voxels.min()), float(voxels.max())
    if not (low >= 0 and high <= 255 * step * (1 + ROUNDING)):
        raise ImageError(f"{title}: holds {low:g} to {high:g}, expected 0 to {255 * step:g}; write it without steps")
    slope = np.float32(step)  # the type of the header's field
    slope = np.nextafter(slope, np.float32(0)) if float(slope) > step else slope
    return np.clip(np.rint(voxels / np.float32(step)), 0, 255).astype(np.uint8), float(slope)


def read_mask(path: Path) -> tuple[Mask, Image]:
    """Read a mask: background 0, lesion one positive value (1, 255, 0.9999, ...); `ImageError` for anything else."""
    image = read_image(path)
    return _as_mask(image, path), image


def read_mask_of(path: Path, scan: Image) -> Mask:
    """Read a mask on the grid of a scan, with its axes in any order.

    Raises:
        ImageError: It cannot be read, or is no mask.
        GeometryError: It lies on another grid.
    """
    image = reorient(read_image(path), scan.orientation)
    require_same_grid(image, scan, (f"{path}: the mask", "its scan"), "resample it onto the scan, nearest neighbour")
    return _as_mask(image, path)


def _as_mask(image: Image, path: Path) -> Mask:
    mask = image.voxels > 0
    marked = image.voxels[mask]
    lowest, highest = (marked.min(), marked.max()) if marked.size > 0 else (1.0, 1.0)
    if image.voxels.min(initial=0) < 0 or highest - lowest > SAME_VALUE * highest:
        raise ImageError(f"{path}: is not a mask, it has more than two values; save the lesion as 1 and all else as 0")
    return mask
