"""Where a NIfTI header places its voxels: one rule for reading, and the same placement for what is written beside it.

The rule, which is nibabel's, FSL's and SPM's: the sform where its code is above 0, else the qform where its code is
above 0, else the bare voxel edges. A second placement or size that says something else is told, never mixed in.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64

from mapping_stroke.errors import ImageError

Affine = Float64[np.ndarray, "4 4"]  # voxel index -> RAS millimetres
Edges = Float64[np.ndarray, "3"]  # of a voxel, along each axis
Shape = tuple[int, int, int]  # voxels along each axis

SAME_PLACE_VOX = 0.1
"""Placements that differ by less, in voxels, count as one."""
SAME_EDGE = 0.01
"""Edges of a voxel that differ by a smaller share count as one."""
SHEAR_VOX = 0.001
"""A qform is written where it places every voxel as the affine does, to this share of a voxel: it cannot shear."""
UNPLACED = "the header does not place the voxels: the axes are taken to point {}, so left and right are a guess"
"""Told where a file of any format holds no placement."""
UNSIZED = "the header does not give the voxel size along each axis: 1 mm is taken instead, so volumes are a guess"
"""Told where a format has a size for files that give none."""
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


def place_voxels(header: Any, pixdim_mm: Edges, shape: Shape) -> tuple[Affine, tuple[str, ...]]:
    """Apply the rule to a NIfTI header.

    Args:
        header: nibabel's, which has mended `pixdim` and has refused a damaged qform that stands alone.
        pixdim_mm: The edges of a voxel as the file gives them: nibabel turns 0 into 1 without a word.
        shape: Voxels along each axis.

    Returns:
        The affine, and what a user should know about it, a line each.

    Raises:
        ImageError: There is no sform, and an edge of a voxel is 0 or no number.
    """
    sform, (qform, complaint) = _sform(header), _qform(header)
    if sform is not None:
        places = [f"{complaint}; the sform is used"] if complaint else _other_place(sform, qform, shape)
        return sform, (*_other_size(sform, pixdim_mm), *places)
    if not _are_lengths(np.abs(pixdim_mm)).all():
        raise ImageError(
            f"the header gives voxels of {_told(pixdim_mm)} mm (pixdim) and no sform, expected edges above 0 mm; write "
            "the true voxel size into the header, or convert the scan again"
        )
    warnings = [] if (pixdim_mm > 0).all() else [_negative(pixdim_mm)]
    if qform is not None:
        return qform, tuple(warnings)
    affine = np.asarray(header.get_base_affine(), dtype=np.float64)
    return affine, (*warnings, UNPLACED.format("left, anterior and superior"))


def copy_placement(header: Any, pixdim_mm: Edges) -> Placement:
    """What a NIfTI header says about the place of its voxels; an edge that is no length becomes the sform's.

    Args:
        header: See `place_voxels`.
        pixdim_mm: See `place_voxels`.
    """
    pixdim, sform = header["pixdim"][:4].copy(), _sform(header)
    if sform is not None:
        pixdim[1:] = np.where(_are_lengths(np.abs(pixdim_mm)), pixdim[1:], voxel_edges_mm(sform))
    return Placement({name: header[name].copy() for name in FIELDS}, pixdim)


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


def _other_size(sform: Affine, pixdim_mm: Edges) -> list[str]:
    """Edges of a voxel that differ from the sform's, by more than rounding; their sign says nothing."""
    edges_mm = voxel_edges_mm(sform)
    if np.allclose(np.abs(pixdim_mm), edges_mm, rtol=SAME_EDGE, atol=0):
        return []
    return [
        f"the header gives voxels of {_told(pixdim_mm)} mm (pixdim) and of {_told(edges_mm)} mm (sform); "
        "the sform is used"
    ]


def _other_place(sform: Affine, qform: Affine | None, shape: Shape) -> list[str]:
    """A qform that places voxels elsewhere than the sform."""
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
    return f"the header gives voxels of {_told(pixdim_mm)} mm (pixdim); {_told(np.abs(pixdim_mm))} mm is taken"


def _are_lengths(edges_mm: Edges) -> Bool[np.ndarray, "3"]:
    return np.asarray(np.isfinite(edges_mm) & (edges_mm > 0))


def _told(edges_mm: Any) -> str:
    return " x ".join(f"{edge:.3g}" for edge in edges_mm)
