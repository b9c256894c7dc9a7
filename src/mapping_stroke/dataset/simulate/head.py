"""What lies around a brain: CSF, skull, scalp, and below it eyes, face and neck of made-up shapes and textures."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mapping_stroke.dataset.grid import Grid
from mapping_stroke.dataset.simulate.anatomy import CSF_LEVEL
from mapping_stroke.dataset.simulate.volume import Volume, smooth_field

AIR_LEVEL, BONE_LEVEL, MUSCLE_LEVEL = 0.02, 0.10, 0.55
"""Intensities; those of `anatomy` are CSF 0.25, grey 0.65, white 1."""
FACE_MM = ((0.0, 42.0, -62.0), (64.0, 58.0, 78.0))
"""Centre and half axes of the face."""
NECK_MM = ((0.0, -40.0), (58.0, 56.0), -50.0)
"""Centre and half axes (x, y) of the neck, and how high it reaches (z)."""
LOWEST_VAULT_MM = -8.0
"""Above this height there is only skull and scalp."""
EYES_MM = (33.0, 58.0, -36.0)
"""Centre of the right eye."""


@dataclass(frozen=True)
class Head:
    """How the surroundings of a brain look; lengths in mm, intensities with white matter as 1.

    Attributes:
        fluid_mm: Thickness of the CSF around the brain.
        skull_mm: Thickness of the skull.
        scalp_mm: Thickness of the scalp.
        marrow: Intensity of the marrow within the skull.
        fat: Intensity of fat.
        muscle: Intensity of muscle and skin.
        eye_mm: Radius of an eye.
        knots_mm: Distance of the knots of the textures below the skull.
        air: Share of the face that is air.
        stretch: Relative size of face and neck.
    """

    fluid_mm: float
    skull_mm: float
    scalp_mm: float
    marrow: float
    fat: float
    muscle: float
    eye_mm: float
    knots_mm: float
    air: float
    stretch: float


def draw_head(age: float, rng: np.random.Generator) -> Head:
    """Draw a head; old people have more CSF around the brain."""
    return Head(
        fluid_mm=float(rng.uniform(0.3, 1.5 + 2.5 * age)),
        skull_mm=float(rng.uniform(3.5, 8.0)),
        scalp_mm=float(rng.uniform(3.0, 8.0)),
        marrow=float(rng.uniform(0.15, 0.9)),
        fat=float(rng.uniform(0.8, 1.9)),
        muscle=float(MUSCLE_LEVEL + rng.uniform(-0.15, 0.25)),
        eye_mm=float(rng.uniform(10.5, 13.0)),
        knots_mm=float(rng.uniform(6.0, 12.0)),
        air=float(rng.uniform(0.1, 0.4)),
        stretch=float(rng.uniform(0.9, 1.12)),
    )


def build_head(around_mm: Volume, grid: Grid, head: Head, rng: np.random.Generator) -> tuple[Volume, Volume]:
    """Make up what is around a brain.

    Args:
        around_mm: Distance outside the brain's smoothed surface.
        grid: Of that volume, in MNI space.
        head: How it looks.
        rng: Source of what differs from place to place.

    Returns:
        Intensities, meaningful outside the brain; and the depth below the skin in mm (below 0: in the air).
    """
    device = around_mm.device
    waves = smooth_field(grid.shape, 24 / grid.spacing_mm, rng, device)
    other = smooth_field(grid.shape, 15 / grid.spacing_mm, rng, device)
    skull_mm = around_mm - head.fluid_mm * (1 + 0.5 * waves).clamp(0.2, 2)
    thick_mm = head.skull_mm * (1 + 0.25 * other).clamp(0.5, 1.6)
    scalp_mm = skull_mm - thick_mm
    skin_mm = head.scalp_mm * (1 - 0.3 * waves).clamp(0.4, 1.8) - scalp_mm
    base = _below_skull(grid, device, waves)
    skin_mm = torch.maximum(skin_mm, _face_and_neck_mm(grid, device, head) + 4 * other)

    marrow = head.marrow * torch.exp(-(((skull_mm / thick_mm) - 0.5) ** 2) * 12) * (0.7 + 0.4 * other).clamp(0, 1.5)
    skull = BONE_LEVEL + marrow * (1 - base)
    fatty = torch.sigmoid((skin_mm - 1.5) * 1.2) * torch.sigmoid((other + 0.8) * 3)
    scalp = head.muscle + (head.fat - head.muscle) * fatty
    outer = scalp
    low = int((grid.axes_mm(device)[2] < LOWEST_VAULT_MM).sum())
    if low > 3:
        part = (slice(0, grid.shape[0]), slice(0, grid.shape[1]), slice(0, low))
        below = _tissues_below(grid.crop(part), head, rng, device)
        deep = base[part] * torch.sigmoid((skin_mm[part] - head.scalp_mm * 0.8) * 1.5)
        outer[part] = _set_eyes(scalp[part] + deep * (below - scalp[part]), grid.crop(part), head, rng)
    beyond_skull = torch.sigmoid((scalp_mm + base * 0.5 * thick_mm) * 2)
    level = skull + beyond_skull * (outer - skull)
    level = CSF_LEVEL + torch.sigmoid(skull_mm * 2.5) * (level - CSF_LEVEL)
    return level.clamp(min=AIR_LEVEL), skin_mm


def _below_skull(grid: Grid, device: torch.device, waves: Volume) -> Volume:
    """1 below the base of the skull (which rises towards the front), 0 in the vault."""
    _, y, z = grid.axes_mm(device)
    return torch.sigmoid((-34 + 0.12 * y + 5 * waves - z) / 3)


def _face_and_neck_mm(grid: Grid, device: torch.device, head: Head) -> Tensor:
    """Roughly how deep inside face or neck a voxel lies."""
    x, y, z = grid.axes_mm(device)
    (a, b, c), axes = FACE_MM
    p, q, r = (length * head.stretch for length in axes)
    face = (1 - torch.sqrt(((x - a) / p) ** 2 + ((y - b) / q) ** 2 + ((z - c) / r) ** 2)) * q
    (a, b), axes2, top_mm = NECK_MM
    p, q = (length * head.stretch for length in axes2)
    neck = (1 - torch.sqrt(((x - a) / p) ** 2 + ((y - b) / q) ** 2)) * q
    return torch.maximum(face, torch.minimum(neck, top_mm - z))


def _tissues_below(grid: Grid, head: Head, rng: np.random.Generator, device: torch.device) -> Volume:
    """Muscle, fat, bone and air in patches without a plan."""
    knots = head.knots_mm / grid.spacing_mm
    one, two = (smooth_field(grid.shape, max(knots * size, 1.3), rng, device) for size in (1.0, 0.6))
    fat = torch.sigmoid((one - 0.9 + 0.5 * two) * 5)
    bone = torch.sigmoid((-one - 1.2 + 0.6 * two) * 5)
    x, y, z = grid.axes_mm(device)
    nose = torch.exp(-((x / 16) ** 2) - ((y - 55) / 22) ** 2 - ((z + 52) / 22) ** 2)
    air = torch.sigmoid((two - 2.6 + 3.5 * head.air + 3.2 * nose) * 5)
    level = head.muscle * (1 + 0.15 * two) + fat * (head.fat - head.muscle)
    level = level + bone * (BONE_LEVEL - level)
    return level + air * (AIR_LEVEL - level)


def _set_eyes(level: Volume, grid: Grid, head: Head, rng: np.random.Generator) -> Volume:
    """Two dark balls in fat."""
    x, y, z = grid.axes_mm(level.device)
    aside, front, up = np.array(EYES_MM) + rng.normal(0, 2.5, 3)
    away_mm = torch.sqrt((x.abs() - float(aside)) ** 2 + (y - float(front)) ** 2 + (z - float(up)) ** 2)
    fat = torch.sigmoid((head.eye_mm + 6 - away_mm) * 0.8)
    level = level + fat * (0.9 * head.fat - level)
    return level + torch.sigmoid((head.eye_mm - away_mm) * 1.5) * (0.6 * CSF_LEVEL - level)
