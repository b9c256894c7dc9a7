"""The grid of a simulated cohort, and bringing scans and masks onto it through their affines."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from mapping_stroke.dataset.simulate.volume import Volume, along_every_axis, look_up
from mapping_stroke.image import Affine

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
        """Index in another grid with the same voxels of this grid's first voxel; may be negative."""
        x, y, z = (
            round((here - there) / self.spacing_mm) for here, there in zip(self.origin_mm, other.origin_mm, strict=True)
        )
        return x, y, z

    def axes_mm(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Millimetre positions along each axis, shaped to broadcast over a volume."""
        positions = [
            origin + self.spacing_mm * torch.arange(length, dtype=torch.float32, device=device)
            for origin, length in zip(self.origin_mm, self.shape, strict=True)
        ]
        return positions[0].view(-1, 1, 1), positions[1].view(1, -1, 1), positions[2].view(1, 1, -1)


ATLAS_GRID = Grid((197, 233, 189), 1.0, (-98.0, -134.0, -72.0))
"""MNI152NLin2009aSym at 1 mm, the grid of ATLAS R2.0 and of the ICBM152 2009a template."""


def atlas_grid(spacing_mm: float) -> Grid:
    """The space of ATLAS R2.0 on voxels of another size, the same outer edge at its lower ends."""
    x, y, z = (math.ceil(length * ATLAS_GRID.spacing_mm / spacing_mm) for length in ATLAS_GRID.shape)
    shift_mm = (spacing_mm - ATLAS_GRID.spacing_mm) / 2
    a, b, c = (origin + shift_mm for origin in ATLAS_GRID.origin_mm)
    return Grid((x, y, z), spacing_mm, (a, b, c))


def coarser(grid: Grid, factor: int) -> Grid:
    """The grid of every `factor`-th voxel."""
    x, y, z = (-(-length // factor) for length in grid.shape)
    return Grid((x, y, z), grid.spacing_mm * factor, grid.origin_mm)


def resample(volume: Float32[Tensor, "a b c"], affine: Affine, grid: Grid) -> Volume:
    """Bring a volume onto a grid by linear interpolation; 0 where it does not reach.

    Args:
        volume: Intensities, or 0 and 1 for a mask (then compare the result with 0.5).
        affine: Voxel index of `volume` to RAS millimetres; any orientation, spacing and rotation.
        grid: Where to.

    Returns:
        The volume on `grid`, on the same device.
    """
    result = torch.zeros(grid.shape, device=volume.device)
    box = reached(volume.shape, affine, grid)
    if any(side.stop <= side.start for side in box):
        return result
    part = grid.crop(box)
    to_source = np.linalg.inv(affine)
    x, y, z = part.axes_mm(volume.device)
    places = [float(row[0]) * x + float(row[1]) * y + float(row[2]) * z + float(row[3]) for row in to_source[:3]]
    result[box] = look_up(volume[None], places)[0]
    return result


def refine(volume: Float32[Tensor, "a b c"], source: Grid, target: Grid) -> Volume:
    """Bring a volume on one grid to another grid by linear interpolation, fast; its border is repeated beyond it."""
    bases = []
    for axis in range(3):
        place = (target.axes_mm(volume.device)[axis].flatten() - source.origin_mm[axis]) / source.spacing_mm
        knots = torch.arange(source.shape[axis], device=volume.device)
        bases.append((1 - (place.clamp(0, source.shape[axis] - 1)[:, None] - knots).abs()).clamp(min=0))
    return along_every_axis(volume, bases)


def average(volume: Float32[Tensor, "a b c"], affine: Affine, grid: Grid) -> Volume:
    """As `resample`, but a voxel of a coarser grid is the mean over itself, as `prepare_scan` makes it.

    Args:
        volume: Intensities, or shares.
        affine: Voxel index of `volume` to RAS millimetres.
        grid: Where to.
    """
    parts = max(round(grid.spacing_mm / float(np.linalg.norm(affine[:3, :3], axis=0).min())), 1)
    if parts == 1:
        return resample(volume, affine, grid)
    result = torch.zeros(grid.shape, device=volume.device)
    box = reached(volume.shape, affine, grid)
    part, fine_mm = grid.crop(box), grid.spacing_mm / parts
    x, y, z = (length * parts for length in part.shape)
    a, b, c = (origin - (grid.spacing_mm - fine_mm) / 2 for origin in part.origin_mm)
    fine = resample(volume, affine, Grid((x, y, z), fine_mm, (a, b, c)))
    result[box] = torch.nn.functional.avg_pool3d(fine[None, None], parts)[0, 0]
    return result


def reached(shape: Sequence[int], affine: Affine, grid: Grid) -> Box:
    """The part of a grid that a volume of this shape and affine reaches; a side may be empty."""
    to_grid = np.linalg.inv(grid.affine) @ affine
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(shape) + 1) - 1  # one voxel beyond: values fade to 0
    places = (to_grid @ np.c_[corners, np.ones(8)].T)[:3]
    low = np.maximum(np.floor(places.min(axis=1)).astype(int), 0)
    high = np.minimum(np.ceil(places.max(axis=1)).astype(int) + 1, grid.shape)
    x, y, z = (slice(int(start), int(stop)) for start, stop in zip(low, high, strict=True))
    return x, y, z
