"""Pairs of lesions and heads, balanced over heads, sides, loads, and contact with the cortical surface."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.painted_strokes import LEAST_AT_SURFACE, surface_share
from mapping_stroke.console import say
from mapping_stroke.errors import CaseError, ImageError
from mapping_stroke.images.formats import image_suffix
from mapping_stroke.images.image import image_stem, read_image
from mapping_stroke.simulation.lesions import RealMask
from mapping_stroke.simulation.sources import find_masks, read_mask
from mapping_stroke.space.brain import find_brain
from mapping_stroke.space.intensities import shift_background

SURFACE_LOADS_ML, DEEP_LOADS_ML = (6.0, 300.0), (6.0, 120.0)
"""Range of the volumes of masks in MNI152 space; most heads are smaller. Larger lesions always reach the surface."""
CHOICE = 4
"""Masks read for each one that is painted; reading all of a thousand would take minutes."""


@dataclass(frozen=True, eq=False)
class Pair:
    """A lesion and the head to paint it in.

    Attributes:
        head: Number of the head.
        mask: The lesion.
        mirrored: Whether left and right are swapped.
        at_surface: Whether it reaches the surface of the cortex; it then extends as fluid up to the skull.
    """

    head: int
    mask: RealMask
    mirrored: bool
    at_surface: bool


def find_heads(paths: Sequence[Path]) -> list[Path]:
    """The scans that show a whole head, among files and the `*_T1w` files of folders.

    Raises:
        CaseError: A folder or file is missing, or there is no whole head.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += sorted(file for file in path.iterdir() if image_suffix(file) and image_stem(file).endswith("_T1w"))
        elif path.is_file():
            files.append(path)
        else:
            raise CaseError(f"{path}: no such file or folder; give T1w scans of whole heads")
    heads = []
    for file in files:
        brain = find_brain(shift_background(read_image(file)))
        if brain.mask.any() and not brain.stripped:
            heads.append(file)
        else:
            say(f"{file.name}: shows no whole head; left out")
    if not heads:
        raise CaseError(
            f"{', '.join(map(str, paths)) or 'HEADS'}: no whole heads; give T1w scans that are not skull-stripped"
        )
    return heads


def read_masks(folder: Path, count: int, rng: np.random.Generator) -> list[tuple[RealMask, bool]]:
    """Non-empty masks from which to choose `count`, and whether each reaches the surface of the cortex.

    Raises:
        CaseError: There is none.
    """
    masks = []
    paths = find_masks(folder)
    for index in np.sort(rng.permutation(len(paths))[: CHOICE * count]):
        path = paths[index]
        try:
            mask = read_mask(path, folder)
        except ImageError as error:
            say(f"{error}; left out")
            continue
        masks.append((mask, surface_share(mask) >= LEAST_AT_SURFACE))
    if not masks:
        raise CaseError(f"{folder}: holds no usable mask; give the folder of the lesion masks")
    return masks


def plan_pairs(heads: int, masks: Sequence[tuple[RealMask, bool]], count: int, rng: np.random.Generator) -> list[Pair]:
    """Deal lesions to the heads in turn, half at the surface and half deep, balanced over sides and volumes.

    If one kind of mask is missing, the other is used.
    """
    pairs: list[Pair] = []
    sides = rng.permutation(np.arange(count) % 2)
    for at_surface, limits in ((True, SURFACE_LOADS_ML), (False, DEEP_LOADS_ML)):
        kind = [mask for mask, reaches in masks if reaches == at_surface] or [mask for mask, _ in masks]
        number = (count + at_surface) // 2
        used: set[str] = set()
        # loads evenly spaced on a logarithmic scale, each served by the mask of the nearest volume
        for load_ml in rng.permutation(np.geomspace(*limits, number)):
            free = [mask for mask in kind if mask.name not in used] or kind
            mask = min(free, key=lambda one: abs(np.log(one.volume_mm3 / 1000 / load_ml)))
            used.add(mask.name)
            # mirrored if the mask is on the other side
            wanted_left = bool(sides[len(pairs)])
            pairs.append(Pair(len(pairs) % heads, mask, bool(mask.centre_mm[0] < 0) != wanted_left, at_surface))
    return pairs
