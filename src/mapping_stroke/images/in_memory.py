"""Images that another library has read or made: nibabel's and SimpleITK's, placed exactly as in a file."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from mapping_stroke.errors import ImageError
from mapping_stroke.images.formats import (
    Stored,
    require_memory,
    require_numbers,
    require_one_number,
    sitk_content,
    spatial_axes,
)
from mapping_stroke.images.image import Image, make_image
from mapping_stroke.images.nifti import copy_placement, place_voxels

EXPECTED = "expected a path, or an image of nibabel, SimpleITK or mapping_stroke"
UNNAMED = "the image"
"""What errors call a scan without a file."""
GivenImage = Image | Path | str | Any
"""An image, or the path of one. `Any` stands for a `SpatialImage` of nibabel and an `Image` of SimpleITK, whose
libraries are loaded only if they are needed."""


def read_given(given: GivenImage, unnamed: str = UNNAMED) -> Image | Path:
    """A path as such, and any image as `Image`. The caller's image is neither changed nor shared.

    Voxels and placement are those of the same image saved to disk and read again, except that voxels which saving would
    round to whole numbers stay as they are.

    Args:
        given: A path, or an image of this package, of nibabel (`SpatialImage`) or of SimpleITK (`Image`).
        unnamed: What errors call it if it has no file.

    Raises:
        ImageError: It is something else, is not three-dimensional, does not hold one real number per voxel, or holds
            infinity, or NaN inside the volume.
    """
    if isinstance(given, Image):
        return given
    if isinstance(given, str | os.PathLike):
        return Path(given)
    title = name_of(given, unnamed)
    try:
        stored = _content(given)
    except ImageError as error:
        raise ImageError(f"{title}: {error}") from error
    except Exception as error:  # reading what the libraries have left on disk raises anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{title}: cannot be read ({reason[:160]}); load or make the image again") from error
    return make_image(stored, title)


def name_of(given: GivenImage, unnamed: str = UNNAMED) -> str:
    """What errors call an image: its path if it has one, also if nibabel has read it, otherwise `unnamed`."""
    if isinstance(given, str | os.PathLike):
        return str(given)
    return str(file_of(given) or unnamed)


def file_of(given: GivenImage) -> Path | None:
    """The file that nibabel has read an image from or written it to; None for other images."""
    from nibabel.spatialimages import SpatialImage

    name = given.get_filename() if isinstance(given, SpatialImage) else None
    return Path(name) if name else None


def _content(given: Any) -> Stored:
    from nibabel.spatialimages import SpatialImage

    if isinstance(given, SpatialImage):
        return _of_nibabel(given)
    import SimpleITK as sitk  # noqa: N813 - the name its users know

    if isinstance(given, sitk.Image):
        values = given.GetPixelIDTypeAsString()
        if "label" in values:  # ITK would end the process
            raise ImageError(f"holds a {values}, expected a scan; convert it with LabelMapToLabel")
        # an image counts complex numbers as one component, but a file as two
        require_one_number(2 if "complex" in values else given.GetNumberOfComponentsPerPixel())
        return sitk_content(given)
    if isinstance(given, np.ndarray):
        raise ImageError(f"is an array, which has no place and voxel size, {EXPECTED}; pass ms.Image(array, affine)")
    raise ImageError(f"is {_article(type(given).__name__)}, {EXPECTED}")


def _of_nibabel(image: Any) -> Stored:
    import nibabel as nib

    stored = np.dtype(getattr(image.dataobj, "dtype", image.get_data_dtype()))
    require_numbers(stored)
    require_memory([int(edge) for edge in image.shape], stored.itemsize if nib.is_proxy(image.dataobj) else 0)
    with np.errstate(over="ignore"):  # overflow becomes infinity, which is refused
        # copied, since nibabel hands out float32 arrays themselves
        voxels = spatial_axes(np.array(image.get_fdata(dtype=np.float32, caching="unchanged"), order="C"))
    # the header as it would be saved: `affine` takes precedence over the fields of the header
    header = type(image)(image.dataobj, image.affine, image.header).header
    if isinstance(image, nib.Nifti1Pair) and voxels.ndim == 3:
        pixdim_mm = np.asarray(header["pixdim"][1:4], dtype=np.float64)
        affine, warnings = place_voxels(header, pixdim_mm, voxels.shape)
        return Stored(voxels, affine, copy_placement(header, pixdim_mm), warnings)
    affine = header.get_affine() if isinstance(image, nib.MGHImage) else image.affine
    if affine is None:
        raise ImageError("has no affine, so its place and voxel size are unknown; make it with one")
    return Stored(voxels, np.asarray(affine, dtype=np.float64))


def _article(noun: str) -> str:
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"
