"""How one brain becomes another: smooth deformations, wider ventricles, and what a lost territory pulls along."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from mapping_stroke.dataset.grid import Grid, coarser
from mapping_stroke.dataset.simulate.anatomy import MNI_CENTRE_MM, Brain
from mapping_stroke.dataset.simulate.resampling import refine
from mapping_stroke.dataset.simulate.volume import (
    Displacement,
    Region,
    blur,
    gradient,
    smooth_field,
)

STEP_MM = 4.0
"""Displacements are smooth: they are made on a grid of this step."""
KNOTS_MM = (60.0, 26.0, 11.0)
"""Distance of the knots of the coarse, medium and fine displacements."""
PULL_SIGMA_MM = 8.0
"""How far from a ventricle's wall its widening is felt."""
LARGEST_PULL_MM = 5.0
"""A wall moves no further, or tissue would fold."""


@dataclass(frozen=True)
class Deformation:
    """How far anatomy is moved.

    Attributes:
        coarse_mm: Standard deviation of the displacements with the widest of `KNOTS_MM`.
        medium_mm: The same with the middle one.
        fine_mm: The same with the narrowest.
        scale: Relative size along x, y, z.
        ventricles_mm: How far the walls of the ventricles move outwards (inwards below 0).
        pull_mm: How far a lost territory pulls the ventricle beside it.
        turn_deg: Rotation about x, y, z.
    """

    coarse_mm: float
    medium_mm: float
    fine_mm: float
    scale: tuple[float, float, float]
    ventricles_mm: float
    pull_mm: float
    turn_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def volume_ratio(self) -> float:
        """Volume of the new brain, relative to the old, without the random displacements."""
        return self.scale[0] * self.scale[1] * self.scale[2]


def draw_deformation(age: float, load_mm3: float, strength: float, rng: np.random.Generator) -> Deformation:
    """Draw a deformation: ventricles grow with age (0 young, 1 old), the pull with the load.

    Args:
        age: 0 young to 1 old.
        load_mm3: All lesions of the case.
        strength: 1 where one template makes all brains, less where brains differ already.
        rng: Source of the numbers.
    """
    x, y, z = (float(1 + 0.025 * strength * np.clip(rng.standard_normal(), -2, 2)) for _ in range(3))
    return Deformation(
        coarse_mm=strength * float(rng.uniform(1.5, 3.0)),
        medium_mm=strength * float(rng.uniform(0.8, 1.5)),
        fine_mm=strength * float(rng.uniform(0.3, 0.6)),
        scale=(x, y, z),
        ventricles_mm=float(-0.5 + 3.5 * age + 0.7 * rng.standard_normal()),
        pull_mm=float(min(rng.uniform(0.5, 1.5) * (load_mm3 / 10_000) ** 0.5, 5.0)),
    )


def place_freely(deformation: Deformation, rng: np.random.Generator) -> Deformation:
    """The same person as scanned: smaller than MNI space has it, and not straight."""
    size = float(rng.uniform(0.83, 1.05))
    x, y, z = (size * length for length in deformation.scale)
    nod, tilt, turn = (float(np.clip(rng.standard_normal(), -2, 2) * spread) for spread in (6.0, 3.0, 3.0))
    return replace(deformation, scale=(x, y, z), turn_deg=(nod, tilt, turn))


def displacement_of(
    brain: Brain, lesions: Region, deformation: Deformation, rng: np.random.Generator, grid: Grid | None = None
) -> Float32[Tensor, "3 a b c"]:
    """Where every voxel of the new brain looks into the old one, in voxels.

    Args:
        brain: The old brain.
        lesions: Its lesions, on the same grid; may be empty.
        deformation: How far.
        rng: Source of the shapes.
        grid: Where displacements are wanted: the brain's own grid, or a part or extension of it.
    """
    grid = grid or brain.grid
    coarse = coarser(grid, max(round(STEP_MM / grid.spacing_mm), 1))
    moved = _wander(coarse, deformation, rng, brain.device) + _towards_ventricles(brain, lesions, deformation, coarse)
    here = [axis - centre for axis, centre in zip(coarse.axes_mm(brain.device), MNI_CENTRE_MM, strict=True)]
    linear = _rotation(deformation.turn_deg).T / np.array(deformation.scale)[None, :] - np.eye(3)
    for part, row in zip(moved, linear, strict=True):
        for axis, factor in zip(here, row, strict=True):
            part += axis * float(factor)
    moved = moved / grid.spacing_mm
    return torch.stack([refine(part, coarse, grid) for part in moved])


def _rotation(turn_deg: tuple[float, float, float]) -> Float64[np.ndarray, "3 3"]:
    a, b, c = np.deg2rad(turn_deg)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x)


def _wander(coarse: Grid, deformation: Deformation, rng: np.random.Generator, device: torch.device) -> Displacement:
    """Smooth random displacements in mm."""
    sizes_mm = (deformation.coarse_mm, deformation.medium_mm, deformation.fine_mm)
    moved = torch.zeros(3, *coarse.shape, device=device)
    for direction in moved:
        for size_mm, knots_mm in zip(sizes_mm, KNOTS_MM, strict=True):
            knots_vox = max(knots_mm / coarse.spacing_mm, 1.5)
            direction += size_mm * smooth_field(coarse.shape, knots_vox, rng, device)
    return moved


def _towards_ventricles(brain: Brain, lesions: Region, deformation: Deformation, coarse: Grid) -> Tensor:
    """Looking towards a ventricle from its wall widens it; beside a lesion more so; in mm."""
    stride = max(round(STEP_MM / brain.grid.spacing_mm), 1)
    own = coarser(brain.grid, stride)
    smooth = blur(_thin(brain.ventricle_mm < 1, stride), PULL_SIGMA_MM / own.spacing_mm)
    slope = gradient(smooth)
    steepest = torch.linalg.vector_norm(slope, dim=0).max().clamp(min=1e-6)
    length_mm = torch.full_like(smooth, deformation.ventricles_mm)
    if deformation.pull_mm > 0:
        near = (3.0 * blur(_thin(lesions, stride), 18.0 / own.spacing_mm)).clamp(0, 1)
        length_mm = length_mm + deformation.pull_mm * near
    towards = slope / steepest * length_mm.clamp(max=LARGEST_PULL_MM)
    return towards if own == coarse else torch.stack([refine(part, own, coarse) for part in towards])


def _thin(region: Region, stride: int) -> Float32[Tensor, "a b c"]:
    return region[::stride, ::stride, ::stride].float()
