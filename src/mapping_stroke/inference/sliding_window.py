"""P(lesion) of a whole scan from overlapping patches, weighted towards each patch's centre."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from jaxtyping import Float
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from mapping_stroke.errors import ConfigError
from mapping_stroke.image import Shape

LARGEST_BATCH_VOX = 128**3
"""Small patches one by one would leave a processor idle; more than this at once would need more memory."""


@dataclass(frozen=True)
class WindowConfig:
    """How a scan is covered. Source: nnU-Net's predictor."""

    step: float = 0.5
    """Distance between neighbouring patches, as a share of the patch's edge; the last patch ends with the scan."""
    mirror: bool = False
    """Average over all 8 mirrorings of each patch."""
    batch: int | None = None
    """Patches computed at once; None takes up to 8, as many as fill one patch of 128^3 voxels."""

    def __post_init__(self) -> None:
        if not 0 < self.step <= 1:
            raise ConfigError(f"step is {self.step}, expected a share of the patch above 0 and up to 1")
        if self.batch is not None and self.batch < 1:
            raise ConfigError(f"batch is {self.batch}, expected 1 or more")


def predict_probability(
    network: nn.Module, voxels: Float[Tensor, "x y z"], patch: Shape, config: WindowConfig
) -> Float[Tensor, "x y z"]:
    """P(lesion) of every voxel.

    Args:
        network: Maps (n, 1, x, y, z) to logits (n, 2, x, y, z); in evaluation mode, on the device of `voxels`.
        voxels: Prepared scan, 0 outside the brain.
        patch: Edge lengths of a patch.
        config: Step, mirroring, batch.

    Returns:
        Float32 on the same grid, in [0, 1]; 0 where every patch that covers a voxel holds no brain, and so everywhere
        for a scan without brain. Patches without brain are not computed.
    """
    padded, inside = _pad_to_patch(voxels, patch)
    importance = importance_map(patch).to(voxels.device)
    total, weight = torch.zeros_like(padded), torch.zeros_like(padded)
    boxes = [box for box in tile_boxes(padded.shape, patch, config.step) if bool((padded[box] != 0).any())]
    with torch.inference_mode():
        batch = config.batch or min(max(LARGEST_BATCH_VOX // math.prod(patch), 1), 8)
        for start in range(0, len(boxes), batch):
            group = boxes[start : start + batch]
            tiles = torch.stack([padded[box] for box in group])[:, None]
            for box, probability in zip(group, lesion_probability(network, tiles, mirror=config.mirror), strict=True):
                total[box] += probability * importance
                weight[box] += importance
    return (total / weight.clamp_min(torch.finfo(weight.dtype).tiny))[inside]


def lesion_probability(
    network: nn.Module, tiles: Float[Tensor, "n 1 x y z"], *, mirror: bool
) -> Float[Tensor, "n x y z"]:
    """P(lesion) = sigmoid(lesion logit - background logit), the softmax of two classes; averaged over mirrorings."""
    axes = [tuple(2 + axis for axis in range(3) if flips[axis]) for flips in product((False, True), repeat=3)]
    total = torch.zeros_like(tiles[:, 0])
    for flipped in axes if mirror else axes[:1]:
        logits = network(tiles.flip(flipped)).float()
        total += torch.sigmoid(logits[:, 1:] - logits[:, :1]).flip(flipped)[:, 0]
    return total / (len(axes) if mirror else 1)


def tile_boxes(shape: tuple[int, ...], patch: Shape, step: float) -> Iterator[tuple[slice, slice, slice]]:
    """Evenly spread boxes of the patch's size that cover the whole shape, at most `step` of the patch apart."""
    starts = []
    for edge, length in zip(shape, patch, strict=True):
        count = int(np.ceil((edge - length) / (length * step))) + 1
        distance = (edge - length) / max(count - 1, 1)
        starts.append([round(distance * index) for index in range(count)])
    for x, y, z in product(*starts):
        yield slice(x, x + patch[0]), slice(y, y + patch[1]), slice(z, z + patch[2])


def importance_map(patch: Shape) -> Float[Tensor, "x y z"]:
    """Gaussian weight of a patch's voxels, sigma = edge / 8, 1 at the centre, above 0 everywhere."""
    spike = np.zeros(patch, np.float64)
    spike[tuple(edge // 2 for edge in patch)] = 1
    weight = ndimage.gaussian_filter(spike, [edge / 8 for edge in patch], mode="constant")
    weight /= weight.max()
    weight[weight == 0] = weight[weight > 0].min()
    return torch.from_numpy(weight.astype(np.float32))


def _pad_to_patch(
    voxels: Float[Tensor, "x y z"], patch: Shape
) -> tuple[Float[Tensor, "x2 y2 z2"], tuple[slice, slice, slice]]:
    """The scan centred in zeros, at least as large as a patch, and where in there it lies."""
    short_by = [max(length - edge, 0) for edge, length in zip(voxels.shape, patch, strict=True)]
    padding = [amount for lack in reversed(short_by) for amount in (lack // 2, lack - lack // 2)]
    x, y, z = (slice(lack // 2, lack // 2 + edge) for lack, edge in zip(short_by, voxels.shape, strict=True))
    return functional.pad(voxels, padding), (x, y, z)
