"""What a chronic stroke looks like on a T1-weighted scan."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch.nn import functional

from mapping_stroke.dataset.simulate.anatomy import CSF_LEVEL, GREY_LEVEL, Brain
from mapping_stroke.dataset.simulate.volume import Region, Volume, blur, depth_in, region_box, smooth_field

DEEPEST_VOX = 8
"""Depth inside a lesion is told apart up to here."""
THICKEST_RIM, NEAR_MM = 0.3, 5.0
"""A rim takes at most this share of the lesion's half width nearby: lacunes and narrow infarcts hold fluid too."""
REACH_MM = 9.0
"""How far around a lesion the tissue may look changed."""


@dataclass(frozen=True)
class Appearance:
    """How an old infarct looks. Levels are those of `anatomy`: CSF 0.25, grey 0.65, white 1.

    Attributes:
        kind: `cavity`: fluid within a rim; `mixed`: patches of fluid and gliosis; `gliotic`: hardly any fluid.
        rim_mm: Thickness of the gliotic rim.
        rim_level: Its intensity, between CSF and grey matter.
        remnant: Share of the tissue's own contrast that a scar keeps.
        contrast: Share of its brightness above CSF that tissue keeps at most, so that a scar shows in grey matter too.
        cavity_level: Intensity of the fluid with the strands in it.
        border_mm: Width of the border's blur.
        halo: Share by which white matter around it pales towards grey.
        texture: Strength of the texture inside.
    """

    kind: Literal["cavity", "mixed", "gliotic"]
    rim_mm: float
    rim_level: float
    remnant: float
    contrast: float
    cavity_level: float
    border_mm: float
    halo: float
    texture: float


def draw_appearance(load_mm3: float, rng: np.random.Generator) -> Appearance:
    """Draw how the infarcts of one case look; small ones have thin rims."""
    kinds: tuple[Literal["cavity", "mixed", "gliotic"], ...] = ("cavity", "mixed", "gliotic")
    radius_mm = (load_mm3 * 3 / (4 * np.pi)) ** (1 / 3)
    return Appearance(
        kind=kinds[int(rng.choice(3, p=(0.58, 0.34, 0.08)))],
        rim_mm=float(min(rng.uniform(0.6, 2.6), 0.3 * radius_mm)),
        rim_level=float(rng.uniform(0.38, 0.55)),
        remnant=float(rng.uniform(0.05, 0.35)),
        contrast=float(rng.uniform(0.35, 0.7)),
        cavity_level=float(rng.uniform(CSF_LEVEL, 0.32)),
        border_mm=float(rng.uniform(0.5, 0.9)),
        halo=float(rng.uniform(0.0, 0.45)),
        texture=float(rng.uniform(0.5, 1.2)),
    )


def paint_lesions(t1: Volume, brain: Brain, lesions: Region, look: Appearance, rng: np.random.Generator) -> Volume:
    """Turn tissue inside the lesions into cavity and rim, with a blurred border and a paler surrounding.

    Args:
        t1: Intensities to paint on (left as they are).
        brain: The brain they belong to.
        lesions: Where; an empty region changes nothing.
        look: How.
        rng: Source of the texture.

    Returns:
        The painted intensities; never brighter than `t1`, unchanged further than `REACH_MM` from a lesion.
    """
    if not bool(lesions.any()):
        return t1.clone()
    x, y, z = region_box(lesions, round(brain.vox(REACH_MM)))
    region, tissue, inside = lesions[x, y, z], t1[x, y, z], brain.inside[x, y, z]
    radius_mm = (float(lesions.sum()) * 3 / (4 * np.pi)) ** (1 / 3) * brain.grid.spacing_mm
    coarse = smooth_field(region.shape, max(brain.vox(min(max(0.25 * radius_mm, 5.0), 10.0)), 1.5), rng, t1.device)
    fine = smooth_field(region.shape, max(brain.vox(1.8), 1.0), rng, t1.device)

    fluid = _fluid_share(region, brain, look, coarse)
    rim = look.rim_level + look.remnant * (tissue - GREY_LEVEL) + look.texture * (0.07 * coarse + 0.04 * fine)
    cavity = look.cavity_level + look.texture * (0.025 * fine.abs() + 0.015 * coarse)
    scar = torch.minimum(fluid * cavity + (1 - fluid) * rim, CSF_LEVEL + look.contrast * (tissue - CSF_LEVEL))
    scar = scar.clamp(0.9 * CSF_LEVEL, GREY_LEVEL + 0.12)

    border = blur(region.float(), brain.vox(look.border_mm))
    halo = look.halo * blur(region.float(), brain.vox(3.0)) * (1 + 0.4 * coarse).clamp(0, 2)
    pale = tissue - halo.clamp(0, 1) * (tissue - GREY_LEVEL).clamp(min=0)
    painted = t1.clone()
    painted[x, y, z] = torch.where(inside, pale + border * (torch.minimum(scar, pale) - pale), tissue)
    return painted


def _fluid_share(region: Region, brain: Brain, look: Appearance, coarse: Volume) -> Volume:
    """How much of each voxel is fluid rather than scar, in [0, 1]."""
    depth_mm = blur(depth_in(region, DEEPEST_VOX), 0.6) * brain.grid.spacing_mm
    reach = round(brain.vox(NEAR_MM))
    half_width_mm = functional.max_pool3d(depth_mm[None, None], 2 * reach + 1, 1, reach)[0, 0]
    rim_mm = (THICKEST_RIM * half_width_mm).clamp(max=look.rim_mm)
    wavy_rim_mm = rim_mm * (1 + 0.5 * look.texture * coarse).clamp(0.2, 2.5)
    fluid = torch.sigmoid((depth_mm - 0.5 * brain.grid.spacing_mm - wavy_rim_mm) / 0.6)
    if look.kind == "cavity":
        return fluid
    return fluid * torch.sigmoid((coarse - (-0.6 if look.kind == "mixed" else 1.3)) * 4)
