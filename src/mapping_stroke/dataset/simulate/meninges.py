"""What an intracranial brain mask shows outside the brain: CSF with membranes and vessels, dura, sinuses, some bone."""

from dataclasses import dataclass

import numpy as np
import torch

from mapping_stroke.dataset.grid import Grid
from mapping_stroke.dataset.simulate.anatomy import CSF_LEVEL
from mapping_stroke.dataset.simulate.volume import Region, Volume, smooth_field

BONE_LEVEL = 0.10
"""Compact bone; CSF is 0.25, grey matter 0.65, white 1."""
CONTRAST_MEDIUM = 0.06
"""Share of the scans taken after contrast medium was given."""
PLAIN_DURA, ENHANCED_DURA = (0.2, 0.6), (0.8, 1.4)
"""Least and largest intensity of dura, without and with contrast medium."""
SOFT_MM = 0.7
"""Half width of the borders of dura and bone."""


@dataclass(frozen=True)
class Meninges:
    """How the space around a brain looks, and where a brain mask cuts it; lengths in mm outside the brain's surface.

    Attributes:
        fluid_mm: How far the fluid reaches.
        dura_mm: Thickness of the dura beyond.
        dura: Its intensity.
        sinus: Intensity of blood in the large sinuses: dark where it flows, grey, or bright.
        membranes: Strength of membranes and small vessels in the fluid.
        marrow: Intensity beyond 3 mm of bone.
        outline_mm: Where the mask ends, on average.
        waves_mm: Standard deviation of that from place to place.
        patch_mm: How much farther it reaches in a few places; 0 for none.
    """

    fluid_mm: float
    dura_mm: float
    dura: float
    sinus: float
    membranes: float
    marrow: float
    outline_mm: float
    waves_mm: float
    patch_mm: float

    @property
    def enhanced(self) -> bool:
        """Whether contrast medium was given: only then is dura so bright."""
        return self.dura > PLAIN_DURA[1]


def draw_meninges(age: float, rng: np.random.Generator) -> Meninges:
    """Draw the surroundings; old people have more CSF around the brain.

    Args:
        age: 0 young to 1 old.
        rng: Source of the numbers.
    """
    enhanced = rng.random() < CONTRAST_MEDIUM
    bright = rng.random() < 0.25
    return Meninges(
        fluid_mm=float(rng.uniform(0.2, 1.2 + 2.2 * age)),
        dura_mm=float(rng.uniform(0.5, 1.6)),
        dura=float(rng.uniform(*(ENHANCED_DURA if enhanced else PLAIN_DURA))),
        sinus=float(rng.uniform(1.2, 2.0) if enhanced else rng.uniform(0.7, 1.3) if bright else rng.uniform(0.1, 0.6)),
        membranes=float(rng.uniform(0.4, 1.5)),
        marrow=float(rng.uniform(0.15, 0.8)),
        outline_mm=float(np.clip(rng.normal(-0.9, 0.8), -2.0, 2.0)),
        waves_mm=float(rng.uniform(0.3, 0.9)),
        patch_mm=float(rng.uniform(2, 6)) if rng.random() < 0.2 else 0.0,
    )


def surround_brain(
    around_mm: Volume, inside: Region, grid: Grid, meninges: Meninges, rng: np.random.Generator
) -> tuple[Volume, Volume]:
    """Make up what lies around a brain, as far as a mask shows it.

    Args:
        around_mm: Distance outside the brain's smoothed surface; below 0 in closed sulci and cisterns.
        inside: The brain.
        grid: Of these volumes, in MNI space.
        meninges: How it looks.
        rng: Source of what differs from place to place.

    Returns:
        Intensities, meaningful outside the brain where the mask reaches; and how much of each voxel the mask holds.
    """
    device = around_mm.device
    waves = smooth_field(grid.shape, 22 / grid.spacing_mm, rng, device)
    outline_mm = meninges.outline_mm + meninges.waves_mm * waves
    if meninges.patch_mm:
        patches = smooth_field(grid.shape, 14 / grid.spacing_mm, rng, device)
        outline_mm += meninges.patch_mm * (patches - 2).clamp(0, 1)
    beyond_mm = outline_mm - around_mm
    coverage = (beyond_mm / grid.spacing_mm + 0.5).clamp(0, 1)
    level = torch.full_like(around_mm, CSF_LEVEL)
    shown = (coverage > 0) & ~inside
    level[shown] = _levels(around_mm, waves, shown, grid, meninges, rng)
    return level, coverage


def _levels(
    around_mm: Volume, waves: Volume, shown: Region, grid: Grid, meninges: Meninges, rng: np.random.Generator
) -> torch.Tensor:
    """Intensities of the voxels that are shown, one after the other: a tenth of all, and everything here is costly."""
    x, y, z = (axis.expand(grid.shape)[shown] for axis in grid.axes_mm(around_mm.device))
    fine = smooth_field(grid.shape, max(4.0 / grid.spacing_mm, 1.5), rng, around_mm.device)[shown]
    out_mm, wave = around_mm[shown], waves[shown]
    dura_at_mm = meninges.fluid_mm * (1 - 0.5 * wave).clamp(0.2, 2)
    past_mm = out_mm - dura_at_mm
    fluid = CSF_LEVEL + meninges.membranes * (0.05 * fine + 0.10 * (fine - 0.8).clamp(min=0))
    superior = torch.exp(-((x / 6) ** 2)) * ((z > 15) | (y < -80))
    transverse = torch.exp(-(((z + 16 + 0.1 * x.abs()) / 6) ** 2)) * torch.sigmoid((-y - 55) / 4) * (x.abs() > 3)
    sinus = (superior + transverse).clamp(0, 1) * torch.sigmoid((past_mm + 1.5) * 2)
    bone = BONE_LEVEL + (meninges.marrow - BONE_LEVEL) * torch.sigmoid((past_mm - 4) * 1.5)
    dura_past_mm = past_mm - meninges.dura_mm * (1 + 0.3 * fine).clamp(0.3, 2)
    level = fluid + torch.sigmoid(past_mm / SOFT_MM * 2) * (meninges.dura - fluid)
    level = level + torch.sigmoid(dura_past_mm / SOFT_MM * 2) * (bone - level)
    return (level + sinus * (meninges.sinus - level)).clamp(min=0.02)
