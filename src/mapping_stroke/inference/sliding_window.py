"""Prediction of a scan from overlapping patches, weighted towards their centres, or from a single window."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, product
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Float32, Float64
from scipy import ndimage

from mapping_stroke.errors import ConfigError
from mapping_stroke.images.image import Voxels
from mapping_stroke.images.nifti import Shape
from mapping_stroke.networks.cards import Averaging, Cover

A = TypeVar("A")
Box = tuple[slice, slice, slice]

ALL_AXES = (0, 1, 2)
NO_LESION_LOGIT = -30.0
"""Logit of voxels that no patch covers, P = 1e-13."""


@dataclass(frozen=True)
class WindowConfig:
    """How patches cover a scan. Source: nnU-Net's predictor."""

    step: float = 0.5
    """Distance between neighbouring patches as a fraction of the patch's edge; the last patch ends with the scan."""
    mirror: tuple[int, ...] = ()
    """Average over all mirrorings of each patch along these axes: with all three, over 8."""
    view: tuple[int, ...] | None = None
    """Instead compute only the mirroring along these axes; none of them for the patch as it is."""
    average: Averaging = "probability"
    """Quantity averaged over overlapping patches and mirrorings: P(lesion), or its logit as in nnU-Net v2."""
    cover: Cover = "tiles"
    """`tiles`: patches of the size the network was trained with. `window`: one patch as large as the brain."""

    def __post_init__(self) -> None:
        if not 0 < self.step <= 1:
            raise ConfigError(f"step is {self.step}, expected a fraction of the patch above 0 and up to 1")

    @property
    def mirrorings(self) -> tuple[tuple[int, ...], ...]:
        """The axes flipped by each mirroring; the first is the unchanged patch."""
        if self.view is not None:
            return (self.view,)
        return tuple(chain.from_iterable(combinations(self.mirror, count) for count in range(len(self.mirror) + 1)))


@runtime_checkable
class TileNetwork(Protocol[A]):
    """A loaded network on a device whose arrays have type A and are indexed like numpy's."""

    batch_vox: int
    """Small patches are computed together up to this many voxels; one by one they would leave the device idle."""

    def put(self, voxels: Voxels) -> A:
        """Bring a scan to the device."""

    def get(self, voxels: A) -> Voxels:
        """Bring a map back."""

    def flip(self, voxels: A, axes: tuple[int, ...]) -> A:
        """Mirror axes."""

    def sigmoid(self, logits: A) -> A:
        """P from its logit."""

    def logits(self, patches: Sequence[A]) -> Sequence[A]:
        """The logit of P(lesion) for patches (x, y, z) of one shape, float32."""


@dataclass(frozen=True, eq=False)
class Tiling:
    """The patches of a scan.

    Attributes:
        patch: Edges of a patch.
        padded: Shape of the zero-padded scan, at least one patch.
        inside: The box of the scan in it.
        boxes: The patches that contain brain.
    """

    patch: Shape
    padded: Shape
    inside: Box
    boxes: tuple[Box, ...]


def plan_tiling(voxels: Voxels, patch: Shape, window_steps: Shape, config: WindowConfig) -> Tiling:
    """Choose the patches of a prepared scan; patches without brain (0 everywhere) are left out.

    Args:
        voxels: Prepared scan, 0 outside the brain.
        patch: Training patch of the network.
        window_steps: Edges of a window are multiples of these, and at least half a patch.
        config: Step and cover.
    """
    if config.cover == "window":
        patch = window_shape(voxels.shape, patch, window_steps)
    x, y, z = (max(edge, length) for edge, length in zip(voxels.shape, patch, strict=True))
    before = [(padded - edge) // 2 for padded, edge in zip((x, y, z), voxels.shape, strict=True)]
    inside = tuple(slice(low, low + edge) for low, edge in zip(before, voxels.shape, strict=True))
    brain = np.zeros((x, y, z), bool)
    brain[inside] = voxels != 0
    boxes = tuple(box for box in tile_boxes((x, y, z), patch, config.step) if brain[box].any())
    return Tiling(patch, (x, y, z), (inside[0], inside[1], inside[2]), boxes)


def window_shape(shape: Sequence[int], patch: Shape, steps: Shape) -> Shape:
    """The smallest window that covers a shape, suits a network and is at least half its patch."""
    x, y, z = (
        math.ceil(max(edge, half / 2) / step) * step for edge, half, step in zip(shape, patch, steps, strict=True)
    )
    return x, y, z


def predict_map(
    network: TileNetwork[A],
    voxels: Voxels,
    tiling: Tiling,
    config: WindowConfig,
    advance: Callable[[float], None] = lambda share: None,
) -> Float32[np.ndarray, "x y z"]:
    """One network's map of a prepared scan.

    Args:
        network: Computes patches.
        voxels: Prepared scan, 0 outside the brain.
        tiling: The scan's patches, from `plan_tiling`.
        config: Mirroring and the averaged quantity.
        advance: Receives the share of the work done by each step; the shares sum to 1.

    Returns:
        P(lesion) in [0, 1], or its logit, on the grid of `voxels`. P is 0 (the logit `NO_LESION_LOGIT`) in voxels that
        are only covered by patches without brain, so everywhere in a scan without brain.
    """
    centred = np.zeros(tiling.padded, np.float32)
    centred[tiling.inside] = voxels
    padded = network.put(centred)
    # sums and weights stay on the device: only the finished map is copied back
    total, weight = network.put(np.zeros_like(centred)), network.put(np.zeros_like(centred))
    # a single patch needs no blending
    importance = network.put(
        importance_map(tiling.patch) if len(tiling.boxes) > 1 else np.ones(tiling.patch, np.float32)
    )
    for group in tile_groups(tiling.boxes, tiling.patch, network.batch_vox):
        tiles = [padded[box] for box in group]  # type: ignore[index]
        for box, values in zip(group, _predict_tiles(network, tiles, config), strict=True):
            total[box] += values * importance  # type: ignore[index]
            weight[box] += importance  # type: ignore[index]
        advance(len(group) / len(tiling.boxes))
    summed, weights = network.get(total)[tiling.inside], network.get(weight)[tiling.inside]
    empty = NO_LESION_LOGIT if config.average == "logit" else 0.0
    return np.where(weights > 0, summed / np.maximum(weights, np.finfo(np.float32).tiny), np.float32(empty))


def _predict_tiles(network: TileNetwork[A], tiles: Sequence[A], config: WindowConfig) -> list[Any]:
    """The mean over all mirrorings of each patch."""
    totals: list[Any] = []
    for flipped in config.mirrorings:
        logits = network.logits([network.flip(tile, flipped) for tile in tiles])
        # mirroring twice along the same axes restores the patch
        values = [network.flip(_averaged(network, logit, config), flipped) for logit in logits]
        totals = [total + value for total, value in zip(totals, values, strict=True)] if totals else values
    return [total / len(config.mirrorings) for total in totals] if len(config.mirrorings) > 1 else totals


def _averaged(network: TileNetwork[A], logit: A, config: WindowConfig) -> A:
    return network.sigmoid(logit) if config.average == "probability" else logit


def tile_groups(boxes: Sequence[Box], patch: Shape, batch_vox: int) -> Iterator[Sequence[Box]]:
    """Batches of patches of nearly equal size, the first as large as any.

    A network is therefore compiled only once. No batch has more voxels than `batch_vox` unless it is a single patch.
    """
    largest = max(batch_vox // math.prod(patch), 1)
    count = math.ceil(len(boxes) / largest)
    for index in range(count):
        yield boxes[-(-index * len(boxes) // count) : -(-(index + 1) * len(boxes) // count)]


def tile_boxes(shape: tuple[int, ...], patch: Shape, step: float) -> Iterator[Box]:
    """Evenly spaced boxes of the patch's size that cover the whole shape, at most `step` of the patch apart."""
    starts = []
    for edge, length in zip(shape, patch, strict=True):
        count = int(np.ceil((edge - length) / (length * step))) + 1
        distance = (edge - length) / max(count - 1, 1)
        starts.append([round(distance * index) for index in range(count)])
    for x, y, z in product(*starts):
        yield slice(x, x + patch[0]), slice(y, y + patch[1]), slice(z, z + patch[2])


def importance_map(patch: Shape) -> Float32[np.ndarray, "x y z"]:
    """Gaussian weight of a patch's voxels, sigma = edge / 8, 1 at the centre, above 0 everywhere."""
    x, y, z = (_importance(edge) for edge in patch)
    weight = x[:, None, None] * y[None, :, None] * z[None, None, :]
    weight[weight == 0] = weight[weight > 0].min()  # far from the centre, the product underflows
    return np.asarray(weight, dtype=np.float32)


def _importance(edge: int) -> Float64[np.ndarray, " edge"]:
    spike = np.zeros(edge, np.float64)  # filtered, it is the truncated Gaussian of nnU-Net
    spike[edge // 2] = 1
    weight = ndimage.gaussian_filter1d(spike, edge / 8, mode="constant")
    return np.asarray(weight / weight.max())
