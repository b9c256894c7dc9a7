"""Batches of augmented patches, drawn by index from the cases' arrays."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.dataset.case_source import Cases, draw_case
from mapping_stroke.dataset.patches import place_anywhere, place_on_lesion
from mapping_stroke.image import Shape
from mapping_stroke.training.augment import Augmentation
from mapping_stroke.training.blend import Blend, blend_patches
from mapping_stroke.training.carve import carve_into
from mapping_stroke.training.intensity import change_intensity
from mapping_stroke.training.mixing import NO_MIXING, Mixing
from mapping_stroke.training.spatial import cut_warped, draw_warp

LESION_SHARE = 0.33
"""Of a batch's n patches, those from index round(n x 0.67) on are centred on a lesion voxel. Source: nnU-Net."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Patches and their reference.

    Attributes:
        scan: z-scores, 0 outside the brain.
        target: 1 inside a lesion, 0 elsewhere.
        case_ids: Where each patch was cut.
        blend: What was mixed into the patches; None for nothing.
    """

    scan: Float[Tensor, "n 1 x y z"]
    target: Int[Tensor, "n x y z"]
    case_ids: tuple[str, ...]
    blend: Blend | None = None


@dataclass(frozen=True, eq=False)
class Randomness:
    """The two generators that decide a training run: parameters on the CPU, noise on the training device."""

    numbers: np.random.Generator
    noise: torch.Generator

    @classmethod
    def from_seed(cls, seed: Sequence[int], device: torch.device) -> "Randomness":
        """Independent generators from a sequence of whole numbers, such as (seed, scheme, fold)."""
        sequence = np.random.SeedSequence(list(seed))
        noise = torch.Generator(device)
        noise.manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1)))
        return cls(np.random.default_rng(sequence), noise)


def draw_batch(
    cases: Cases,
    patch: Shape,
    batch: int,
    augmentation: Augmentation,
    random: Randomness,
    mixing: Mixing = NO_MIXING,
) -> Batch:
    """Draw patches of random cases, some centred on a lesion, each augmented on the device of `random.noise`.

    Cases are carved before patches are cut, and patches blended when they are augmented.
    """
    first_on_lesion = round(batch * (1 - LESION_SHARE))
    drawn = [draw_case(cases, random.numbers) for _ in range(batch)]
    if mixing.carve_probability > 0:
        drawn = [carve_into(case, cases, mixing.carve_probability, random.numbers) for case in drawn]
    pairs = [
        _draw_patch(case, patch, augmentation, random, on_lesion=index >= first_on_lesion)
        for index, case in enumerate(drawn)
    ]
    scans, targets = zip(*pairs, strict=True)
    scan, target, blend = torch.stack(scans)[:, None], torch.stack(targets), None
    if mixing.blend_alpha > 0:
        scan, blend = blend_patches(scan, target, mixing.blend_alpha, random.numbers)
    return Batch(scan, target, tuple(case.case_id for case in drawn), blend)


def _draw_patch(
    case: CaseArrays, patch: Shape, augmentation: Augmentation, random: Randomness, *, on_lesion: bool
) -> tuple[Float[Tensor, "x y z"], Int[Tensor, "x y z"]]:
    rng = random.numbers
    if on_lesion:
        corner = place_on_lesion(case.scan.shape, patch, case.lesion_voxels, rng)
    else:
        corner = place_anywhere(case.scan.shape, patch, rng)
    scan, target = cut_warped(case, corner, patch, draw_warp(augmentation, patch, rng), random.noise)
    scan = change_intensity(scan, augmentation, rng, random.noise)
    mirrored = [axis for axis in range(3) if rng.random() < augmentation.mirror_probability]
    return scan.flip(mirrored), target.flip(mirrored)
