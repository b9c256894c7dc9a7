"""Masks of lesions in files: read, checked, and brought to the axes of their scans."""

from pathlib import Path

from mapping_stroke.errors import ImageError
from mapping_stroke.images.image import Image, Mask, read_image, reorient, require_same_grid

SAME_VALUE = 1e-3
"""Values that differ by less than this fraction are one value, stored with rounding."""


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
