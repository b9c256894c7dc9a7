"""A synthetic case for timing: a probability map with many lesions of all sizes, and a different reference."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from scipy import ndimage

from mapping_stroke.images.image import Mask, Probability

ATLAS_SHAPE = (197, 233, 189)
"""The grid of ATLAS R2.0, 1 mm."""


@dataclass(frozen=True)
class PhantomConfig:
    """Properties of the case. Lesion sizes are evenly spaced on a logarithmic scale, as in ATLAS."""

    shape: tuple[int, int, int] = ATLAS_SHAPE
    lesions: int = 25
    smallest_vox: int = 13
    largest_vox: int = 50_000


@dataclass(frozen=True, eq=False)
class Phantom:
    """A probability map and a reference mask on one grid."""

    probability: Probability
    reference: Mask


def make_phantom(config: PhantomConfig, rng: np.random.Generator) -> Phantom:
    """Draw a case: smooth irregular blobs that do not touch, each with a reference of another outline.

    Args:
        config: Grid, number and sizes of the lesions.
        rng: Source of positions and outlines.

    Returns:
        P(lesion), highest in the middle of a blob and 0.5 at its outline, and the reference mask. One blob in eight
        has no reference, so false positives occur.
    """
    probability = np.zeros(config.shape, np.float32)
    reference = np.zeros(config.shape, np.bool_)
    taken = np.zeros(config.shape, np.bool_)
    sizes_vox = np.geomspace(config.largest_vox, config.smallest_vox, config.lesions)
    for number, size_vox in enumerate(sizes_vox):
        radius_vox = float((size_vox * 3 / (4 * np.pi)) ** (1 / 3))
        # largest first, while there is room
        box = _free_box(taken, int(np.ceil(2 * radius_vox)) + 2, rng)
        taken[box] = True
        shape = taken[box].shape
        # two outlines from different noise: prediction and reference overlap but differ
        probability[box] = 1 / (1 + np.exp(-4 * _depth(shape, radius_vox, rng)))
        reference[box] = (number % 8 != 7) & (_depth(shape, radius_vox, rng) > 0)
    return Phantom(np.where(probability < 0.02, 0, probability), reference)


def _free_box(taken: Mask, edge_vox: int, rng: np.random.Generator) -> tuple[slice, slice, slice]:
    """A cube that is still free."""
    for _ in range(10_000):
        start = [int(rng.integers(0, max(length - edge_vox, 0) + 1)) for length in taken.shape]
        x, y, z = (slice(first, first + edge_vox) for first in start)
        if not taken[x, y, z].any():
            return x, y, z
    raise AssertionError(f"no room for a cube of {edge_vox} voxels in a grid of {taken.shape}")


def _depth(shape: tuple[int, ...], radius_vox: float, rng: np.random.Generator) -> Float32[np.ndarray, "x y z"]:
    """Depth of each voxel in an irregular blob: 1 in the middle, 0 at the outline, below 0 outside."""
    middle = [(length - 1) / 2 for length in shape]
    squares = [((np.arange(length) - centre) / radius_vox) ** 2 for length, centre in zip(shape, middle, strict=True)]
    distance = np.sqrt(squares[0][:, None, None] + squares[1][None, :, None] + squares[2][None, None, :])
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), max(radius_vox / 3, 0.5))
    return np.asarray(1 - distance + 0.15 * noise / noise.std(), dtype=np.float32)
