"""Is this a T1-weighted scan of a head? What cannot give a meaningful result is refused; what is doubtful is told.

The limits are wide: they separate a scan from a mask, a CT or a broken header, not a good scan from a poor one.
"""

import numpy as np
from jaxtyping import Bool

from mapping_stroke.dataset.preprocess import LARGEST_EXTENT_MM
from mapping_stroke.errors import ImageError
from mapping_stroke.image import Image, Voxels
from mapping_stroke.lesions import bounding_box

FEWEST_VOX = 8
"""Along each axis; fewer are single slices or a broken header."""
SKEWEST_DEG = 10.0
"""How far the axes of a grid may be from standing upright on one another, as they do in all that scanners write."""
LARGEST_EDGE_MM = 10.0
"""No scan that shows a lesion has larger voxels."""
THICK_EDGE_MM = 4.0
"""Slices thicker than this hide small lesions."""
SMALLEST_EXTENT_MM = 30.0
"""Of what is not 0, each way: a third of a newborn's head."""
BRAIN_EXTENT_MM = 90.0
"""A whole adult brain is longer than this each way."""
BRAIN_ML = (500.0, 2500.0)
"""A brain in its own space has 1000 to 1900 mL, in MNI space 2050 mL; a head with its skull 3000 mL and more."""
HEAD_EXTENT_MM = 350.0
"""A head with its neck is shorter than this."""
NO_BACKGROUND = 0.99
"""Share of voxels other than 0 above which there is no background."""
FLAT = 0.7
"""Share of neighbours of the same value, along every axis: 0.01 to 0.25 in scans, 0.85 in maps of tissues."""
AIR_HU = -500.0
"""CT shows air around -1000 and nothing else below this."""
LOWEST_HU = -5000.0
"""No CT goes below: what it writes outside its circle is -1024 to -3024."""
AIR_SHARE = 0.1
"""Share of air from which a volume with such values counts as CT."""


def check_scan(scan: Image, *, heads: bool = False) -> list[str]:
    """Look whether an image can be a T1w scan of a head, at its grid and its values.

    Args:
        scan: The image.
        heads: Whether it may well show more than the brain: that is not told then.

    Returns:
        What a user should know, a line each, the file's own `warnings` first; empty if all is well.

    Raises:
        ImageError: The grid has too few voxels, or too large or skew ones; the voxels hold one value, a label map or a
            CT; or what is not 0 is far smaller or larger than a head.
    """
    _require_grid(scan)
    value = one_value(scan.voxels)
    if value:
        raise ImageError(f"{value}, expected a brain; check the conversion that wrote it, or whether it is a mask")
    nonzero = scan.voxels != 0
    box = bounding_box(nonzero)
    extent_mm = [(edge.stop - edge.start) * mm for edge, mm in zip(box, scan.spacing_mm, strict=True)]
    _require_head(extent_mm, scan)
    corner = float(scan.voxels[0, 0, 0])  # background, whatever its value
    _require_intensities(scan.voxels[box], (nonzero & (scan.voxels != corner))[box] if corner else nonzero[box])
    warnings = [*scan.warnings, *_brain_warnings(extent_mm, nonzero, scan.voxel_volume_mm3, heads=heads)]
    if max(scan.spacing_mm) > THICK_EDGE_MM:
        warnings.append(f"voxels of {_told(scan.spacing_mm)} mm: lesions smaller than a slice can be missed")
    return warnings


def one_value(voxels: Voxels) -> str:
    """What to say of a volume without contrast, such as `all voxels are 0`; empty where there is contrast."""
    nonzero = voxels != 0
    low = float(voxels.min(where=nonzero, initial=np.inf))
    high = float(voxels.max(where=nonzero, initial=-np.inf))
    if low < high:
        return ""
    some = bool(nonzero.any())
    which = "non-zero voxels" if some and not nonzero.all() else "voxels"
    return f"all {which} are {low if some else 0:g}"


def _require_grid(scan: Image) -> None:
    if min(scan.shape) < FEWEST_VOX:
        raise ImageError(
            f"has {'x'.join(map(str, scan.shape))} voxels, expected at least {FEWEST_VOX} along each axis; "
            "give the whole volume, not single slices"
        )
    if max(scan.spacing_mm) > LARGEST_EDGE_MM:
        raise ImageError(
            f"has voxels of {_told(scan.spacing_mm)} mm, expected edges of at most {LARGEST_EDGE_MM:g} mm; mend the "
            "voxel size in its header, or use a finer scan"
        )
    axes = scan.affine[:3, :3] / np.array(scan.spacing_mm)
    skew_deg = float(np.degrees(np.arcsin(min(np.abs(np.triu(axes.T @ axes, 1)).max(), 1.0))))
    if skew_deg > SKEWEST_DEG:
        raise ImageError(
            f"the axes of its grid are {skew_deg:.0f} degrees off the upright, expected at most {SKEWEST_DEG:g}: its "
            "header holds a transform that shears; resample the scan onto an upright grid"
        )


def _require_head(extent_mm: list[float], scan: Image) -> None:
    if min(extent_mm) < SMALLEST_EXTENT_MM or max(extent_mm) > LARGEST_EXTENT_MM:
        raise ImageError(
            f"its non-zero voxels span {_told(extent_mm)} mm (voxels of {_told(scan.spacing_mm)} mm), expected a head "
            f"({SMALLEST_EXTENT_MM:g} to {LARGEST_EXTENT_MM:g} mm); mend the voxel size in its header"
        )


def _require_intensities(voxels: Voxels, inside: Bool[np.ndarray, "x y z"]) -> None:
    """Raise for a label map (almost all neighbours alike) and for a CT (much air, in Hounsfield units)."""
    air = float((voxels < AIR_HU).mean())
    if air > AIR_SHARE and float(voxels.min()) > LOWEST_HU:
        raise ImageError(
            f"{air:.0%} of its voxels are below {AIR_HU:g}, as air is in a CT, expected a T1-weighted MRI; give the "
            "T1w scan (where it is one, shift its values until the background is 0)"
        )
    if all(_share_alike(voxels, inside, axis) > FLAT for axis in range(3)):
        raise ImageError(
            "almost all neighbouring voxels have the same value, as in a label map, expected a T1-weighted MRI; give "
            "the scan, not its segmentation"
        )


def _share_alike(voxels: Voxels, inside: Bool[np.ndarray, "x y z"], axis: int) -> float:
    """Of the neighbours along an axis that are both inside, how many have the same value; 0 where there are none."""
    ahead, behind = ((slice(None),) * axis + (part,) for part in (slice(1, None), slice(None, -1)))
    both = inside[ahead] & inside[behind]
    alike = (voxels[ahead] == voxels[behind]) & both
    return int(np.count_nonzero(alike)) / max(int(np.count_nonzero(both)), 1)


def _brain_warnings(
    extent_mm: list[float], nonzero: Bool[np.ndarray, "x y z"], voxel_volume_mm3: float, *, heads: bool
) -> list[str]:
    """Whether what is not 0 has the size of a brain, and whether there is a background at all."""
    found_vox = int(np.count_nonzero(nonzero))
    found_ml = found_vox * voxel_volume_mm3 / 1000
    size = f"its non-zero voxels span {_told(extent_mm)} mm and fill {found_ml:.0f} mL"
    if found_vox > NO_BACKGROUND * nonzero.size and not heads:
        return ["it has no background of 0, so all that is around the brain counts as brain: strip the skull first"]
    if min(extent_mm) < BRAIN_EXTENT_MM or found_ml < BRAIN_ML[0]:
        return [f"{size}, less than a brain: look whether a part is missing"]
    if max(extent_mm) > HEAD_EXTENT_MM:
        return [f"{size}, more than a head: look at the voxel size in its header"]
    if found_ml > BRAIN_ML[1] and not heads:
        return [f"{size}, more than a brain: strip the skull first, unless the model was trained on whole heads"]
    return []


def _told(lengths_mm: tuple[float, ...] | list[float]) -> str:
    return " x ".join(f"{length:.3g}" for length in lengths_mm)
