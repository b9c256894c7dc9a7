"""What a lost territory takes along: the sulci in it, the cortex over it, the tracts that came from it."""

import torch

from mapping_stroke.dataset.simulate.anatomy import CSF_LEVEL, Brain
from mapping_stroke.dataset.simulate.appearance import DEGENERATION_FROM_MM3
from mapping_stroke.dataset.simulate.shapes import box_around
from mapping_stroke.dataset.simulate.volume import Region, Volume, blur, region_box

NEAR_MM = 3.5
"""Standard deviation of the neighbourhood in which a lesion surrounds a sulcus."""
SULCUS, SURFACE = 0.25, 0.3
"""Share of lesion in that neighbourhood from which on a sulcus, or the cortex over the lesion, belongs to it."""
AT_SURFACE = 0.28
"""Cortex has so much CSF or outside around it (`Brain.near_csf`): it is less than about 2 mm deep."""
TRACTS_MM = ((13.0, -18.0, -14.0), (6.0, -25.0, -32.0))
"""Right cerebral peduncle and right half of the pons, MNI."""
TRACT_RADIUS_MM = 7.0
TENTORIUM_MM = -20.0
"""Roughly, lesions above this height (MNI z) are in the cerebrum."""
LARGEST_PALING, CLOSED, NARROWING = 0.25, 0.5, 0.2
"""Share of its brightness above CSF that a tract loses at most; the `near_csf` from which on its surface becomes fluid,
and how much lower that falls."""


def take_sulci(brain: Brain, lesions: Region) -> Region:
    """Add the sulci that a lesion surrounds, and the cortex left between it and the surface; never ventricles.

    Args:
        brain: The brain.
        lesions: Its lesions; small ones surround nothing and stay what they are.

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
    """Shrink and pale the cerebral peduncle and the pons below a large lesion of the cerebrum, on its side.

    Args:
        t1: Intensities (changed in place).
        brain: The brain they belong to.
        lesions: Its lesions; a side with less than `DEGENERATION_FROM_MM3` above the tentorium changes nothing.
        strength: 0 not at all to 1.
    """
    x, _, z = brain.grid.axes_mm(brain.device)
    above = lesions & (z > TENTORIUM_MM)
    for side in (-1, 1):
        if float((above & (x * side > 0)).sum()) * brain.grid.spacing_mm**3 < DEGENERATION_FROM_MM3:
            continue
        for across, along, up in TRACTS_MM:
            box = box_around(brain, (side * across, along, up), 3 * TRACT_RADIUS_MM)
            a, b, c = brain.grid.crop(box).axes_mm(brain.device)
            squared_mm2 = (a - side * across) ** 2 + (b - along) ** 2 + (c - up) ** 2
            near = torch.exp(-squared_mm2 / TRACT_RADIUS_MM**2) * (a * side > 0)
            t1[box] = _shrunken(t1[box], brain.near_csf[box], strength * near) * brain.inside[box]
    return t1


def _shrunken(t1: Volume, near_csf: Volume, share: Volume) -> Volume:
    """Paler, and fluid where its surface was."""
    above = (t1 - CSF_LEVEL).clamp(min=0)
    fluid = ((near_csf - (CLOSED - NARROWING * share)) * 8 + 0.5).clamp(0, 1) * (4 * share).clamp(max=1)
    return t1 - above * (1 - (1 - LARGEST_PALING * share) * (1 - fluid))
