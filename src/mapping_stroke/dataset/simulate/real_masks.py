"""Lesions from real masks: chosen near the asked load, then scaled, combined and trimmed to it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from torch import Tensor

from mapping_stroke.dataset.grid import Grid, is_empty, reached
from mapping_stroke.dataset.simulate.anatomy import Brain
from mapping_stroke.dataset.simulate.resampling import average, resample
from mapping_stroke.dataset.simulate.volume import Region, Volume, blur, top_voxels
from mapping_stroke.image import Affine, Image
from mapping_stroke.lesions import bounding_box

SMALLEST_SCALE, LARGEST_SCALE = 0.5, 1.3
"""A real mask is made smaller or larger by no more than this along each axis; the rest is trimmed."""
ACUTE, LARGEST_SHRINKING_MM3, SHRUNKEN = "soop", 2_000.0, (0.3, 0.6)
"""Masks of this group show acute infarcts, which look larger than the scars that small ones leave: below that volume
they come with a share of it between these."""
ENOUGH = 0.85
"""Share of the asked load below which another mask is added."""


@dataclass(frozen=True, eq=False)
class RealMask:
    """A real lesion mask, cut to the box that holds it and one voxel around it.

    Attributes:
        name: Where it comes from.
        voxels: How much of each voxel is lesion, in 255ths.
        affine: Voxel index of the cut array to RAS millimetres, MNI space.
        volume_mm3: Of all its lesions.
        centre_mm: Their centre of mass, RAS.
    """

    name: str
    voxels: UInt8[Tensor, "x y z"]
    affine: Affine
    volume_mm3: float
    centre_mm: Float64[np.ndarray, "3"]

    @property
    def shrinks(self) -> bool:
        """Whether it shows a small acute infarct; acute masks are told by `ACUTE` in their names."""
        return ACUTE in self.name and self.volume_mm3 < LARGEST_SHRINKING_MM3


def cut_mask(name: str, image: Image) -> RealMask | None:
    """Cut a mask (inside: above 0.5) to the box that holds it; None where it is empty."""
    inside = image.voxels > 0.5
    if not inside.any():
        return None
    return _cut(name, inside.astype(np.uint8) * 255, image.affine, float(inside.sum()) * image.voxel_volume_mm3)


def coarsen_mask(mask: RealMask, grid: Grid) -> RealMask | None:
    """The same mask on a grid whose voxels are larger; one smaller than a voxel keeps its volume as a pale spot.

    None where it lies outside the grid.
    """
    box = reached(mask.voxels.shape, mask.affine, grid)
    if is_empty(box):
        return None
    part = grid.crop(box)
    share = (average(mask.voxels.float() / 255, mask.affine, part) * 255).round().to(torch.uint8).numpy()
    return _cut(mask.name, share, part.affine, mask.volume_mm3) if share.any() else None


def _cut(name: str, share: UInt8[np.ndarray, "x y z"], affine: Affine, volume_mm3: float) -> RealMask:
    box = bounding_box(share > 0)
    cut = np.pad(share[box], 1)
    moved = affine.copy()
    moved[:3, 3] += moved[:3, :3] @ [side.start - 1 for side in box]
    where = np.argwhere(cut > 0)
    centre = np.average(where, axis=0, weights=cut[tuple(where.T)])
    return RealMask(name, torch.from_numpy(cut), moved, volume_mm3, (moved @ np.append(centre, 1.0))[:3])


def fit_masks(
    brain: Brain, allowed: Region, masks: Sequence[RealMask], load_mm3: float, rng: np.random.Generator
) -> tuple[Region, list[str]]:
    """Place real masks so that together they come near a load.

    Args:
        brain: Where they go; the masks are in the same space (MNI).
        allowed: Where a lesion may be.
        masks: What may be used, at least one.
        load_mm3: The load to come near.
        rng: Source of flips, shifts and small rotations.

    Returns:
        The lesions, never more than the asked load, less where the masks do not give it; the names of those used.
    """
    load_vox = max(round(load_mm3 / brain.grid.spacing_mm**3), 1)
    scars = [(mask, mask.volume_mm3 * (float(rng.uniform(*SHRUNKEN)) if mask.shrinks else 1.0)) for mask in masks]
    scars.sort(key=lambda scar: abs(np.log(scar[1] / load_mm3)))
    score = torch.zeros(brain.grid.shape, device=brain.device)
    used: list[str] = []
    found = 0
    for mask, scar_mm3 in scars:
        missing_mm3 = load_mm3 - found * brain.grid.spacing_mm**3
        scale = float(np.clip((missing_mm3 / scar_mm3) ** (1 / 3), SMALLEST_SCALE, LARGEST_SCALE))
        _place(score, brain, mask, scale * (scar_mm3 / mask.volume_mm3) ** (1 / 3), rng)
        used.append(mask.name)
        found = int((allowed & (score > 0.5)).sum())
        if found >= ENOUGH * load_vox:
            break
    return top_voxels(score, allowed & (score > 0.05), load_vox), used


def _place(score: Volume, brain: Brain, mask: RealMask, scale: float, rng: np.random.Generator) -> None:
    """Add the mask, scaled along each axis, moved a little, softened so that it can be trimmed."""
    affine = _vary(mask.centre_mm, scale, rng) @ mask.affine
    box = reached(mask.voxels.shape, affine, brain.grid)
    if is_empty(box):
        return
    radius_mm = scale * (mask.volume_mm3 * 3 / (4 * np.pi)) ** (1 / 3)
    placed = resample(mask.voxels.float() / 255, affine, brain.grid.crop(box))
    soft = blur(placed, brain.vox(min(0.09 * radius_mm, 1.2)))
    score[box] = torch.maximum(score[box], soft)


def _vary(centre_mm: np.ndarray, scale: float, rng: np.random.Generator) -> Affine:
    """Scale and rotate about a centre, shift, and perhaps mirror left to right."""
    x, y, z = rng.normal(0, 0.08, 3)
    turn = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    linear = (np.eye(3) + turn) * scale * (1 + rng.normal(0, 0.05, 3))
    move = np.eye(4)
    move[:3, :3] = linear
    move[:3, 3] = centre_mm - linear @ centre_mm + rng.normal(0, 3, 3)
    mirror = np.diag([-1.0 if rng.random() < 0.5 else 1.0, 1.0, 1.0, 1.0])
    return mirror @ move
