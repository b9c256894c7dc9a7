"""The brain of a scan whose place is known: the template's brain, corrected by what the scan shows around its edge."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Bool, Float32
from scipy import ndimage

from mapping_stroke.image import Affine, Image
from mapping_stroke.lesions import FACE_CONNECTED
from mapping_stroke.space.resample import resample
from mapping_stroke.space.template import read_template

Region = Bool[np.ndarray, "x y z"]  # on the template's grid

SURE_MM, FARTHEST_MM = 2.0, 4.0
"""What lies this deep in the template's brain is brain; what lies this far outside is not."""
SHELL_MM = (10.0, 20.0)
"""Distance outside the brain where a whole head shows scalp, and a stripped one nothing."""
STRIPPED_SHARE = 0.25
"""Of that shell a stripped scan shows less: badly stripped ones show some."""
CENTRE_MM, WHITE_QUANTILE = 10.0, 0.8
"""Deep in the brain this quantile of the intensities is white matter."""
SHOWN, TISSUE, FAT = 0.05, 0.45, 1.25
"""Of white matter's intensity: what is more than nothing; grey matter and more; brighter than brain."""
CLOSING_MM = 8.0
"""Gaps of twice this width are closed: sulci, fissures, and the cavities of strokes."""


@dataclass(frozen=True, eq=False)
class FoundBrain:
    """The brain of a scan, on the template's grid.

    Attributes:
        mask: The brain.
        overlap: Dice of what the scan alone shows as its brain and the template's, within the field of view, in [0, 1].
        stripped: Whether the scan shows next to nothing around its brain.
    """

    mask: Region
    overlap: float
    stripped: bool


def find_brain(scan: Image, place: Affine) -> FoundBrain:
    """Find the brain of a scan.

    Args:
        scan: A T1w scan without bias, shrunken to about the template's voxels.
        place: Template's millimetres to the scan's.
    """
    template = read_template()
    to_scan = np.linalg.inv(scan.affine) @ place @ template.affine
    x, y, z = template.t1.shape
    values = resample(scan.voxels, to_scan, (x, y, z))
    in_view = resample(np.ones_like(scan.voxels), to_scan, (x, y, z)) > 0
    depth_mm = _depth_mm()
    centre = values[(depth_mm > CENTRE_MM) & in_view]
    white = float(np.quantile(centre, WHITE_QUANTILE)) if centre.size else 0.0
    if white <= 0:
        return FoundBrain(depth_mm > 0, 0.0, stripped=False)
    shell = (depth_mm < -SHELL_MM[0]) & (depth_mm > -SHELL_MM[1]) & in_view
    shown = values > SHOWN * white
    stripped = bool(shown[shell].mean() < STRIPPED_SHARE) if shell.any() else False
    seen = _close(shown) if stripped else _close(_tissue(values / white, depth_mm))
    mask = (seen & (depth_mm > -FARTHEST_MM)) | ((depth_mm > SURE_MM) & in_view)
    return FoundBrain(ndimage.binary_fill_holes(mask), _dice(seen & in_view, (depth_mm > 0) & in_view), stripped)


def _tissue(relative: Float32[np.ndarray, "x y z"], depth_mm: Float32[np.ndarray, "x y z"]) -> Region:
    """Grey and white matter that hang together, cut off from what touches them by a bridge of one voxel."""
    tissue = (relative > TISSUE) & (relative < FAT) & (depth_mm > -FARTHEST_MM)
    thin = ndimage.binary_erosion(tissue, FACE_CONNECTED)
    labels, count = ndimage.label(thin, FACE_CONNECTED)
    if count == 0:
        return thin
    sizes = np.bincount(labels[(labels > 0) & (depth_mm > 0)], minlength=count + 1)
    return np.asarray(ndimage.binary_dilation(labels == sizes.argmax(), FACE_CONNECTED) & tissue)


def _close(region: Region) -> Region:
    """The region without gaps narrower than twice `CLOSING_MM`, and without holes."""
    if not region.any():
        return region
    spacing_mm, room = read_template().spacing_mm, int(np.ceil(CLOSING_MM / read_template().spacing_mm)) + 1
    padded = np.pad(region, room)
    near = ndimage.distance_transform_edt(~padded, sampling=spacing_mm) <= CLOSING_MM
    closed = ndimage.distance_transform_edt(near, sampling=spacing_mm) > CLOSING_MM
    inner = (slice(room, -room),) * 3
    return np.asarray(ndimage.binary_fill_holes(closed[inner] | region))


def _dice(one: Region, other: Region) -> float:
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else 0.0


@cache
def _depth_mm() -> Float32[np.ndarray, "x y z"]:
    """Distance inside the surface of the template's brain; below 0 outside."""
    template = read_template()
    inside = template.brain > 0.5
    depth, height = (ndimage.distance_transform_edt(part, sampling=template.spacing_mm) for part in (inside, ~inside))
    return (depth - height).astype(np.float32)
