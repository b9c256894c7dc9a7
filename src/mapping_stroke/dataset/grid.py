"""Grids of cubic voxels in RAS order, in particular that of ATLAS R2.0."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mapping_stroke.images.nifti import Affine

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Grid:
    """Voxels in RAS order without rotation.

    Attributes:
        shape: Voxels along each axis.
        spacing_mm: Length of a voxel's edge, the same along each axis.
        origin_mm: Centre of the first voxel, RAS.
    """

    shape: tuple[int, int, int]
    spacing_mm: float
    origin_mm: tuple[float, float, float]

    @property
    def affine(self) -> Affine:
        """Voxel index to RAS millimetres."""
        affine = np.diag([self.spacing_mm] * 3 + [1.0])
        affine[:3, 3] = self.origin_mm
        return affine

    def crop(self, box: Box) -> "Grid":
        """The part of this grid inside a box."""
        x, y, z = (axis.stop - axis.start for axis in box)
        moved = [origin + axis.start * self.spacing_mm for origin, axis in zip(self.origin_mm, box, strict=True)]
        return Grid((x, y, z), self.spacing_mm, (moved[0], moved[1], moved[2]))

    def corner_in(self, other: "Grid") -> tuple[int, int, int]:
        """Index of this grid's first voxel in another grid with the same spacing; may be negative."""
        x, y, z = (
            round((here - there) / self.spacing_mm) for here, there in zip(self.origin_mm, other.origin_mm, strict=True)
        )
        return x, y, z

    def axes_mm(self, device: "torch.device") -> tuple["Tensor", "Tensor", "Tensor"]:
        """Millimetre positions along each axis, shaped to broadcast over a volume."""
        import torch  # only here: segmenting with OpenVINO also uses grids, without torch

        positions = [
            origin + self.spacing_mm * torch.arange(length, dtype=torch.float32, device=device)
            for origin, length in zip(self.origin_mm, self.shape, strict=True)
        ]
        return positions[0].view(-1, 1, 1), positions[1].view(1, -1, 1), positions[2].view(1, 1, -1)


ATLAS_GRID = Grid((197, 233, 189), 1.0, (-98.0, -134.0, -72.0))
"""MNI152NLin2009aSym at 1 mm, the grid of ATLAS R2.0 and of the ICBM152 2009a template."""


def atlas_grid(spacing_mm: float) -> Grid:
    """The space of ATLAS R2.0 with voxels of another size and the same lower outer faces."""
    x, y, z = (math.ceil(length * ATLAS_GRID.spacing_mm / spacing_mm) for length in ATLAS_GRID.shape)
    # origins are centres of voxels, so equal faces mean shifted origins
    shift_mm = (spacing_mm - ATLAS_GRID.spacing_mm) / 2
    a, b, c = (origin + shift_mm for origin in ATLAS_GRID.origin_mm)
    return Grid((x, y, z), spacing_mm, (a, b, c))


def coarser(grid: Grid, factor: int) -> Grid:
    """The grid of every `factor`-th voxel."""
    x, y, z = (-(-length // factor) for length in grid.shape)
    return Grid((x, y, z), grid.spacing_mm * factor, grid.origin_mm)


def reached(shape: Sequence[int], affine: Affine, grid: Grid) -> Box:
    """The part of a grid that a volume of this shape and affine covers; `is_empty` if it covers none."""
    to_grid = np.linalg.inv(grid.affine) @ affine
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(shape) + 1) - 1  # one voxel beyond: values fade to 0
    places = (to_grid @ np.c_[corners, np.ones(8)].T)[:3]
    low = np.maximum(np.floor(places.min(axis=1)).astype(int), 0)
    high = np.minimum(np.ceil(places.max(axis=1)).astype(int) + 1, grid.shape)
    x, y, z = (slice(int(start), int(stop)) for start, stop in zip(low, high, strict=True))
    return x, y, z


def is_empty(box: Box) -> bool:
    """Whether a box holds no voxel."""
    return any(side.stop <= side.start for side in box)
