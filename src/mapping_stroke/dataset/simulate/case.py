"""One simulated case: a brain, its lesions, a person's age and a scanner, put together."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from mapping_stroke.dataset.simulate.anatomy import CSF_LEVEL, GREY_LEVEL, Brain, sharpen_folds
from mapping_stroke.dataset.simulate.appearance import (
    Appearance,
    draw_appearance,
    paint_lesions,
    paint_white_matter_of_age,
)
from mapping_stroke.dataset.simulate.deformation import Deformation, displacement_of, draw_deformation
from mapping_stroke.dataset.simulate.intensity import Scanner, acquire
from mapping_stroke.dataset.simulate.volume import Region, Volume, blur, smooth_field, top_voxels, warp


@dataclass(frozen=True)
class Look:
    """What was drawn for a case, beside its lesions.

    Attributes:
        age: 0 young to 1 old.
        deformation: Its anatomy.
        appearance: Its lesions.
        scanner: Its contrast.
    """

    age: float
    deformation: Deformation
    appearance: Appearance
    scanner: Scanner


@dataclass(frozen=True, eq=False)
class SimulatedCase:
    """A scan with a lesion, on the box of its brain.

    Attributes:
        scan: Stored intensities, 0 outside the brain.
        mask: The lesions.
    """

    scan: UInt8[Tensor, "x y z"]
    mask: Region


def draw_look(load_mm3: float, scanner: Scanner, strength: float, rng: np.random.Generator) -> Look:
    """Draw a person: most are old."""
    age = float(rng.beta(2.2, 1.6))
    return Look(age, draw_deformation(age, load_mm3, strength, rng), draw_appearance(load_mm3, rng), scanner)


def simulate_case(brain: Brain, lesions: Region, look: Look, rng: np.random.Generator) -> SimulatedCase:
    """Paint, deform and scan.

    Args:
        brain: A healthy brain.
        lesions: Where its lesions are, before the deformation.
        look: How everything looks.
        rng: Source of textures, shapes and noise.

    Returns:
        The case, its load within a few percent of the voxels of `lesions`.
    """
    folds = (0.7 + 1.1 * look.age + 0.5 * smooth_field(brain.grid.shape, brain.vox(14), rng, brain.device)).clamp(
        0.4, 3
    )
    folds = folds + 2.0 * blur(lesions.float(), brain.vox(3.0))
    t1 = sharpen_folds(brain.t1, brain.csf, folds, (CSF_LEVEL, GREY_LEVEL))
    t1 = paint_white_matter_of_age(t1, brain, look.age, rng)
    t1 = paint_lesions(t1, brain, lesions, look.appearance, rng)
    displacement = displacement_of(brain, lesions, look.deformation, rng)
    moved = warp(torch.stack([t1, brain.inside.float(), blur(lesions.float(), 0.7)]), displacement)
    inside = moved[1] > 0.5
    mask = settle_mask(moved[2], inside, int(lesions.sum()))
    return SimulatedCase(
        acquire(moved[0] / moved[1].clamp(min=0.5), inside, brain.grid.spacing_mm, look.scanner, rng), mask
    )


def settle_mask(share: Volume, inside: Region, load_vox: int) -> Region:
    """Choose the mask from a deformed, blurred one: the asked number of voxels as long as the border stays put.

    Args:
        share: How much of each voxel is lesion, blurred by less than a voxel.
        inside: The brain.
        load_vox: How many voxels the lesions had before; 0 gives an empty mask.
    """
    surely, maybe = inside & (share > 0.7), inside & (share > (0.3 if load_vox > 300 else 0.02))
    return surely | top_voxels(share, maybe, load_vox) if int(surely.sum()) < load_vox else surely
