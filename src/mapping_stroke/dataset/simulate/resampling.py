"""Bringing scans and masks onto a grid through their affines."""

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from mapping_stroke.dataset.grid import Grid, is_empty, reached
from mapping_stroke.dataset.simulate.volume import Volume, along_every_axis, look_up
from mapping_stroke.image import Affine


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
    if is_empty(box):
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
    if is_empty(box):
        return result
    part, fine_mm = grid.crop(box), grid.spacing_mm / parts
    x, y, z = (length * parts for length in part.shape)
    a, b, c = (origin - (grid.spacing_mm - fine_mm) / 2 for origin in part.origin_mm)
    fine = resample(volume, affine, Grid((x, y, z), fine_mm, (a, b, c)))
    result[box] = torch.nn.functional.avg_pool3d(fine[None, None], parts)[0, 0]
    return result
