"""Brain extraction by a trained network: the intracranial space of a T1w scan, outlined on the scan's own grid."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Shaped
from scipy import ndimage

from mapping_stroke.image import Image, Mask, Shape, Voxels, restore_axes, turn_axes
from mapping_stroke.lesions import FULLY_CONNECTED, bounding_box
from mapping_stroke.space.brain_network import EDGES_VOX, NetworkName, brain_logits

WINDOW_QUANTILES = (0.005, 0.995)
"""Intensities are cut off beyond these quantiles of the whole scan."""
TRAINED_MEAN, TRAINED_STD = 0.449, 0.226
"""Of the intensities that the networks were trained with."""
BOX_MARGIN = 0.1
"""Of the found brain's extent, on either side."""
LEAST_SHOWN = 0.02
"""A slice belongs to the brain's box if at least this share of it is brain."""

BRIGHT_QUANTILE, SHOWN, EVERY = 0.998, 0.1, 2
"""A head is brighter than a share of this quantile, which is read from every second voxel along each axis."""
LEAST_FILLED, HEAD_MARGIN_VOX = 0.12, 10
"""The first network overlooks brains in volumes of which the box around the head fills less: they are cropped."""

Box = tuple[slice, slice, slice]


def extract_brain(scan: Image) -> Mask:
    """Outline the intracranial space: brain, outer CSF and whatever a stroke has left of them.

    Args:
        scan: A T1w scan of a head or a stripped brain, in any orientation, with any voxel size.

    Returns:
        One region without holes, on the scan's grid; empty if no brain is recognised.

    Raises:
        ConfigError: The networks are not installed.

    Source: `BrainExtraction` of deepbet 1.0.2, threshold 0.5, without dilation.
    Departs: volumes in which the head is very small are cropped to it first.
    """
    voxels = turn_axes(scan).voxels
    mask = np.zeros(voxels.shape, np.bool_)
    box = _field_of_view(voxels)
    mask[box] = _extract_upright(voxels[box])
    return restore_axes(mask, scan)


def _field_of_view(voxels: Voxels) -> Box:
    """The whole volume, or, if a head fills little of it, the box that holds the head."""
    head = voxels > SHOWN * float(np.quantile(voxels[::EVERY, ::EVERY, ::EVERY], BRIGHT_QUANTILE))
    filled_vox = np.prod([edge.stop - edge.start for edge in bounding_box(head)])
    if 0 < filled_vox < LEAST_FILLED * voxels.size:
        return bounding_box(head, HEAD_MARGIN_VOX)
    return (slice(None),) * 3


def _extract_upright(voxels: Voxels) -> Mask:
    mask = np.zeros(voxels.shape, np.bool_)
    small = _resize(voxels, (EDGES_VOX["box"],) * 3)
    low, high = (float(limit) for limit in np.quantile(small, WINDOW_QUANTILES))
    if not low < high:
        return mask
    box = _brain_box(_is_brain("box", small, low, high), voxels.shape)
    if box is None:
        return mask
    inside = voxels[box]
    found = _is_brain("brain", _resize(inside, (EDGES_VOX["brain"],) * 3), low, high)
    mask[box] = fill_holes(largest_region(_resize(found, inside.shape)))
    return mask


def _is_brain(name: NetworkName, cube: Voxels, low: float, high: float) -> Mask:
    """Where a network sees brain, given the intensities that become black and white."""
    values = cube - np.float32(low)
    values /= np.float32(high - low)
    np.clip(values, 0, 1, out=values)
    mean = values.mean(dtype=np.float64)
    variance = sum(float(np.square(plane - mean, dtype=np.float64).sum()) for plane in values) / (values.size - 1)
    scale = TRAINED_STD / np.sqrt(variance)
    values *= np.float32(scale)
    values += np.float32(TRAINED_MEAN - scale * mean)
    return np.asarray(brain_logits(name, values) > 0)


def _brain_box(small: Mask, shape: Sequence[int]) -> Box | None:
    """The box around the largest region of a shrunken mask, with a margin, in a volume of that shape."""
    largest = largest_region(small)
    edges = []
    for axis, full in enumerate(shape):
        shown = np.flatnonzero(largest.mean(axis=tuple({0, 1, 2} - {axis})) > LEAST_SHOWN)
        if shown.size == 0:
            return None
        scale = full / largest.shape[axis]
        centre, size = scale * (shown[-1] + 1 + shown[0]) / 2, scale * (shown[-1] + 1 - shown[0])
        half = np.rint((1 + 2 * BOX_MARGIN) * size) / 2
        edges.append(slice(max(0, int(np.rint(centre) - half)), min(full, int(np.rint(centre) + half))))
    x, y, z = edges
    return x, y, z


def _resize(values: Shaped[np.ndarray, "x y z"], shape: Shape) -> Shaped[np.ndarray, "a b c"]:
    """A volume on another grid over the same field of view: of each new voxel, the old one at its centre."""
    for axis in sorted(range(3), key=lambda axis: shape[axis] / values.shape[axis]):  # what shrinks most comes first
        old, new = values.shape[axis], shape[axis]
        values = values.take(((np.arange(new) + 0.5) * old / new).astype(np.intp), axis)
    return values


def largest_region(mask: Mask) -> Mask:
    """The largest region of a mask whose voxels share corners; an empty mask for an empty one."""
    labels, count = ndimage.label(mask, FULLY_CONNECTED)
    return np.asarray(labels == np.bincount(labels[mask]).argmax()) if count else mask


def fill_holes(mask: Mask) -> Mask:
    """The mask and all that it encloses."""
    box = bounding_box(mask)
    outside, _ = ndimage.label(np.pad(~mask[box], 1, constant_values=True))
    filled = mask.copy()
    filled[box] = outside[1:-1, 1:-1, 1:-1] != outside[0, 0, 0]
    return filled


def close_gaps(mask: Mask, radius_mm: float, spacing_mm: Sequence[float]) -> Mask:
    """The mask without gaps narrower than twice a radius, and without holes; an empty mask for an empty one."""
    if not mask.any():
        return mask
    box = bounding_box(mask)  # closing adds nothing outside it
    room = [int(np.ceil(radius_mm / edge)) + 1 for edge in spacing_mm]
    padded = np.pad(mask[box], [(vox, vox) for vox in room])
    near = ndimage.distance_transform_edt(~padded, sampling=spacing_mm) <= radius_mm
    inner = tuple(slice(vox, -vox) for vox in room)
    closed = mask.copy()
    closed[box] |= (ndimage.distance_transform_edt(near, sampling=spacing_mm) > radius_mm)[inner]
    return fill_holes(closed)
