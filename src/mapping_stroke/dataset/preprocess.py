"""Preprocessing of a scan for a network, and the way of a probability map back to the scan's grid."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32
from scipy import ndimage

from mapping_stroke.errors import ConfigError, ImageError
from mapping_stroke.images.image import Image, Mask, Voxels, orientation_names, reorient, restore_axes, restore_box
from mapping_stroke.images.nifti import Shape
from mapping_stroke.lesions import FACE_CONNECTED, bounding_box

Margin = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]

LARGEST_EXTENT_MM = 600.0
"""No head with neck is longer; a larger extent means a wrong spacing."""


@dataclass(frozen=True)
class PreprocessSpec:
    """Preprocessing of a scan. Source: nnU-Net (crop to non-zero, z-score, resample)."""

    spacing_mm: float | tuple[float, float, float] = 1.0
    """Edges of the network's voxels: one length for cubes, or one along each axis."""
    normalise: Literal["brain", "box"] = "brain"
    """Whose mean and spread make the z-scores: the brain, with 0 outside it; or the whole box, background included
    (what nnU-Net plans for scans that fill most of their grid)."""
    resampling: Literal["linear", "cubic"] = "linear"
    """Towards a coarser grid `linear` takes means of voxels; `cubic` is nnU-Net's spline."""
    orientation: str = "RAS"
    """Where the axes of the network's grid point."""
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """How far before the brain's box the network's grid begins, along each axis, in its own voxels: members whose grids
    lie differently see together what one grid is too coarse for. Whole voxels of the scan are taken."""

    def __post_init__(self) -> None:
        if not all(0.1 <= edge <= 20 for edge in self.edges_mm):
            raise ConfigError(f"spacing_mm is {self.spacing_mm}, expected 0.1 to 20 mm")
        if self.normalise not in ("brain", "box"):
            raise ConfigError(f"normalise is {self.normalise!r}, expected 'brain' or 'box'")
        if self.resampling not in ("linear", "cubic"):
            raise ConfigError(f"resampling is {self.resampling!r}, expected 'linear' or 'cubic'")
        if self.orientation not in orientation_names():
            raise ConfigError(f"orientation is {self.orientation!r}, expected three directions such as 'RAS'")
        if not all(0 <= part < 1 for part in self.shift):
            raise ConfigError(f"shift is {self.shift}, expected three parts of a voxel, each from 0 to below 1")
        if any(self.shift) and self.normalise != "brain":
            raise ConfigError(f"shift is {self.shift}, expected none where normalise is {self.normalise!r}")

    @property
    def edges_mm(self) -> tuple[float, float, float]:
        """Edge of a voxel along each axis of the network's grid."""
        return self.spacing_mm if isinstance(self.spacing_mm, tuple) else (self.spacing_mm,) * 3

    def to_json(self) -> dict[str, object]:
        """The specification as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A preprocessed scan, and the information needed to map results back.

    Attributes:
        voxels: z-scores on the network grid; 0 outside the brain if `spec.normalise` is `brain`.
        box: The part of the turned scan that holds the brain.
        margin: Voxels of the turned scan that `voxels` covers before and behind the box, along each axis.
        turned_shape: Voxels of the scan along each axis, once its axes point where `spec.orientation` says.
        scan: The scan it was made from.
        spec: How.
    """

    voxels: Voxels
    box: tuple[slice, slice, slice]
    margin: Margin
    turned_shape: Shape
    scan: Image
    spec: PreprocessSpec

    def restore(self, values: Float32[np.ndarray, "x y z"]) -> Float32[np.ndarray, "x2 y2 z2"]:
        """Bring a map from the network grid back to the scan's own grid; 0 outside the brain's box.

        No value leaves the range of `values` and 0.
        """
        return self.surround(self.restore_inside(values))

    def restore_inside(self, values: Float32[np.ndarray, "x y z"]) -> Float32[np.ndarray, "a b c"]:
        """The part of this map in the brain's box: the same one for every `spec`, along the scan's own axes."""
        x, y, z = (before + edge.stop - edge.start + behind for edge, (before, behind) in self._sides)
        resized = _resize(values, (x, y, z), smooth=self.spec.resampling == "linear")
        inside = tuple(slice(before, before + edge.stop - edge.start) for edge, (before, _) in self._sides)
        restored = restore_axes(resized[inside], self.scan, self.spec.orientation)
        return np.clip(restored, values.min(), values.max(), out=restored)  # rounding of the weights

    def surround(self, inside: Float32[np.ndarray, "a b c"]) -> Float32[np.ndarray, "x2 y2 z2"]:
        """A map of the brain's box, on the scan's own grid, with 0 around it."""
        whole = np.zeros(self.scan.shape, np.float32)
        whole[restore_box(self.box, self.turned_shape, self.scan, self.spec.orientation)] = inside
        return whole

    @property
    def _sides(self) -> list[tuple[slice, tuple[int, int]]]:
        return list(zip(self.box, self.margin, strict=True))


@dataclass(frozen=True, eq=False)
class _Scored:
    """z-scores of the brain's box, before they are laid on a network's grid; and the scan with its axes turned."""

    scores: Voxels
    box: tuple[slice, slice, slice]
    turned: Image


def prepare_scan(scan: Image, spec: PreprocessSpec) -> Prepared:
    """Turn the axes, crop to non-zero voxels, z-score, resample to the network's spacing.

    The brain is every non-zero voxel and every hole inside them, as in nnU-Net.

    Raises:
        ImageError: The scan is 0 everywhere, has one value in the whole brain, or is far larger than a head.
    """
    return prepare_for_each(scan, [spec])[spec]


def prepare_for_each(scan: Image, specs: Iterable[PreprocessSpec]) -> dict[PreprocessSpec, Prepared]:
    """The same for several specifications; common steps are computed once."""
    scored: dict[tuple[str, str], _Scored] = {}
    prepared = {}
    for spec in specs:
        key = (spec.orientation, spec.normalise)
        if key not in scored:
            scored[key] = _score(scan, spec)
        prepared[spec] = _lay(scored[key], scan, spec)
    return prepared


def _score(scan: Image, spec: PreprocessSpec) -> _Scored:
    turned = reorient(scan, spec.orientation)
    nonzero = turned.voxels != 0
    if not nonzero.any():
        raise ImageError("the scan is zero everywhere, expected a brain; check the conversion that wrote it")
    box = bounding_box(nonzero)
    _require_head_size(turned, box)
    cropped, brain = turned.voxels[box], _fill_holes(nonzero[box])
    inside = cropped[brain]
    mean, std = _mean_and_spread(inside)
    if std < 1e-6 * max(abs(mean), 1e-30):
        raise ImageError(f"the scan has one value ({mean:g}) in all non-zero voxels, expected a brain; is it a mask?")
    if spec.normalise == "box":
        mean, std = _mean_and_spread(cropped)
        brain = np.ones_like(brain)
    return _Scored(np.where(brain, (cropped - mean) / std, 0).astype(np.float32), box, turned)


def _lay(scored: _Scored, scan: Image, spec: PreprocessSpec) -> Prepared:
    margin = _margin(scored.turned, spec)
    scores = np.pad(scored.scores, margin)
    shape = _network_shape(scored.turned, scores.shape, spec)
    voxels = _resize(scores, shape) if spec.resampling == "linear" else _resize_cubic(scores, shape)
    return Prepared(voxels, scored.box, margin, scored.turned.shape, scan, spec)


def prepare_mask(mask: Image, prepared: Prepared) -> Mask:
    """Bring a reference mask (above 0 = lesion) on the scan's grid to the network grid of that prepared scan."""
    turned = reorient(mask, prepared.spec.orientation)
    cropped = np.pad((turned.voxels[prepared.box] > 0).astype(np.float32), prepared.margin)
    x, y, z = prepared.voxels.shape
    return np.asarray(_resize(cropped, (x, y, z)) >= 0.5)


def _mean_and_spread(values: np.ndarray) -> tuple[float, float]:
    return float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))


def _require_head_size(turned: Image, box: tuple[slice, slice, slice]) -> None:
    """Raise if a wrong spacing in the header would ask for a network grid larger than any memory."""
    extent_mm = [(edge.stop - edge.start) * spacing for edge, spacing in zip(box, turned.spacing_mm, strict=True)]
    if max(extent_mm) > LARGEST_EXTENT_MM:
        raise ImageError(
            f"the scan's non-zero voxels span {max(extent_mm):.0f} mm, expected a head (at most "
            f"{LARGEST_EXTENT_MM:.0f} mm); fix the spacing in its header"
        )


def _network_shape(turned: Image, shape: Shape, spec: PreprocessSpec) -> Shape:
    x, y, z = (
        max(round(length * spacing / wanted), 1)
        for length, spacing, wanted in zip(shape, turned.spacing_mm, spec.edges_mm, strict=True)
    )
    return x, y, z


def _margin(turned: Image, spec: PreprocessSpec) -> Margin:
    """One voxel of the network along each axis that is shifted, as much of it before the box as the shift says."""
    x, y, z = (
        (round(part * wanted / spacing), round(wanted / spacing) - round(part * wanted / spacing)) if part else (0, 0)
        for part, spacing, wanted in zip(spec.shift, turned.spacing_mm, spec.edges_mm, strict=True)
    )
    return x, y, z


def _resize(voxels: Voxels, shape: Shape, *, smooth: bool = True) -> Float32[np.ndarray, "x2 y2 z2"]:
    """Resample to a shape over the same box: trilinear; or, if `smooth`, means of voxels towards a coarser grid."""
    coarser = smooth and all(new <= old for new, old in zip(shape, voxels.shape, strict=True))
    resized = voxels
    for axis, (new, old) in enumerate(zip(shape, voxels.shape, strict=True)):
        if new != old:
            weights = _mean_weights(new, old) if coarser else _linear_weights(new, old)
            resized = _weighted(weights, resized, axis)
    return np.ascontiguousarray(resized)


def _weighted(weights: Float32[np.ndarray, "new old"], values: Voxels, axis: int) -> Float32[np.ndarray, "x2 y2 z2"]:
    """Sums along an axis, by matrix products that need no other order of the axes."""
    if axis == 0:
        return np.asarray(np.tensordot(weights, values, 1))
    return np.asarray(weights @ values if axis == 1 else values @ weights.T)


def _mean_weights(new: int, old: int) -> Float32[np.ndarray, "new old"]:
    """Each new voxel is the mean of the old voxels that it covers, weighted by overlap."""
    edges, index = np.arange(new + 1) * old / new, np.arange(old)
    covered = np.minimum(index + 1, edges[1:, None]) - np.maximum(index, edges[:-1, None])
    covered = np.maximum(covered, 0)
    return np.asarray(covered / covered.sum(1, keepdims=True), dtype=np.float32)


def _linear_weights(new: int, old: int) -> Float32[np.ndarray, "new old"]:
    """Each new voxel lies between the two old ones nearest to its centre; the border is repeated."""
    place = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    return np.asarray(np.maximum(1 - np.abs(place[:, None] - np.arange(old)), 0), dtype=np.float32)


def _resize_cubic(voxels: Voxels, shape: Shape) -> Float32[np.ndarray, "x2 y2 z2"]:
    """Resample to a shape by a cubic spline, kept inside the range of `voxels`. Source: nnU-Net."""
    if voxels.shape == shape:
        return voxels
    factors = [new / old for new, old in zip(shape, voxels.shape, strict=True)]
    resized = ndimage.zoom(voxels, factors, order=3, mode="nearest", grid_mode=True)
    return np.asarray(np.clip(resized, voxels.min(), voxels.max()), dtype=np.float32)


def _fill_holes(mask: Bool[np.ndarray, "x y z"]) -> Bool[np.ndarray, "x y z"]:
    """The mask with every enclosed hole: background that does not touch the border of the volume, face-connected."""
    outside = np.pad(~mask, 1, constant_values=True)
    labels = np.empty(outside.shape, np.int32)
    ndimage.label(outside, FACE_CONNECTED, output=labels)
    return np.asarray(labels[1:-1, 1:-1, 1:-1] != labels[0, 0, 0])
