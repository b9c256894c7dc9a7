"""Placement of voxels by a NIfTI header: one rule for reading, and the same placement for the results.

The rule of nibabel, FSL and SPM: the sform if its code is above 0, else the qform if its code is above 0, else the
voxel edges only. A second placement or size that disagrees is reported and never mixed in.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64

from mapping_stroke.errors import ImageError

Affine = Float64[np.ndarray, "4 4"]  # voxel index -> RAS millimetres
Edges = Float64[np.ndarray, "3"]  # of a voxel, along each axis
Shape = tuple[int, int, int]  # voxels along each axis

SAME_PLACE_VOX = 0.1
"""Placements that differ by less, in voxels, count as equal."""
SAME_EDGE = 0.01
"""Voxel edges that differ by a smaller fraction count as equal."""
SHEAR_VOX = 0.001
"""A qform, which cannot shear, is only written if it agrees with the affine to this fraction of a voxel."""
UNPLACED = "the header does not place the voxels: the axes are assumed to point {}, so left and right are a guess"
"""Warning about a file of any format without placement."""
UNSIZED = "the header does not give the voxel size along each axis: 1 mm is assumed, so volumes are a guess"
"""Warning about a file without voxel sizes."""
FIELDS = (
    *("qform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("sform_code", "srow_x", "srow_y", "srow_z"),
)
"""All fields of a NIfTI header that place voxels, except `pixdim`."""


@dataclass(frozen=True, eq=False)
class Placement:
    """Fields of a NIfTI header that place its voxels, to be copied to the results.

    Attributes:
        fields: Value of each of `FIELDS`.
        pixdim: The sign of the qform's third axis, and the edges of a voxel.
    """

    fields: dict[str, Any]
    pixdim: np.ndarray


def place_voxels(header: Any, pixdim_mm: Edges, shape: Shape) -> tuple[Affine, tuple[str, ...]]:
    """Apply the rule to a NIfTI header.

    Args:
        header: nibabel's, which has corrected `pixdim` and refused a damaged qform without an sform.
        pixdim_mm: The voxel edges as stored in the file; nibabel silently turns 0 into 1.
        shape: Voxels along each axis.

    Returns:
        The affine, and warnings about it, one line each.

    Raises:
        ImageError: There is no sform, and a voxel edge is 0 or not a number.
    """
    sform, (qform, complaint) = _sform(header), _qform(header)
    if sform is not None:
        places = [f"{complaint}; the sform is used"] if complaint else _other_place(sform, qform, shape)
        return sform, (*_other_size(sform, pixdim_mm), *places)
    if not _are_lengths(np.abs(pixdim_mm)).all():
        raise ImageError(
            f"the header gives voxels of {in_mm(pixdim_mm)} (pixdim) and no sform, expected edges above 0 mm; "
            "write the true voxel size into the header, or convert the scan again"
        )
    warnings = [] if (pixdim_mm > 0).all() else [_negative(pixdim_mm)]
    if qform is not None:
        return qform, tuple(warnings)
    affine = np.asarray(header.get_base_affine(), dtype=np.float64)
    return affine, (*warnings, UNPLACED.format("left, anterior and superior"))


def copy_placement(header: Any, pixdim_mm: Edges) -> Placement:
    """Copy the placement fields of a NIfTI header. An invalid voxel edge is replaced by the sform's.

    Args:
        header: See `place_voxels`.
        pixdim_mm: See `place_voxels`.
    """
    pixdim, sform = header["pixdim"][:4].copy(), _sform(header)
    if sform is not None:
        pixdim[1:] = np.where(_are_lengths(np.abs(pixdim_mm)), pixdim[1:], voxel_edges_mm(sform))
    return Placement({name: header[name].copy() for name in FIELDS}, pixdim)


def write_placement(header: Any, grid: Affine | Placement) -> None:
    """Place the voxels of a NIfTI header (nibabel's) like another header, or by an affine in millimetres.

    An affine becomes sform and qform; one that shears, which no qform can, becomes only the sform.
    """
    if isinstance(grid, Placement):
        for name, value in grid.fields.items():
            header[name] = value
        header["pixdim"][:4] = grid.pixdim
        return
    header.set_sform(grid, code="aligned")
    header.set_qform(grid, code="aligned")
    # set_qform silently drops shear, so compare what it stored
    shift_vox = np.linalg.solve(grid[:3, :3], header.get_qform()[:3, :3]) - np.eye(3)
    if np.abs(shift_vox).max() > SHEAR_VOX:
        header["qform_code"] = 0


def largest_shift_mm(affine: Affine, other: Affine, shape: Shape) -> float:
    """The largest distance between the places of a voxel under two affines."""
    # affine maps differ most at a corner
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(shape) - 1)
    corners_1 = np.c_[corners, np.ones(8)].T
    return float(np.linalg.norm((affine - other) @ corners_1, axis=0).max())


def voxel_edges_mm(affine: Affine) -> tuple[float, float, float]:
    """Length of a voxel's edge along each axis."""
    x, y, z = (float(edge) for edge in np.linalg.norm(affine[:3, :3], axis=0))
    return x, y, z


def _sform(header: Any) -> Affine | None:
    return np.asarray(header.get_sform(), dtype=np.float64) if int(header["sform_code"]) > 0 else None


def _qform(header: Any) -> tuple[Affine | None, str]:
    """The qform, if there is one, and the problem with it. A quaternion longer than 1 is no rotation."""
    if int(header["qform_code"]) <= 0:
        return None, ""
    try:
        return np.asarray(header.get_qform(), dtype=np.float64), ""
    except ValueError as error:
        return None, f"the header's qform is damaged ({error})"


def _other_size(sform: Affine, pixdim_mm: Edges) -> list[str]:
    """Report voxel edges that differ from the sform's by more than rounding. Their sign is ignored."""
    edges_mm = voxel_edges_mm(sform)
    if np.allclose(np.abs(pixdim_mm), edges_mm, rtol=SAME_EDGE, atol=0):
        return []
    return [
        f"the header gives voxels of {in_mm(pixdim_mm)} (pixdim) and of {in_mm(edges_mm)} (sform); the sform is used"
    ]


def _other_place(sform: Affine, qform: Affine | None, shape: Shape) -> list[str]:
    """Report a qform that disagrees with the sform."""
    if qform is None:
        return []
    shift_mm = largest_shift_mm(qform, sform, shape)
    if not shift_mm > SAME_PLACE_VOX * min(voxel_edges_mm(sform)):
        return []
    mirrored = np.linalg.det(qform[:3, :3]) * np.linalg.det(sform[:3, :3]) < 0
    return [
        f"the header's sform and qform place voxels up to {shift_mm:.1f} mm apart"
        f"{' and disagree on left and right' if mirrored else ''}; the sform is used"
    ]


def _negative(pixdim_mm: Edges) -> str:
    return f"the header gives voxels of {in_mm(pixdim_mm)} (pixdim); {in_mm(np.abs(pixdim_mm))} is assumed"


def _are_lengths(edges_mm: Edges) -> Bool[np.ndarray, "3"]:
    return np.asarray(np.isfinite(edges_mm) & (edges_mm > 0))


def in_mm(values_mm: Iterable[float]) -> str:
    """Lengths with three digits, such as `1 x 1 x 1.25 mm`."""
    return " x ".join(f"{value:.3g}" for value in values_mm) + " mm"
