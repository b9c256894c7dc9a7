"""From a scan to what a network reads, and a probability map back to the scan's own grid."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32
from scipy import ndimage
from torch.nn import functional

from mapping_stroke.errors import ConfigError, ImageError
from mapping_stroke.image import Image, Mask, Probability, Voxels, from_ras_axes, to_ras_axes
from mapping_stroke.lesions import FACE_CONNECTED, bounding_box

LARGEST_EXTENT_MM = 600.0
"""No head with its neck is longer; a spacing that says so is wrong."""


@dataclass(frozen=True)
class PreprocessSpec:
    """How a scan is prepared. Source: nnU-Net (crop to non-zero, z-score over the brain, resample)."""

    spacing_mm: float = 1.0
    """Edge of the network's isotropic voxels."""

    def __post_init__(self) -> None:
        if not 0.1 <= self.spacing_mm <= 20:
            raise ConfigError(f"spacing_mm is {self.spacing_mm}, expected 0.1 to 20 mm")

    def to_json(self) -> dict[str, object]:
        """The specification as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "PreprocessSpec":
        """The inverse of `to_json`; raises `ConfigError` on an unknown entry."""
        try:
            return cls(**values)
        except TypeError as error:
            raise ConfigError(f"preprocessing specification {values}: {error}") from error


@dataclass(frozen=True, eq=False)
class Prepared:
    """A scan as a network reads it, and what is needed to find the way back.

    Attributes:
        voxels: z-scores on the network grid, RAS axes, 0 outside the brain.
        box: The part of the RAS-oriented scan that `voxels` covers.
        ras_shape: Voxels of the RAS-oriented scan along each axis.
        scan: The scan it was made from.
    """

    voxels: Voxels
    box: tuple[slice, slice, slice]
    ras_shape: tuple[int, int, int]
    scan: Image

    def restore(self, probability: Probability) -> Float32[np.ndarray, "x2 y2 z2"]:
        """Bring a map from the network grid back to the scan's own grid; 0 outside the box."""
        x, y, z = (edge.stop - edge.start for edge in self.box)
        whole = np.zeros(self.ras_shape, np.float32)
        whole[self.box] = np.clip(_resize(probability, (x, y, z)), 0, 1)
        return from_ras_axes(whole, self.scan)


def prepare_scan(scan: Image, spec: PreprocessSpec) -> Prepared:
    """Turn to RAS axes, crop to non-zero voxels, z-score over the brain, resample to the network's spacing.

    The brain is every non-zero voxel and every hole inside them, as in nnU-Net. Voxels outside it are 0.

    Raises:
        ImageError: The scan is 0 everywhere, has one value in the whole brain, or is far larger than a head.
    """
    ras = to_ras_axes(scan)
    nonzero = ras.voxels != 0
    if not nonzero.any():
        raise ImageError("the scan is zero everywhere, expected a brain; check the conversion that wrote it")
    box = bounding_box(nonzero)
    _require_head_size(ras, box)
    cropped, brain = ras.voxels[box], _fill_holes(nonzero[box])
    inside = cropped[brain]
    mean, std = float(inside.mean(dtype=np.float64)), float(inside.std(dtype=np.float64))
    if std < 1e-6 * max(abs(mean), 1e-30):
        raise ImageError(f"the scan has one value ({mean:g}) in all non-zero voxels, expected a brain; is it a mask?")
    scores = np.where(brain, (cropped - mean) / std, 0).astype(np.float32)
    return Prepared(_resize(scores, _network_shape(ras, box, spec)), box, ras.shape, scan)


def prepare_mask(mask: Image, prepared: Prepared) -> Mask:
    """Bring a reference mask (non-zero = lesion) on the scan's grid to the network grid of that prepared scan."""
    ras = to_ras_axes(mask)
    cropped = (ras.voxels[prepared.box] > 0).astype(np.float32)
    x, y, z = prepared.voxels.shape
    return np.asarray(_resize(cropped, (x, y, z)) >= 0.5)


def _require_head_size(ras: Image, box: tuple[slice, slice, slice]) -> None:
    """Raise where a wrong spacing in the header would ask for a network grid larger than any memory."""
    extent_mm = [(edge.stop - edge.start) * spacing for edge, spacing in zip(box, ras.spacing_mm, strict=True)]
    if max(extent_mm) > LARGEST_EXTENT_MM:
        raise ImageError(
            f"the scan's non-zero voxels span {max(extent_mm):.0f} mm, expected a head (at most "
            f"{LARGEST_EXTENT_MM:.0f} mm); mend the spacing in its header"
        )


def _network_shape(ras: Image, box: tuple[slice, slice, slice], spec: PreprocessSpec) -> tuple[int, int, int]:
    x, y, z = (
        max(round((edge.stop - edge.start) * spacing / spec.spacing_mm), 1)
        for edge, spacing in zip(box, ras.spacing_mm, strict=True)
    )
    return x, y, z


def _resize(voxels: Voxels, shape: tuple[int, int, int]) -> Float32[np.ndarray, "x2 y2 z2"]:
    """Resample to a shape over the same box: means of voxels towards a coarser grid, else trilinear."""
    if voxels.shape == shape:
        return voxels
    coarser = all(new <= old for new, old in zip(shape, voxels.shape, strict=True))
    volume = torch.from_numpy(np.ascontiguousarray(voxels))[None, None]
    if coarser:
        resized = functional.interpolate(volume, shape, mode="area")
    else:
        resized = functional.interpolate(volume, shape, mode="trilinear", align_corners=False)
    return np.asarray(resized[0, 0].numpy())


def _fill_holes(mask: Bool[np.ndarray, "x y z"]) -> Bool[np.ndarray, "x y z"]:
    """The mask with every enclosed hole: background that does not touch the border of the volume, face-connected."""
    outside = np.pad(~mask, 1, constant_values=True)
    labels = np.empty(outside.shape, np.int32)
    ndimage.label(outside, FACE_CONNECTED, output=labels)
    return np.asarray(labels[1:-1, 1:-1, 1:-1] != labels[0, 0, 0])
