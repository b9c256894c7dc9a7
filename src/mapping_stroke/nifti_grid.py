"""Where a NIfTI header places its voxels: one rule for reading, and the same placement for what is written beside it.

The rule, which is nibabel's, FSL's and SPM's: the sform where its code is above 0, else the qform where its code is
above 0, else the bare voxel edges. A second placement that says something else is told, never mixed in.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64

Affine = Float64[np.ndarray, "4 4"]  # voxel index -> RAS millimetres
Shape = tuple[int, int, int]  # voxels along each axis

SAME_PLACE_VOX = 0.1
"""Placements that differ by less, in voxels, count as one."""
SAME_EDGE = 0.01
"""Edges of a voxel that differ by a smaller share count as one."""
SHEAR_VOX = 0.001
"""A qform is written where it places every voxel as the affine does, to this share of a voxel: it cannot shear."""
UNPLACED = "the header does not place the voxels: the axes are taken to point {}, so left and right are a guess"
"""Told where a file of any format holds no placement."""
FIELDS = (
    *("qform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("sform_code", "srow_x", "srow_y", "srow_z"),
)
"""Of a NIfTI header: all that places voxels, beside `pixdim`."""


@dataclass(frozen=True, eq=False)
class Placement:
    """What a NIfTI header says about the place of its voxels, field by field, to be said again by the results.

    Attributes:
        fields: Value of each of `FIELDS`.
        pixdim: The sign of the qform's third axis and the edges of a voxel.
    """

    fields: dict[str, Any]
    pixdim: np.ndarray


def read_placement(header: Any, shape: Shape) -> tuple[Affine, Placement, tuple[str, ...]]:
    """Apply the rule to a NIfTI header (nibabel's, which has refused a damaged qform that stands alone).

    Returns:
        The affine, what the header says field by field, and what a user should know about it.
    """
    placement = Placement({name: header[name].copy() for name in FIELDS}, header["pixdim"][:4].copy())
    sform, (qform, complaint) = _sform(header), _qform(header)
    if sform is not None:
        warnings = [f"{complaint}; the sform is used"] if complaint else _differences(header, sform, qform, shape)
        return sform, placement, tuple(warnings)
    if qform is not None:
        return qform, placement, ()
    affine = np.asarray(header.get_base_affine(), dtype=np.float64)
    return affine, placement, (UNPLACED.format("left, anterior and superior"),)


def write_placement(header: Any, grid: Affine | Placement) -> None:
    """Place the voxels of a NIfTI header (nibabel's): as another header did, or by an affine in millimetres.

    An affine becomes sform and qform; one that shears, which no qform can, becomes the sform alone.
    """
    if isinstance(grid, Placement):
        for name, value in grid.fields.items():
            header[name] = value
        header["pixdim"][:4] = grid.pixdim
        return
    header.set_sform(grid, code="aligned")
    header.set_qform(grid, code="aligned")
    shift_vox = np.linalg.solve(grid[:3, :3], header.get_qform()[:3, :3]) - np.eye(3)
    if np.abs(shift_vox).max() > SHEAR_VOX:
        header["qform_code"] = 0


def largest_shift_mm(affine: Affine, other: Affine, shape: Shape) -> float:
    """How far apart two affines place the same voxel of a grid, at most."""
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
    """The qform where there is one, and what is wrong with it; a quaternion longer than 1 is no rotation."""
    if int(header["qform_code"]) <= 0:
        return None, ""
    try:
        return np.asarray(header.get_qform(), dtype=np.float64), ""
    except ValueError as error:
        return None, f"the header's qform is damaged ({error})"


def _differences(header: Any, sform: Affine, qform: Affine | None, shape: Shape) -> list[str]:
    """What the header says besides its sform and differently: the qform, or at least the edges of a voxel."""
    edges_mm = voxel_edges_mm(sform)
    if qform is not None:
        shift_mm = largest_shift_mm(qform, sform, shape)
        if not shift_mm > SAME_PLACE_VOX * min(edges_mm):
            return []
        mirrored = np.linalg.det(qform[:3, :3]) * np.linalg.det(sform[:3, :3]) < 0
        return [
            f"the header's sform and qform place voxels up to {shift_mm:.1f} mm apart"
            f"{' and disagree on left and right' if mirrored else ''}; the sform is used"
        ]
    stored_mm = np.abs(header["pixdim"][1:4])
    if np.allclose(stored_mm, edges_mm, rtol=SAME_EDGE, atol=0):
        return []
    return [
        f"the header gives voxels of {_told(stored_mm)} mm (pixdim) and of {_told(edges_mm)} mm (sform); "
        "the sform is used"
    ]


def _told(edges_mm: Any) -> str:
    return " x ".join(f"{edge:.3g}" for edge in edges_mm)
