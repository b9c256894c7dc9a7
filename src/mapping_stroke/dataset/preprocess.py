"""Preprocessing of a scan for a network, and resampling of probability maps back to the scan's grid."""

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
"""No head with neck is longer, so a larger extent means a wrong spacing."""


@dataclass(frozen=True)
class PreprocessSpec:
    """Preprocessing of a scan. Source: nnU-Net (crop to non-zero, z-score, resample)."""

    spacing_mm: float | tuple[float, float, float] = 1.0
    """Edge lengths of the network's voxels: one for cubes, or one for each axis."""
    normalise: Literal["brain", "box"] = "brain"
    """Voxels whose mean and standard deviation define the z-scores: the brain, with 0 outside it, or the entire box,
    including background (nnU-Net's choice for scans that fill most of their grid)."""
    resampling: Literal["linear", "cubic"] = "linear"
    """`linear`, which averages voxels towards a coarser grid, or `cubic`, nnU-Net's spline."""
    orientation: str = "RAS"
    """Directions of the axes of the network's grid."""
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Distance by which the network's grid starts before the brain's box along each axis, in its own voxels, rounded to
    voxels of the scan. Members with different shifts resolve together what one grid is too coarse for."""

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
            raise ConfigError(f"shift is {self.shift}, expected three fractions of a voxel, each from 0 to below 1")
        if any(self.shift) and self.normalise != "brain":
            raise ConfigError(f"shift is {self.shift}, expected none if normalise is {self.normalise!r}")

    @property
    def edges_mm(self) -> tuple[float, float, float]:
        """Length of a voxel's edge along each axis of the network's grid."""
        return self.spacing_mm if isinstance(self.spacing_mm, tuple) else (self.spacing_mm,) * 3

    def to_json(self) -> dict[str, object]:
        """The specification as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A preprocessed scan, and the information needed to map results back.

    Attributes:
        voxels: z-scores on the network grid; 0 outside the brain if `spec.normalise` is `brain`.
        box: The part of the reoriented scan that contains the brain.
        margin: Voxels of the reoriented scan that `voxels` also covers, before and after the box along each axis.
        reoriented_shape: Shape of the scan with its axes in `spec.orientation`.
        scan: The scan.
        spec: The preprocessing.
    """

    voxels: Voxels
    box: tuple[slice, slice, slice]
    margin: Margin
    reoriented_shape: Shape
    scan: Image
    spec: PreprocessSpec

    def restore(self, values: Float32[np.ndarray, "x y z"]) -> Float32[np.ndarray, "x2 y2 z2"]:
        """Resample a map from the network grid to the scan's own grid; 0 outside the brain's box.

        No value lies outside the range of `values` and 0.
        """
        return self.surround(self.restore_inside(values))

    def restore_inside(self, values: Float32[np.ndarray, "x y z"]) -> Float32[np.ndarray, "a b c"]:
        """The part of this map in the brain's box, along the scan's own axes; the box is the same for every `spec`."""
        x, y, z = (before + edge.stop - edge.start + after for edge, (before, after) in self._sides)
        resized = _resize(values, (x, y, z), smooth=self.spec.resampling == "linear")
        inside = tuple(slice(before, before + edge.stop - edge.start) for edge, (before, _) in self._sides)
        restored = restore_axes(resized[inside], self.scan, self.spec.orientation)
        return np.clip(restored, values.min(), values.max(), out=restored)  # the weights are rounded

    def surround(self, inside: Float32[np.ndarray, "a b c"]) -> Float32[np.ndarray, "x2 y2 z2"]:
        """A map of the brain's box, on the scan's own grid, with 0 around it."""
        full = np.zeros(self.scan.shape, np.float32)
        full[restore_box(self.box, self.reoriented_shape, self.scan, self.spec.orientation)] = inside
        return full

    @property
    def _sides(self) -> list[tuple[slice, tuple[int, int]]]:
        return list(zip(self.box, self.margin, strict=True))


@dataclass(frozen=True, eq=False)
class _Scored:
    """z-scores of the brain's box, before resampling to a network's grid, and the reoriented scan."""

    scores: Voxels
    box: tuple[slice, slice, slice]
    reoriented: Image


def prepare_scan(scan: Image, spec: PreprocessSpec) -> Prepared:
    """Reorient, crop to non-zero voxels, z-score, and resample to the network's spacing.

    The brain is all non-zero voxels and the holes between them, as in nnU-Net.

    Raises:
        ImageError: The scan is 0 everywhere, has a single value in the brain, or is far larger than a head.
    """
    return prepare_for_each(scan, [spec])[spec]


def prepare_for_each(scan: Image, specs: Iterable[PreprocessSpec]) -> dict[PreprocessSpec, Prepared]:
    """`prepare_scan` for several specifications; common steps are computed once."""
    scored: dict[tuple[str, str], _Scored] = {}
    prepared = {}
    for spec in specs:
        key = (spec.orientation, spec.normalise)
        if key not in scored:
            scored[key] = _score(scan, spec)
        prepared[spec] = _to_network_grid(scored[key], scan, spec)
    return prepared


def _score(scan: Image, spec: PreprocessSpec) -> _Scored:
    reoriented = reorient(scan, spec.orientation)
    nonzero = reoriented.voxels != 0
    if not nonzero.any():
        raise ImageError("the scan is zero everywhere, expected a brain; check the conversion that wrote it")
    box = bounding_box(nonzero)
    _require_head_size(reoriented, box)
    cropped, brain = reoriented.voxels[box], _fill_holes(nonzero[box])
    inside = cropped[brain]
    mean, std = _mean_and_spread(inside)
    if std < 1e-6 * max(abs(mean), 1e-30):  # constant up to float32 rounding
        raise ImageError(f"the scan has one value ({mean:g}) in all non-zero voxels, expected a brain; is it a mask?")
    if spec.normalise == "box":
        mean, std = _mean_and_spread(cropped)
        brain = np.ones_like(brain)
    return _Scored(np.where(brain, (cropped - mean) / std, 0).astype(np.float32), box, reoriented)


def _to_network_grid(scored: _Scored, scan: Image, spec: PreprocessSpec) -> Prepared:
    margin = _margin(scored.reoriented, spec)
    scores = np.pad(scored.scores, margin)
    shape = _network_shape(scored.reoriented, scores.shape, spec)
    voxels = _resize(scores, shape) if spec.resampling == "linear" else _resize_cubic(scores, shape)
    return Prepared(voxels, scored.box, margin, scored.reoriented.shape, scan, spec)


def prepare_mask(mask: Image, prepared: Prepared) -> Mask:
    """Resample a reference mask (above 0 = lesion) on the scan's grid to the network grid of that prepared scan."""
    reoriented = reorient(mask, prepared.spec.orientation)
    cropped = np.pad((reoriented.voxels[prepared.box] > 0).astype(np.float32), prepared.margin)
    x, y, z = prepared.voxels.shape
    return np.asarray(_resize(cropped, (x, y, z)) >= 0.5)


def _mean_and_spread(values: np.ndarray) -> tuple[float, float]:
    return float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))


def _require_head_size(reoriented: Image, box: tuple[slice, slice, slice]) -> None:
    """Raise if a wrong spacing in the header would require a network grid larger than any memory."""
    extent_mm = [(edge.stop - edge.start) * spacing for edge, spacing in zip(box, reoriented.spacing_mm, strict=True)]
    if max(extent_mm) > LARGEST_EXTENT_MM:
        raise ImageError(
            f"the scan's non-zero voxels span {max(extent_mm):.0f} mm, expected a head (at most "
            f"{LARGEST_EXTENT_MM:.0f} mm); fix the spacing in its header"
        )


def _network_shape(reoriented: Image, shape: Shape, spec: PreprocessSpec) -> Shape:
    x, y, z = (
        max(round(length * spacing / wanted), 1)
        for length, spacing, wanted in zip(shape, reoriented.spacing_mm, spec.edges_mm, strict=True)
    )
    return x, y, z


def _margin(reoriented: Image, spec: PreprocessSpec) -> Margin:
    """One network voxel along each shifted axis, of which the shift's fraction is before the box."""
    x, y, z = (
        (round(part * wanted / spacing), round(wanted / spacing) - round(part * wanted / spacing)) if part else (0, 0)
        for part, spacing, wanted in zip(spec.shift, reoriented.spacing_mm, spec.edges_mm, strict=True)
    )
    return x, y, z


def _resize(voxels: Voxels, shape: Shape, *, smooth: bool = True) -> Float32[np.ndarray, "x2 y2 z2"]:
    """Resample to a shape over the same box: trilinear, or, if `smooth`, means of voxels towards a coarser grid."""
    coarser = smooth and all(new <= old for new, old in zip(shape, voxels.shape, strict=True))
    resized = voxels
    for axis, (new, old) in enumerate(zip(shape, voxels.shape, strict=True)):
        if new != old:
            weights = _mean_weights(new, old) if coarser else _linear_weights(new, old)
            resized = _weighted(weights, resized, axis)
    return np.ascontiguousarray(resized)


def _weighted(weights: Float32[np.ndarray, "new old"], values: Voxels, axis: int) -> Float32[np.ndarray, "x2 y2 z2"]:
    """Weighted sums along an axis, as a single matrix product: between many small ones, the threads of BLAS wait."""
    if axis == 2:
        sums = values.reshape(-1, values.shape[2]) @ weights.T
        return np.asarray(sums.reshape(*values.shape[:2], len(weights)))
    return np.asarray(np.moveaxis(np.tensordot(weights, values, (1, axis)), 0, axis))


def _mean_weights(new: int, old: int) -> Float32[np.ndarray, "new old"]:
    """Each new voxel is the mean of the old voxels that it covers, weighted by overlap."""
    edges, index = np.arange(new + 1) * old / new, np.arange(old)
    covered = np.minimum(index + 1, edges[1:, None]) - np.maximum(index, edges[:-1, None])
    covered = np.maximum(covered, 0)
    return np.asarray(covered / covered.sum(1, keepdims=True), dtype=np.float32)


def _linear_weights(new: int, old: int) -> Float32[np.ndarray, "new old"]:
    """Each new voxel interpolates between the two old ones nearest to its centre; the border is repeated."""
    # both grids share their outer faces, hence the half voxels
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
    # padding joins all background at the border into the component of the first voxel
    outside = np.pad(~mask, 1, constant_values=True)
    labels = np.empty(outside.shape, np.int32)
    ndimage.label(outside, FACE_CONNECTED, output=labels)
    return np.asarray(labels[1:-1, 1:-1, 1:-1] != labels[0, 0, 0])
