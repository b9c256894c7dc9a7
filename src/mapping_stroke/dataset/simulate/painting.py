"""Painting chronic strokes into a brain: fluid, gliosis around it, and paler tissue nearby."""

import numpy as np
import torch
from scipy.special import ndtri

from mapping_stroke.dataset.grid import Box
from mapping_stroke.dataset.simulate.anatomy import CSF_LEVEL, GREY_LEVEL, Brain
from mapping_stroke.dataset.simulate.appearance import REACH_MM, Appearance
from mapping_stroke.dataset.simulate.territory import degenerate
from mapping_stroke.dataset.simulate.volume import Region, Volume, blur, depth_in, enlarge, region_box, smooth_field

DEEPEST_MM = 12.0
"""Depth inside a lesion is told apart up to here."""
SCAR_LEVEL = 0.80
"""Gliosis that has lost all contrast lies between grey and white matter, before it keeps only its share of that."""
BRIGHTEST_SCAR = 0.85
"""Share of its own brightness above CSF that no gliosis exceeds, so that it shows in grey matter too."""
PATCHES = {"cavity": None, "mixed": 0.1, "gliotic": -1.3}
"""Gliosis keeps its share at any depth if the coarse texture (standard deviation 1) exceeds this."""
ISLANDS_MM, GYRUS_MM = 10.0, 4.5
"""Knots of the field that decides where tissue is spared, and of the one whose zeros are the middle of the ribbons."""
HALF_OF_ALL = 0.674
"""Half of the values of a smooth field are between minus this and this."""
BLOOD_LEVEL, NECROSIS_LEVEL = 0.10, 1.15
"""Intensity of remains of blood, and of cortex after laminar necrosis."""
COARSE_MM = 3.0
"""The halo is made on voxels of this size."""


def paint_lesions(t1: Volume, brain: Brain, lesions: Region, look: Appearance, rng: np.random.Generator) -> Volume:
    """Turn tissue inside the lesions into fluid and gliosis, with a blurred border and darker surroundings.

    Gliosis falls off with the distance from the tissue that is left: a lesion that reaches the surface of the brain
    holds nothing but fluid there.

    Args:
        t1: Intensities to paint on (left as they are).
        brain: The brain they belong to.
        lesions: Where; an empty region changes nothing.
        look: How.
        rng: Source of the texture.

    Returns:
        The painted intensities. They are brighter than `t1` only where `look` has laminar necrosis. Further than
        `REACH_MM` from a lesion they are unchanged, except for tracts that degenerate below large ones.
    """
    if not bool(lesions.any()):
        return t1.clone()
    box = region_box(lesions, round(brain.vox(REACH_MM)))
    region, tissue, inside = lesions[box], t1[box], brain.inside[box]
    radius_mm = (float(lesions.sum()) * 3 / (4 * np.pi)) ** (1 / 3) * brain.grid.spacing_mm
    coarse = smooth_field(region.shape, max(brain.vox(min(max(0.25 * radius_mm, 3.0), 8.0)), 1.5), rng, t1.device)
    fine = smooth_field(region.shape, max(brain.vox(1.8), 1.0), rng, t1.device)

    depth_mm = _depth_mm(region | ~inside, brain) + 0.4 * look.fall_mm * look.texture * coarse
    scar = _scar(tissue, depth_mm, look, coarse, fine)
    border = blur(region.float(), brain.vox(look.border_mm))
    lost = _lost_share(region, brain, look, rng)
    pale = tissue - lost * _halo(region, brain, box, look) * (tissue - CSF_LEVEL).clamp(min=0)
    level = pale + border * lost * (torch.minimum(scar, pale) - pale)
    if look.blood > 0:
        level = level + look.blood * _patchy_rim(depth_mm, coarse) * border * (BLOOD_LEVEL - level).clamp(max=0)
    if look.necrosis > 0:
        ribbon = 4 * border * (1 - border) * brain.grey[box] * torch.sigmoid(3 * coarse)
        level = level + look.necrosis * ribbon * (NECROSIS_LEVEL - level).clamp(min=0)
    painted = t1.clone()
    painted[box] = torch.where(inside, level, tissue)
    return degenerate(painted, brain, lesions, look.degeneration) if look.degeneration > 0 else painted


def _depth_mm(lost: Region, brain: Brain) -> Volume:
    """Distance to the tissue that is left: 0 in it, and in the voxels at the border."""
    deepest_vox = max(round(brain.vox(DEEPEST_MM)), 3)
    return (depth_in(lost, deepest_vox) - 1).clamp(min=0) * brain.grid.spacing_mm


def _scar(tissue: Volume, depth_mm: Volume, look: Appearance, coarse: Volume, fine: Volume) -> Volume:
    """Intensity of what replaces the tissue: gliosis at the border, fluid in the middle."""
    share = torch.exp(-depth_mm.clamp(min=0) / look.fall_mm)
    patches = PATCHES[look.kind]
    if patches is not None:
        share = torch.maximum(share, torch.sigmoid((coarse - patches) * 3))
    kept = (look.kept * share * (1 + look.texture * (0.15 * coarse + 0.1 * fine))).clamp(0, BRIGHTEST_SCAR)
    above = tissue - CSF_LEVEL
    solid = (above / (GREY_LEVEL - CSF_LEVEL)).clamp(0, 1)  # sulci stay what they are
    blended = above + (1 - look.contrast) * solid * (SCAR_LEVEL - tissue)
    fluid = look.cavity_level + look.texture * 0.012 * fine.abs()
    scar = fluid + kept * blended
    return torch.minimum(scar, torch.maximum(fluid, CSF_LEVEL + BRIGHTEST_SCAR * above)).clamp(min=0.9 * CSF_LEVEL)


def _halo(region: Region, brain: Brain, box: Box, look: Appearance) -> Volume:
    """Share of its brightness above CSF that tissue loses; white matter more, and more the nearer to the lesion."""
    stride = max(round(brain.vox(COARSE_MM)), 1)
    thin = region[::stride, ::stride, ::stride].float()
    near = enlarge(blur(thin, brain.vox(look.halo_mm) / (1.8 * stride)), region.shape, stride)
    return look.halo * (2.15 * near - 0.08).clamp(0, 1) * (0.4 + 0.6 * brain.white[box])


def _lost_share(region: Region, brain: Brain, look: Appearance, rng: np.random.Generator) -> Volume:
    """How far each voxel is lesion at all: less in spared islands, and where the lesion fades."""
    lost = torch.ones(region.shape, device=region.device)
    if look.islands > 0:
        where = smooth_field(region.shape, max(brain.vox(ISLANDS_MM), 2.0), rng, region.device)
        ribbon = smooth_field(region.shape, max(brain.vox(GYRUS_MM), 1.5), rng, region.device).abs()
        spared = torch.sigmoid((where - float(ndtri(1 - 2 * look.islands))) * 8)
        lost = lost - 0.95 * spared * torch.sigmoid((HALF_OF_ALL - ribbon) * 10)
    if look.fade > 0:
        field = smooth_field(region.shape, max(brain.vox(12.0), 2.0), rng, region.device)
        lost = lost * (1 - look.fade * torch.sigmoid((field - 0.3) * 3))
    return lost


def _patchy_rim(depth_mm: Volume, coarse: Volume) -> Volume:
    return torch.sigmoid((2.5 - depth_mm) * 2) * torch.sigmoid((coarse - 0.3) * 4)
