"""How one brain becomes another: smooth deformations, wider ventricles, and what a lost territory pulls along."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from mapping_stroke.dataset.simulate.anatomy import Brain
from mapping_stroke.dataset.simulate.volume import (
    Displacement,
    Region,
    blur,
    enlarge,
    gradient,
    smooth_field,
)

STRIDE = 2
"""Displacements are smooth: they are made on every second voxel."""
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
    """

    coarse_mm: float
    medium_mm: float
    fine_mm: float
    scale: tuple[float, float, float]
    ventricles_mm: float
    pull_mm: float


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


def displacement_of(brain: Brain, lesions: Region, deformation: Deformation, rng: np.random.Generator) -> Displacement:
    """Where every voxel of the new brain looks into the old one, in voxels.

    Args:
        brain: The old brain.
        lesions: Its lesions, on the same grid; may be empty.
        deformation: How far.
        rng: Source of the shapes.
    """
    shape = brain.grid.shape
    moved = _wander(brain, deformation, rng) + _towards_ventricles(brain, lesions, deformation)
    fine = torch.stack([enlarge(part, shape, STRIDE) for part in moved])
    axes = brain.grid.axes_mm(brain.device)
    for part, axis_mm, scale in zip(fine, axes, deformation.scale, strict=True):
        part += axis_mm * ((1 / scale - 1) / brain.grid.spacing_mm)
    return fine


def _wander(brain: Brain, deformation: Deformation, rng: np.random.Generator) -> Displacement:
    """Smooth random displacements on every second voxel, in voxels."""
    shape = [-(-length // STRIDE) for length in brain.grid.shape]
    sizes_mm = (deformation.coarse_mm, deformation.medium_mm, deformation.fine_mm)
    moved = torch.zeros(3, *shape, device=brain.device)
    for direction in moved:
        for size_mm, knots_mm in zip(sizes_mm, KNOTS_MM, strict=True):
            knots_vox = max(brain.vox(knots_mm) / STRIDE, 1.5)
            direction += brain.vox(size_mm) * smooth_field(shape, knots_vox, rng, brain.device)
    return moved


def _towards_ventricles(brain: Brain, lesions: Region, deformation: Deformation) -> Float32[Tensor, "3 a b c"]:
    """Looking towards a ventricle from its wall widens it; beside a lesion more so."""
    smooth = blur(_thin(brain.ventricles), brain.vox(PULL_SIGMA_MM) / STRIDE)
    slope = gradient(smooth)
    steepest = torch.linalg.vector_norm(slope, dim=0).max().clamp(min=1e-6)
    near = (3.0 * blur(_thin(lesions), brain.vox(18.0) / STRIDE)).clamp(0, 1)
    length_mm = (deformation.ventricles_mm + deformation.pull_mm * near).clamp(max=LARGEST_PULL_MM)
    towards: Tensor = slope / steepest * (length_mm / brain.grid.spacing_mm)
    return towards


def _thin(region: Region) -> Float32[Tensor, "a b c"]:
    return region[::STRIDE, ::STRIDE, ::STRIDE].float()
