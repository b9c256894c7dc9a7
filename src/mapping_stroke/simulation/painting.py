"""Chronic infarcts painted into a brain: encephalomalacia, gliosis, perilesional halo and degeneration."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from scipy.special import ndtri

from mapping_stroke.dataset.grid import Box
from mapping_stroke.simulation.brain import CSF_LEVEL, GREY_LEVEL, Brain
from mapping_stroke.simulation.lesions import box_around
from mapping_stroke.simulation.volume import Region, Volume, blur, depth_in, enlarge, region_box, smooth_field

Kind = Literal["cavity", "mixed", "gliotic"]

KINDS: tuple[Kind, ...] = ("cavity", "mixed", "gliotic")
KIND_SHARES = (0.5, 0.3, 0.2)
"""Frequency of each of `KINDS`, at any size."""
FALL_MM = (0.7, 4.0)
"""Range of the length over which gliosis falls off with depth."""
ISLANDS_FROM_MM3, WITH_ISLANDS = 8_000.0, 0.6
"""Smallest load with islands of spared tissue, and the share of such cases that have them."""
FADING, BLEEDING, LAMINAR = 0.3, 0.025, 0.025
"""Shares of the cases with faint parts, haemosiderin, and laminar necrosis."""
DEGENERATION_FROM_MM3 = 30_000.0
"""Smallest load with Wallerian degeneration of the tracts below the lesion."""
REACH_MM = 12.0
"""Largest extent of the perilesional halo in white matter."""


@dataclass(frozen=True)
class Appearance:
    """Appearance of a chronic infarct. Intensities: CSF 0.25, grey 0.65, white 1.

    Attributes:
        kind: `cavity`: cystic encephalomalacia; `mixed`: patches of fluid and gliosis; `gliotic`: hardly any fluid.
        kept: Share of the tissue's intensity above CSF that gliosis keeps at the border, in [0, 1].
        fall_mm: Depth over which that share falls to 1/e, giving way to fluid.
        contrast: Share of the grey-white contrast that gliosis keeps, in [0, 1].
        cavity_level: Intensity of the cavity's fluid, including strands.
        border_mm: Standard deviation of the border's blur.
        halo: Share of its intensity above CSF that white matter loses next to the lesion.
        halo_mm: Extent of the halo, which fades outwards.
        islands: Share of the lesion that is spared tissue of gyral width; it stays part of the label.
        fade: Strength of faint parts of the lesion, from 0 (none) to 1 (invisible).
        texture: Strength of the texture inside.
        blood: Strength of dark haemosiderin at the border, in [0, 1].
        necrosis: Strength of bright cortical laminar necrosis at the border, in [0, 1].
        degeneration: Strength of atrophy and signal loss of peduncle and pons below a large lesion, in [0, 1].
    """

    kind: Kind
    kept: float
    fall_mm: float
    contrast: float
    cavity_level: float
    border_mm: float
    halo: float
    halo_mm: float
    islands: float
    fade: float
    texture: float
    blood: float
    necrosis: float
    degeneration: float


def draw_appearance(load_mm3: float, rng: np.random.Generator) -> Appearance:
    """Draw the appearance of a case's infarcts. Gliosis and halo are thin in small ones."""
    radius_mm = (load_mm3 * 3 / (4 * np.pi)) ** (1 / 3)
    kind = KINDS[int(rng.choice(len(KINDS), p=KIND_SHARES))]
    thinnest, thickest = np.log(FALL_MM)
    islands = load_mm3 >= ISLANDS_FROM_MM3 and rng.random() < WITH_ISLANDS
    halo_mm = min(float(rng.uniform(5.0, REACH_MM)), 2.0 + 1.2 * radius_mm)
    return Appearance(
        kind=kind,
        kept=float(rng.uniform(0.35, 0.85)),
        fall_mm=min(float(np.exp(rng.uniform(thinnest, thickest))), max(0.6 * radius_mm, FALL_MM[0])),
        contrast=float(rng.uniform(0.2, 0.8) if kind == "cavity" else rng.uniform(0.0, 0.3)),
        cavity_level=float(rng.uniform(CSF_LEVEL - 0.015, CSF_LEVEL + 0.02)),
        border_mm=float(rng.uniform(0.4, 1.2)),
        halo=float(rng.uniform(0.0, 0.9)),
        halo_mm=halo_mm,
        islands=float(rng.uniform(0.06, 0.28)) if islands else 0.0,
        fade=float(rng.uniform(0.3, 0.9)) if rng.random() < FADING else 0.0,
        texture=float(rng.uniform(0.5, 1.2)),
        blood=float(rng.uniform(0.5, 1.0)) if rng.random() < BLEEDING else 0.0,
        necrosis=float(rng.uniform(0.5, 1.0)) if rng.random() < LAMINAR else 0.0,
        degeneration=float(rng.uniform(0.0, 1.0)) if load_mm3 >= DEGENERATION_FROM_MM3 else 0.0,
    )


NEAR_MM = 3.5
"""Standard deviation of the Gaussian neighbourhood that decides whether a lesion surrounds a sulcus."""
SULCUS, SURFACE = 0.25, 0.3
"""Share of lesion in that neighbourhood above which a sulcus, or overlying cortex, is added to the lesion."""
AT_SURFACE = 0.28
"""Value of `Brain.near_csf` above which tissue is cortex: less than about 2 mm deep."""
TRACTS_MM = ((13.0, -18.0, -14.0), (6.0, -25.0, -32.0))
"""Right cerebral peduncle and right half of the pons, MNI."""
TRACT_RADIUS_MM = 7.0
TENTORIUM_MM = -20.0
"""Approximate height of the tentorium (MNI z)."""
LARGEST_PALING, CLOSED, NARROWING = 0.25, 0.5, 0.2
"""Largest share of its intensity above CSF that a tract loses; the value of `near_csf` above which its surface becomes
fluid, and the largest decrease of that value."""


def take_sulci(brain: Brain, lesions: Region) -> Region:
    """Add to a lesion the sulci it surrounds and the cortex that overlies it, but never ventricles.

    Args:
        brain: The brain.
        lesions: Its lesions; small ones surround nothing and stay as they are.

    Returns:
        At least `lesions`, inside the brain.
    """
    if not bool(lesions.any()):
        return lesions
    grown = lesions.clone()
    box = region_box(lesions, round(brain.vox(2 * NEAR_MM)))
    near = blur(lesions[box].float(), brain.vox(NEAR_MM))
    csf = brain.csf_in(box)
    sulci = (csf > 0.5) & (near > SULCUS)
    cortex = (brain.near_csf[box] > AT_SURFACE) & (near > SURFACE)
    beside_ventricle = brain.ventricle_mm[box] < 3
    grown[box] |= (sulci | cortex) & brain.inside[box] & ~brain.ventricles[box] & ~beside_ventricle
    return grown


def degenerate(t1: Volume, brain: Brain, lesions: Region, strength: float) -> Volume:
    """Simulate Wallerian degeneration: atrophy and signal loss of the ipsilateral cerebral peduncle and pons.

    Args:
        t1: Intensities (changed in place).
        brain: The brain they belong to.
        lesions: Its lesions; a side with less than `DEGENERATION_FROM_MM3` above the tentorium changes nothing.
        strength: In [0, 1].
    """
    x, _, z = brain.grid.axes_mm(brain.device)
    above = lesions & (z > TENTORIUM_MM)
    for side in (-1, 1):
        if float((above & (x * side > 0)).sum()) * brain.grid.spacing_mm**3 < DEGENERATION_FROM_MM3:
            continue
        for across, along, up in TRACTS_MM:
            box = box_around(brain, (side * across, along, up), 3 * TRACT_RADIUS_MM)
            a, b, c = brain.grid.crop(box).axes_mm(brain.device)
            # a soft ball around the tract, on its own side of the midline
            squared_mm2 = (a - side * across) ** 2 + (b - along) ** 2 + (c - up) ** 2
            near = torch.exp(-squared_mm2 / TRACT_RADIUS_MM**2) * (a * side > 0)
            t1[box] = _shrunken(t1[box], brain.near_csf[box], strength * near) * brain.inside[box]
    return t1


def _shrunken(t1: Volume, near_csf: Volume, share: Volume) -> Volume:
    """Lower the intensity, and turn the surface into fluid."""
    above = (t1 - CSF_LEVEL).clamp(min=0)
    # a lower threshold on `near_csf` moves the surface inwards
    fluid = ((near_csf - (CLOSED - NARROWING * share)) * 8 + 0.5).clamp(0, 1) * (4 * share).clamp(max=1)
    return t1 - above * (1 - (1 - LARGEST_PALING * share) * (1 - fluid))


DEEPEST_MM = 12.0
"""Largest depth inside a lesion that is resolved."""
SCAR_LEVEL = 0.80
"""Intensity of gliosis without grey-white contrast, before its share is applied."""
BRIGHTEST_SCAR = 0.85
"""Largest share of the tissue's intensity above CSF in gliosis, so that it is visible in grey matter as well."""
PATCHES = {"cavity": None, "mixed": 0.1, "gliotic": -1.3}
"""Value of the coarse texture (standard deviation 1) above which gliosis keeps its share at any depth."""
ISLANDS_MM, GYRUS_MM = 10.0, 4.5
"""Knot spacing of the field that selects spared tissue, and of the field whose zeros are the midlines of ribbons."""
HALF_OF_ALL = 0.674
"""Half of the values of a smooth field lie within plus or minus this."""
BLOOD_LEVEL, NECROSIS_LEVEL = 0.10, 1.15
"""Intensity of haemosiderin, and of cortex with laminar necrosis."""
COARSE_MM = 3.0
"""Voxel size on which the halo is computed."""


def paint_lesions(t1: Volume, brain: Brain, lesions: Region, look: Appearance, rng: np.random.Generator) -> Volume:
    """Turn tissue inside the lesions into fluid and gliosis, with a blurred border and a darker halo.

    Gliosis falls off with the distance from the remaining tissue, so a lesion that reaches the brain's surface contains
    only fluid there.

    Args:
        t1: Intensities to paint on (not changed).
        brain: The brain they belong to.
        lesions: Region of the lesions; an empty region changes nothing.
        look: Their appearance.
        rng: Source of the texture.

    Returns:
        The painted intensities. Only laminar necrosis is brighter than `t1`. Further than `REACH_MM` from a lesion they
        are unchanged, except for degenerated tracts below large ones.
    """
    if not bool(lesions.any()):
        return t1.clone()
    box = region_box(lesions, round(brain.vox(REACH_MM)))
    region, tissue, inside = lesions[box], t1[box], brain.inside[box]
    radius_mm = (float(lesions.sum()) * 3 / (4 * np.pi)) ** (1 / 3) * brain.grid.spacing_mm
    coarse = smooth_field(region.shape, max(brain.vox(min(max(0.25 * radius_mm, 3.0), 8.0)), 1.5), rng, t1.device)
    fine = smooth_field(region.shape, max(brain.vox(1.8), 1.0), rng, t1.device)

    # outside the brain counts as lost: nothing remains there from which gliosis could spread
    depth_mm = _depth_mm(region | ~inside, brain) + 0.4 * look.fall_mm * look.texture * coarse
    scar = _scar(tissue, depth_mm, look, coarse, fine)
    border = blur(region.float(), brain.vox(look.border_mm))
    lost = _lost_share(region, brain, look, rng)
    pale = tissue - lost * _halo(region, brain, box, look) * (tissue - CSF_LEVEL).clamp(min=0)
    # a scar is never brighter than the tissue that it replaces
    level = pale + border * lost * (torch.minimum(scar, pale) - pale)
    if look.blood > 0:
        level = level + look.blood * _patchy_rim(depth_mm, coarse) * border * (BLOOD_LEVEL - level).clamp(max=0)
    if look.necrosis > 0:
        # 4 b (1 - b) is 1 at the middle of the blurred border
        ribbon = 4 * border * (1 - border) * brain.grey[box] * torch.sigmoid(3 * coarse)
        level = level + look.necrosis * ribbon * (NECROSIS_LEVEL - level).clamp(min=0)
    painted = t1.clone()
    painted[box] = torch.where(inside, level, tissue)
    return degenerate(painted, brain, lesions, look.degeneration) if look.degeneration > 0 else painted


def _depth_mm(lost: Region, brain: Brain) -> Volume:
    """Distance to the remaining tissue, or 0 inside it and in border voxels."""
    deepest_vox = max(round(brain.vox(DEEPEST_MM)), 3)
    return (depth_in(lost, deepest_vox) - 1).clamp(min=0) * brain.grid.spacing_mm


def _scar(tissue: Volume, depth_mm: Volume, look: Appearance, coarse: Volume, fine: Volume) -> Volume:
    """Intensity of the scar: gliosis at the border, fluid in the middle."""
    share = torch.exp(-depth_mm.clamp(min=0) / look.fall_mm)
    patches = PATCHES[look.kind]
    if patches is not None:
        share = torch.maximum(share, torch.sigmoid((coarse - patches) * 3))
    kept = (look.kept * share * (1 + look.texture * (0.15 * coarse + 0.1 * fine))).clamp(0, BRIGHTEST_SCAR)
    above = tissue - CSF_LEVEL
    solid = (above / (GREY_LEVEL - CSF_LEVEL)).clamp(0, 1)  # sulci keep their intensity
    blended = above + (1 - look.contrast) * solid * (SCAR_LEVEL - tissue)
    fluid = look.cavity_level + look.texture * 0.012 * fine.abs()
    scar = fluid + kept * blended
    return torch.minimum(scar, torch.maximum(fluid, CSF_LEVEL + BRIGHTEST_SCAR * above)).clamp(min=0.9 * CSF_LEVEL)


def _halo(region: Region, brain: Brain, box: Box, look: Appearance) -> Volume:
    """Share of its intensity above CSF that tissue loses, which is larger in white matter and near the lesion."""
    stride = max(round(brain.vox(COARSE_MM)), 1)
    thin = region[::stride, ::stride, ::stride].float()
    # computed on coarse voxels, since it is smooth
    near = enlarge(blur(thin, brain.vox(look.halo_mm) / (1.8 * stride)), region.shape, stride)
    return look.halo * (2.15 * near - 0.08).clamp(0, 1) * (0.4 + 0.6 * brain.white[box])


def _lost_share(region: Region, brain: Brain, look: Appearance, rng: np.random.Generator) -> Volume:
    """Lesion strength of each voxel: reduced in spared islands and faint parts."""
    lost = torch.ones(region.shape, device=region.device)
    if look.islands > 0:
        where = smooth_field(region.shape, max(brain.vox(ISLANDS_MM), 2.0), rng, region.device)
        ribbon = smooth_field(region.shape, max(brain.vox(GYRUS_MM), 1.5), rng, region.device).abs()
        # the quantile that leaves the wanted share, as ribbons cover half of the chosen area
        spared = torch.sigmoid((where - float(ndtri(1 - 2 * look.islands))) * 8)
        lost = lost - 0.95 * spared * torch.sigmoid((HALF_OF_ALL - ribbon) * 10)
    if look.fade > 0:
        field = smooth_field(region.shape, max(brain.vox(12.0), 2.0), rng, region.device)
        lost = lost * (1 - look.fade * torch.sigmoid((field - 0.3) * 3))
    return lost


def _patchy_rim(depth_mm: Volume, coarse: Volume) -> Volume:
    return torch.sigmoid((2.5 - depth_mm) * 2) * torch.sigmoid((coarse - 0.3) * 4)
