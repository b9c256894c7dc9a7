"""An image is voxels and the affine that places them: reading, checking, writing."""

import gzip
from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from mapping_stroke.errors import GeometryError, ImageError
from mapping_stroke.files import written_whole

Voxels = Float32[np.ndarray, "x y z"]  # intensities, or any scalar per voxel
Probability = Float32[np.ndarray, "x y z"]  # P(lesion) per voxel, in [0, 1]
Mask = Bool[np.ndarray, "x y z"]  # True inside a lesion
Affine = Float64[np.ndarray, "4 4"]  # voxel index -> RAS millimetres
Shape = tuple[int, int, int]  # voxels along each axis

NIBABEL_SUFFIXES = (".nii", ".nii.gz", ".mgz", ".mgh")
SITK_SUFFIXES = (".mha", ".mhd", ".nrrd")
IMAGE_SUFFIXES = NIBABEL_SUFFIXES + SITK_SUFFIXES

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""ITK's world axes point left and posterior, ours right and anterior."""


@dataclass(frozen=True, eq=False)
class Image:
    """A scalar volume on a grid.

    Attributes:
        voxels: Array (x, y, z), float32, all finite.
        affine: Maps voxel indices to RAS millimetres.
    """

    voxels: Voxels
    affine: Affine

    def __post_init__(self) -> None:
        if self.voxels.ndim != 3:
            raise ImageError(f"an image has 3 axes, got {self.voxels.ndim} (shape {self.voxels.shape})")
        if not np.isfinite(self.voxels).all():
            bad_vox = int((~np.isfinite(self.voxels)).sum())
            raise ImageError(f"holds {bad_vox} NaN or infinite voxels, expected numbers; replace them, by 0 say")
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
        x, y, z = (float(edge) for edge in np.linalg.norm(self.affine[:3, :3], axis=0))
        return x, y, z

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def orientation(self) -> str:
        """Where the axes point, nearest anatomical directions, such as `RAS`."""
        import nibabel as nib

        return "".join(nib.orientations.aff2axcodes(self.affine))


def image_suffix(path: Path) -> str | None:
    """The image suffix of a file name (`.nii.gz` counts as one), None where it is no image."""
    return next((suffix for suffix in IMAGE_SUFFIXES if path.name.lower().endswith(suffix)), None)


def image_stem(path: Path) -> str:
    """The file name without its image suffix."""
    suffix = image_suffix(path)
    return path.name[: -len(suffix)] if suffix else path.stem


def read_image(path: Path | str) -> Image:
    """Read a scan, probability map or mask.

    Intensities are scaled as the header says (`scl_slope`, `scl_inter`); axes of length 1 behind the third are dropped.

    Args:
        path: `.nii`, `.nii.gz`, `.mgz`, `.mha`, `.mhd` or `.nrrd`.

    Returns:
        The image in the file's own voxel order.

    Raises:
        ImageError: The file is missing, unreadable, truncated, not three-dimensional, or holds NaN or infinity.
    """
    path = Path(path)
    suffix = image_suffix(path)
    if suffix is None:
        raise ImageError(f"{path}: not an image file name; expected one of {', '.join(IMAGE_SUFFIXES)}")
    if not path.is_file():
        raise ImageError(f"{path}: no such file; check the path")
    voxels, affine = _read_file(path, suffix)
    while voxels.ndim > 3 and voxels.shape[-1] == 1:
        voxels = voxels[..., 0]
    if voxels.ndim != 3:
        raise ImageError(
            f"{path}: has {voxels.ndim} dimensions (shape {'x'.join(map(str, voxels.shape))}), expected 3; "
            "extract one volume from it and pass that"
        )
    try:
        return Image(np.ascontiguousarray(voxels), affine)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error


def write_image(path: Path, voxels: Voxels | Mask | UInt8[np.ndarray, "x y z"], affine: Affine) -> None:
    """Write a volume as NIfTI, whole or not at all; a mask becomes uint8 with values 0 and 1.

    Args:
        path: Target, `.nii` or `.nii.gz`; its folder is made where it is missing.
        voxels: float32 (scans, probabilities), uint8 (labels) or bool (masks).
        affine: Voxel index to RAS millimetres; written as both sform and qform.
    """
    import nibabel as nib

    stored = voxels.astype(np.uint8) if voxels.dtype == bool else voxels
    image = nib.Nifti1Image(stored, affine, dtype=stored.dtype)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code="aligned")
    image.set_qform(affine, code="aligned")
    with written_whole(path) as partial:
        nib.save(image, partial)


def orientation_names() -> list[str]:
    """The 48 ways in which three axes can point, such as `RAS` (right, anterior, superior)."""
    pairs = ("RL", "AP", "SI")
    return ["".join(ends) for order in permutations(pairs) for ends in product(*order)]


def turn_axes(image: Image, axes: str = "RAS") -> Image:
    """The same volume with its axes pointing to the nearest directions of `axes`: no interpolation."""
    import nibabel as nib

    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(image.affine), nib.orientations.axcodes2ornt(axes)
    )
    voxels = np.ascontiguousarray(nib.orientations.apply_orientation(image.voxels, turn))
    return Image(voxels, image.affine @ nib.orientations.inv_ornt_aff(turn, image.shape))


def restore_axes(voxels: Voxels, target: Image, axes: str = "RAS") -> Float32[np.ndarray, "x2 y2 z2"]:
    """Undo `turn_axes`: bring an array whose axes point to `axes` back to the axis order (and shape) of `target`."""
    import nibabel as nib

    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt(axes), nib.orientations.io_orientation(target.affine)
    )
    return np.ascontiguousarray(nib.orientations.apply_orientation(voxels, turn))


def require_same_grid(image: Image, other: Image, names: tuple[str, str], remedy: str) -> None:
    """Raise `GeometryError` unless both images have one shape and their voxels lie within a tenth of a voxel.

    Args:
        image: The image that is checked.
        other: The image it must agree with.
        names: What to call the two in the message, such as `("case 12: mask", "its scan")`.
        remedy: What the user should do about it.
    """
    if image.shape != other.shape:
        raise GeometryError(f"{names[0]} has shape {image.shape}, {names[1]} has {other.shape}; {remedy}")
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(image.shape) - 1)
    corners_1 = np.c_[corners, np.ones(8)].T
    shift_mm = float(np.linalg.norm((image.affine - other.affine) @ corners_1, axis=0).max())
    if shift_mm > 0.1 * min(other.spacing_mm):
        raise GeometryError(f"{names[0]} lies up to {shift_mm:.1f} mm away from {names[1]} (affines differ); {remedy}")


def _read_file(path: Path, suffix: str) -> tuple[np.ndarray, Affine]:
    try:
        return _read_sitk(path) if suffix in SITK_SUFFIXES else _read_nibabel(path)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error
    except Exception as error:  # readers raise anything on damaged bytes
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{path}: cannot be read ({reason[:160]}); copy or download the file again") from error


def _read_nibabel(path: Path) -> tuple[np.ndarray, Affine]:
    import nibabel as nib

    image = nib.load(path)
    stored = image.get_data_dtype()
    if stored.kind not in "fiub":
        kind = "colours" if stored.names else "complex numbers"
        raise ImageError(f"holds {kind}, expected one real number a voxel; save the magnitude or one channel")
    if path.suffix.lower() in (".gz", ".mgz"):  # unpacked to its end, which tells a damaged or cut file
        image = type(image).from_bytes(gzip.decompress(path.read_bytes()))
    return image.get_fdata(dtype=np.float32, caching="unchanged"), np.asarray(image.affine, dtype=np.float64)


def _read_sitk(path: Path) -> tuple[np.ndarray, Affine]:
    import SimpleITK as sitk  # noqa: N813 - the name its users know

    image = sitk.ReadImage(str(path))
    dimension = image.GetDimension()
    voxels = sitk.GetArrayFromImage(image).T.astype(np.float32)
    affine = np.eye(4)
    if dimension >= 3:
        direction = np.array(image.GetDirection()).reshape(dimension, dimension)[:3, :3]
        affine[:3, :3] = direction * np.array(image.GetSpacing()[:3])
        affine[:3, 3] = image.GetOrigin()[:3]
    return voxels, LPS_TO_RAS @ affine
