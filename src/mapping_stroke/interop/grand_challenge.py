"""What grand-challenge.org hands to a container and takes back: scans, masks and maps, each on its scan's own grid."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from mapping_stroke.errors import BundleError, CaseError, ImageError
from mapping_stroke.files import list_files, written_whole
from mapping_stroke.free_memory import available_bytes
from mapping_stroke.image import image_suffix
from mapping_stroke.image_formats import read_nifti_placement
from mapping_stroke.networks.archive import SUFFIX
from mapping_stroke.networks.bundle import BUNDLE_FILE
from mapping_stroke.nifti_grid import Placement, Shape, write_placement

SUFFIXES = (".mha", ".nii.gz")
"""Of scans and of what is written; the platform itself hands out and takes `.mha`."""


@dataclass(frozen=True)
class ChallengeFolders:
    """Where a challenge puts scans and looks for results, which are named as the scans are.

    Attributes:
        scans: Holds the scans; only read.
        masks: Takes a mask for each, uint8, 1 inside a lesion.
        probabilities: Takes P(lesion) for each, float32 in [0, 1]; None where the challenge wants none.
    """

    scans: Path
    masks: Path
    probabilities: Path | None = None

    def find_scans(self) -> list[Path]:
        """The scans, sorted; raises `CaseError` where there is none."""
        if not self.scans.is_dir():
            raise CaseError(f"{self.scans}: no such folder, expected the scans there; mount them, or name their folder")
        files = list_files(self.scans, "*")
        scans = [file for file in files if image_suffix(file) in SUFFIXES]
        if not scans:
            found = ", ".join(file.name for file in files[:5]) or "nothing"
            raise CaseError(f"{self.scans}: holds {found}, expected scans ({' or '.join(SUFFIXES)}); mount them there")
        return scans


@dataclass(frozen=True)
class MetaGrid:
    """The grid of an `.mha` file, in ITK's terms: three axes, left-posterior-superior millimetres."""

    shape: Shape
    spacing_mm: tuple[float, ...]
    origin_mm: tuple[float, ...]
    direction: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class NiftiGrid:
    """The grid of a NIfTI file: its first three axes, and how the header places them."""

    shape: Shape
    placement: Placement


Grid = MetaGrid | NiftiGrid


def read_grid(scan: Path) -> Grid:
    """The grid of a scan by its header alone, so that a scan whose voxels are damaged has one, too.

    Raises:
        ImageError: The header is damaged, or tells of fewer than three axes or of more voxels than memory holds.
    """
    try:
        grid = _read_meta_grid(scan) if image_suffix(scan) == ".mha" else _read_nifti_grid(scan)
    except Exception as error:  # readers raise anything on damaged bytes
        reason = " ".join(str(error).split("ITK ERROR: ")[-1].split())[:160] or type(error).__name__
        raise ImageError(f"{scan}: its header cannot be read ({reason}); export the scan again") from error
    if not 0 < math.prod(grid.shape) < available_bytes():
        shape = " x ".join(map(str, grid.shape))
        raise ImageError(f"{scan}: its header tells of {shape} voxels, expected a volume; export the scan again")
    return grid


def write_on_grid(path: Path, voxels: UInt8[np.ndarray, "x y z"] | Float32[np.ndarray, "x y z"], grid: Grid) -> None:
    """Write a volume, compressed, whole or not at all, in the format of the path's suffix, which is the grid's.

    Args:
        path: Target, `.mha` for a `MetaGrid`, `.nii.gz` for a `NiftiGrid`; its folder is made where it is missing.
        voxels: In the order of the scan's own file.
        grid: Of that scan; the same numbers are written again, so that every program lays the two over one another.
    """
    assert voxels.shape == grid.shape, "only what lies on the grid can be written on it"
    with written_whole(path) as partial:
        if isinstance(grid, MetaGrid):
            _write_meta(partial, voxels, grid)
        else:
            _write_nifti(partial, voxels, grid)


def find_weights(folder: Path) -> Path | None:
    """The model that was uploaded beside the container, in a folder that is there and empty where none was.

    Looked for in the folder and one level down, since an archive of a model may hold it in a folder of its own.

    Raises:
        BundleError: There are several; which one was meant?
    """
    if not folder.is_dir() or not any(not entry.name.startswith(".") for entry in folder.iterdir()):
        return None
    zips = [found for depth in ("", "*/") for found in folder.glob(f"{depth}*{SUFFIX}") if found.is_file()]
    folders = [found.parent for depth in ("", "*/") for found in folder.glob(f"{depth}{BUNDLE_FILE}")]
    models = sorted({*zips, *folders})
    if len(models) > 1:
        names = ", ".join(str(model.relative_to(folder)) for model in models)
        raise BundleError(f"{folder}: holds several models ({names}), expected one; upload one of them")
    return models[0] if models else folder  # which opens as a folder of members, or says that it holds no model


def _read_meta_grid(scan: Path) -> MetaGrid:
    import SimpleITK as sitk  # noqa: N813 - the name its users know

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(scan))
    reader.ReadImageInformation()
    axes = reader.GetDimension()
    direction = np.array(reader.GetDirection()).reshape(axes, axes)[:3, :3].ravel()
    spacing, origin = reader.GetSpacing()[:3], reader.GetOrigin()[:3]
    return MetaGrid(_spatial(reader.GetSize()), spacing, origin, tuple(map(float, direction)))


def _read_nifti_grid(scan: Path) -> NiftiGrid:
    shape, placement = read_nifti_placement(scan)
    return NiftiGrid(_spatial(shape), placement)


def _write_meta(path: Path, voxels: np.ndarray, grid: MetaGrid) -> None:
    import SimpleITK as sitk  # noqa: N813 - the name its users know

    image = sitk.GetImageFromArray(voxels.T)
    image.SetSpacing(grid.spacing_mm)
    image.SetOrigin(grid.origin_mm)
    image.SetDirection(grid.direction)
    sitk.WriteImage(image, str(path), useCompression=True)


def _write_nifti(path: Path, voxels: np.ndarray, grid: NiftiGrid) -> None:
    import nibabel as nib

    image = nib.Nifti1Image(voxels, None)
    image.header.set_xyzt_units("mm")
    write_placement(image.header, grid.placement)
    nib.save(image, path)


def _spatial(shape: Sequence[int]) -> Shape:
    """The first three edges; raises `ValueError` where there are fewer."""
    x, y, z = (int(edge) for edge in shape[:3])
    return x, y, z
