"""The sides of the brain on which lesions lie."""

import numpy as np
from jaxtyping import Float64

from mapping_stroke.images.image import Image, Mask
from mapping_stroke.images.nifti import Affine

Points = Float64[np.ndarray, "n 3"]  # RAS millimetres
MIDDLE = (0.25, 0.75)
"""Part of the scan from left to right in which its midplane must lie."""


def lesion_points(mask: Mask, affine: Affine, to_mni: Affine) -> Points:
    """The centres of a mask's voxels in MNI152 space."""
    index_to_mni = to_mni @ affine
    points: Points = np.argwhere(mask) @ index_to_mni[:3, :3].T + index_to_mni[:3, 3]
    return points


def hemisphere_ml(points: Points, voxel_mm3: float) -> dict[str, float]:
    """Volume left and right of the plane x = 0, in mL. Voxels on it count half on each side."""
    x = points[:, 0]
    middle = float((x == 0).sum()) / 2
    return {
        "left_ml": (float((x < 0).sum()) + middle) * voxel_mm3 / 1000,
        "right_ml": (float((x > 0).sum()) + middle) * voxel_mm3 / 1000,
    }


def placed_sides_ml(mask: Mask, affine: Affine, to_mni: Affine) -> dict[str, float]:
    """`hemisphere_ml` of a mask whose place in MNI152 space is known: the one way to the volume of each side.

    Args:
        mask: The mask.
        affine: Its voxel index to millimetres of the scan; the volumes are those in the space of the scan.
        to_mni: Those millimetres to those of MNI152.
    """
    return hemisphere_ml(lesion_points(mask, affine, to_mni), float(abs(np.linalg.det(affine[:3, :3]))))


def sides_ml(mask: Mask, scan: Image) -> dict[str, float]:
    """`placed_sides_ml` of a mask on the grid of a scan, in the scan's own coordinates.

    The plane x = 0 is the midplane of a scan in MNI152 space. Elsewhere it is near it only if the origin was set so;
    the result is empty if the plane lies outside the middle half of the scan, for example without an origin.
    """
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(scan.shape) - 1)
    x = corners @ scan.affine[0, :3] + scan.affine[0, 3]
    extent = float(x.max() - x.min())
    if extent == 0 or not MIDDLE[0] <= -float(x.min()) / extent <= MIDDLE[1]:
        return {}
    return placed_sides_ml(mask, scan.affine, np.eye(4))
