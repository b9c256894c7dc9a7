"""Read image files: voxels, affine, and warnings about the file."""

import gzip
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np

from mapping_stroke.environment import available_bytes
from mapping_stroke.errors import FileError, ImageError
from mapping_stroke.files import describe_missing
from mapping_stroke.images.dicom_choice import choose_series, read_series
from mapping_stroke.images.dicom_series import DicomSeries, is_dicom
from mapping_stroke.images.dicom_volumes import LPS_TO_RAS
from mapping_stroke.images.nifti import UNPLACED, UNSIZED, Affine, Edges, Placement, copy_placement, in_mm, place_voxels

NIBABEL_SUFFIXES = (".nii", ".nii.gz", ".mgz", ".mgh")
SITK_SUFFIXES = (".mha", ".mhd", ".nrrd")
IMAGE_SUFFIXES = NIBABEL_SUFFIXES + SITK_SUFFIXES
Source = Path | DicomSeries
"""An image file, or a DICOM series of several files."""

HEADER_BYTES = {"Nifti1Image": 348, "Nifti2Image": 540, "MGHImage": 90}
"""Length of the header at the start of a file, by nibabel's class."""
GZIP = b"\x1f\x8b"
"""First bytes of compressed files."""
CORONAL = np.array([[-1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
"""FreeSurfer's default for an MGH file without orientation: left, inferior, anterior, 1 mm."""
OTHER_BYTES = 64_000_000
"""Far more than header, extensions and appended data need in addition to the voxels."""
GOOD_RAS_BYTES = slice(28, 30)
"""Position of a flag in an MGH header: 0 if the file has no orientation."""
META_HEADER_BYTES = 8192
"""Far more than the text at the start of an .mha file, whose lines come in any order."""
META_SIZES = re.compile(rb"^Element(?:Spacing|Size) *=", re.MULTILINE)
"""Matches the edges of a voxel in an .mha or .mhd header."""
NRRD_SIZES = re.compile(rb"^(?:spacings|space directions): *(.+)$", re.MULTILINE)
"""Matches the edges of a voxel, or vectors along them, in an .nrrd header."""
NRRD_SIZE = re.compile(rb"\([^)]*\)|[-+.\d]\S*")
"""Matches one of them; an axis may have `nan` or `none` instead."""
NRRD_SPACE = re.compile(rb"^space:", re.MULTILINE)
"""Matches the directions of the axes in an .nrrd header."""
VOXEL_FILE = re.compile(rb"^ElementDataFile *= *(.+?)\s*$", re.MULTILINE)
"""Matches the name of the file with the voxels in an .mhd header."""


@dataclass(frozen=True, eq=False)
class Stored:
    """Content of an image file.

    Attributes:
        voxels: float32, with all axes of the file except those of length 1 after the third.
        affine: Voxel index to RAS millimetres.
        placement: Fields of a NIfTI header behind the affine; None for other formats.
        warnings: Warnings for the user, one line each.
    """

    voxels: np.ndarray
    affine: Affine
    placement: Placement | None = None
    warnings: tuple[str, ...] = ()


def image_suffix(path: Path) -> str | None:
    """The image suffix of a file name (`.nii.gz` counts as one), or None for any other name."""
    return next((suffix for suffix in IMAGE_SUFFIXES if path.name.lower().endswith(suffix)), None)


def find_source(path: Path, series: str = "") -> Source:
    """The source of an image: the path itself, or the DICOM series in a folder or multi-frame file.

    Args:
        path: An image file or a folder; it need not exist.
        series: See `choose_series`.

    Raises:
        ImageError: There is no such series, or it is unclear which one is meant.
    """
    in_dicom = image_suffix(path) is None and (path.is_dir() or is_dicom(path))
    return choose_series(path, series) if in_dicom else path


def stored_files(source: Source) -> list[Path]:
    """The files of an image: its own, those of a series, and for an `.mhd` header also the file with the voxels.

    The order of a series does not depend on file names.

    Raises:
        FileError: An `.mhd` header cannot be read; other files are not opened.
    """
    if isinstance(source, DicomSeries):
        return source.files
    path = source
    if path.suffix.lower() != ".mhd":
        return [path]
    try:
        with path.open("rb") as file:
            named = VOXEL_FILE.search(file.read(META_HEADER_BYTES))
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error
    voxels = path.parent / named[1].decode(errors="replace") if named else path
    return [path, voxels] if voxels != path and voxels.is_file() else [path]


def read_stored(source: Source) -> Stored:
    """Read an image. Axes of length 1 after the third are dropped.

    Raises:
        ImageError: The file is missing or damaged, does not hold one real number per voxel, or exceeds free memory.
    """
    try:
        if isinstance(source, DicomSeries):
            return _read_series(source)
        return _read_file(source)
    except ImageError as error:
        raise ImageError(f"{source}: {error}") from error
    except Exception as error:  # readers raise anything on damaged bytes
        reason = " ".join(str(error).split("ITK ERROR: ")[-1].split()) or type(error).__name__
        raise ImageError(f"{source}: cannot be read ({reason[:160]}); copy or download the file again") from error


def read_nifti_placement(path: Path) -> tuple[tuple[int, ...], Placement]:
    """Shape and placement from a NIfTI header. The voxels are not read, so they may be damaged.

    Raises:
        Exception: Any kind, if the header is damaged or the file holds something else.
    """
    start = _read_start(path)
    header = _parse(start)[1]
    return header.get_data_shape(), copy_placement(header, _stored_edges_mm(start))


def _read_file(path: Path) -> Stored:
    suffix = image_suffix(path)
    if suffix is None:
        raise ImageError(f"not an image file name; expected one of {', '.join(IMAGE_SUFFIXES)}, or a DICOM folder")
    if path.is_dir():
        raise ImageError("is a folder, expected an image file; if an archive was extracted here, pass the file inside")
    if not path.is_file():
        raise ImageError(describe_missing(path))
    return _read_sitk(path) if suffix in SITK_SUFFIXES else _read_nibabel(path)


def _read_series(series: DicomSeries) -> Stored:
    require_memory((series.facts.columns, series.facts.rows, len(series.slices)), 2)
    voxels, affine, warnings = read_series(series)
    return Stored(voxels, affine, None, warnings)


def _read_nibabel(path: Path) -> Stored:
    start = _read_start(path)
    kind, header = _parse(start)
    stored = header.get_data_dtype()
    require_numbers(stored)
    require_memory([int(edge) for edge in header.get_data_shape()], stored.itemsize)
    # bounded, so that a damaged or malicious file cannot fill the memory
    voxel_bytes = math.prod(int(edge) for edge in header.get_data_shape()) * stored.itemsize
    limit = voxel_bytes + min(int(header.get_data_offset()), OTHER_BYTES) + OTHER_BYTES
    with _open_unpacked(path) as file:
        whole = file.read(limit + 1)  # to the end, which reveals a damaged or truncated file
    if len(whole) > limit:
        raise ImageError(
            f"holds more than {limit / 1e6:.0f} MB, but its header describes {voxel_bytes / 1e6:.1f} MB of voxels; "
            "copy or download the file again"
        )
    image = kind.from_bytes(whole)
    with np.errstate(over="ignore"):  # overflow becomes infinity, which is refused
        voxels = spatial_axes(image.get_fdata(dtype=np.float32, caching="unchanged"))
    freesurfer = kind.__name__ == "MGHImage"
    if voxels.ndim == 3 and not freesurfer:
        pixdim_mm = _stored_edges_mm(start)
        affine, warnings = place_voxels(image.header, pixdim_mm, voxels.shape)
        return Stored(voxels, affine, copy_placement(image.header, pixdim_mm), warnings)
    if voxels.ndim == 3 and not any(start[GOOD_RAS_BYTES]):
        affine = CORONAL.copy()  # nibabel's default has two axes reversed
        affine[:3, 3] = affine[:3, :3] @ voxels.shape / -2
        return Stored(voxels, affine, None, (UNSIZED, UNPLACED.format("left, inferior and anterior")))
    return Stored(voxels, np.asarray(image.affine, dtype=np.float64))


def _open_unpacked(path: Path) -> BufferedReader | gzip.GzipFile:
    """Open a file, decompressed if its content is compressed. After downloads the name may be wrong."""
    with path.open("rb") as file:
        packed = file.read(len(GZIP)) == GZIP
    return gzip.open(path) if packed else path.open("rb")


def _read_start(path: Path) -> bytes:
    with _open_unpacked(path) as file:
        return file.read(max(HEADER_BYTES.values()))


def _parse(start: bytes) -> tuple[Any, Any]:
    """Nibabel's class for a file with this start, and its header."""
    kind = _kind(start)
    return kind, kind.header_class(start[: HEADER_BYTES[kind.__name__]])


def _stored_edges_mm(start: bytes) -> Edges:
    """The edges of a voxel as stored in a NIfTI file, before nibabel corrects them."""
    kind = _kind(start)
    header = kind.header_class(start[: HEADER_BYTES[kind.__name__]], check=False)
    return np.asarray(header["pixdim"][1:4], dtype=np.float64)


def _kind(start: bytes) -> Any:
    """Nibabel's class for a file with this start. The first number distinguishes NIfTI-1, NIfTI-2 and MGH."""
    import nibabel as nib

    first = {int.from_bytes(start[:4], order) for order in ("little", "big")} if start else set()
    if 348 in first:
        return nib.Nifti1Image
    if 540 in first:
        return nib.Nifti2Image
    if int.from_bytes(start[:4], "big") == 1:
        return nib.MGHImage
    raise ValueError("it is not NIfTI or MGH inside" if start else "Empty file")


def _read_sitk(path: Path) -> Stored:
    import SimpleITK as sitk  # noqa: N813 - the name its users know

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    edges_mm = reader.GetSpacing()
    if not all(edges_mm):
        raise ImageError(
            f"the header gives voxels of {in_mm(edges_mm)}, expected edges above 0 mm; "
            "write the true voxel size into the header, or convert the scan again"
        )
    require_one_number(reader.GetNumberOfComponents())
    require_memory(reader.GetSize(), 8)
    return replace(sitk_content(reader.Execute()), warnings=_itk_warnings(path))


def sitk_content(image: Any) -> Stored:
    """Voxels and placement of a SimpleITK image with one number per voxel. ITK's millimetres are LPS."""
    import SimpleITK as sitk  # noqa: N813 - the name its users know

    dimension = image.GetDimension()
    with np.errstate(over="ignore"):
        voxels = spatial_axes(sitk.GetArrayViewFromImage(image).T.astype(np.float32))
    affine = np.eye(4)
    if dimension >= 3:
        direction = np.array(image.GetDirection()).reshape(dimension, dimension)[:3, :3]
        affine[:3, :3] = direction * np.array(image.GetSpacing()[:3])
        affine[:3, 3] = image.GetOrigin()[:3]
    return Stored(voxels, LPS_TO_RAS @ affine)


def _itk_warnings(path: Path) -> tuple[str, ...]:
    """Warn about missing voxel sizes and directions, for which ITK silently takes 1 mm and LPS."""
    with path.open("rb") as file:
        start = file.read(META_HEADER_BYTES)
    if path.suffix.lower() == ".nrrd":
        sizes = NRRD_SIZES.search(start)
        sized = sizes is not None and len(NRRD_SIZE.findall(sizes[1])) >= 3
        placed = NRRD_SPACE.search(start) is not None
    else:
        sized = META_SIZES.search(start) is not None
        placed = any(word in start for word in (b"TransformMatrix", b"Rotation", b"Orientation"))
    unplaced = UNPLACED.format("left, posterior and superior")
    return (*(() if sized else (UNSIZED,)), *(() if placed else (unplaced,)))


def require_numbers(stored: np.dtype) -> None:
    """Raise `ImageError` unless voxels of this type, as stored, are real numbers."""
    if stored.kind not in "fiub":
        values = "colours" if stored.names else "complex numbers"
        raise ImageError(f"holds {values}, expected one real number per voxel; save the magnitude or one channel")


def require_one_number(components: int) -> None:
    """Raise `ImageError` unless each voxel has one component."""
    if components > 1:
        raise ImageError(
            f"holds {components} numbers per voxel (colours, vectors or complex numbers), expected one; save the "
            "magnitude or one channel"
        )


def spatial_axes(voxels: np.ndarray) -> np.ndarray:
    """The voxels without axes of length 1 after the third."""
    while voxels.ndim > 3 and voxels.shape[-1] == 1:
        voxels = voxels[..., 0]
    return voxels


def require_memory(shape: Sequence[int], stored_bytes: int) -> None:
    """Raise `ImageError` if reading a volume would take more memory than is free. Damaged headers can cause that."""
    needed_gb = math.prod(shape) * (2 * stored_bytes + 4) / 1e9
    free_gb = available_bytes() / 1e9
    if needed_gb > free_gb:
        raise ImageError(
            f"has {'x'.join(map(str, shape))} voxels, which need {needed_gb:.1f} GB to read, but {free_gb:.1f} GB are "
            "free; crop or resample it, or close other programs"
        )
