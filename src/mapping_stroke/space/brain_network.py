"""Brain extraction with the networks of deepbet, rebuilt as OpenVINO graphs."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from threading import Lock
from typing import Any, Literal, get_args
from zipfile import BadZipFile, ZipFile

import numpy as np
from jaxtyping import Float32, Shaped
from scipy import ndimage

from mapping_stroke.errors import ConfigError
from mapping_stroke.images.image import Image, Mask, Voxels, reorient, restore_axes
from mapping_stroke.images.nifti import Shape
from mapping_stroke.inference.cost import require_memory
from mapping_stroke.inference.openvino_graph import instance_norm
from mapping_stroke.inference.openvino_import import ops, ov
from mapping_stroke.lesions import FULLY_CONNECTED, bounding_box

Node = Any
"""OpenVINO's nodes are untyped."""
Weights = Iterator[Float32[np.ndarray, " n"]]
Cube = Float32[np.ndarray, "n n n"]

NetworkName = Literal["box", "brain"]
EDGES_VOX: dict[NetworkName, int] = {"box": 128, "brain": 256}
"""Edge of the cube that each network reads."""
_FILES: dict[NetworkName, tuple[str, str]] = {
    "box": ("data/models/bbox_model.pt", "39a7b2b5f799faa1391ea97bfcdc0b9299f20d84f2316a4ff8918dc4685e40aa"),
    "brain": ("data/models/model.pt", "de8ee7c69654d0dd3935dc4a5d84571d8ecf4637a6bfc01df399c4c2bc86e0fd"),
}
NEEDED_BYTES: dict[NetworkName, float] = {"box": 0.06e9, "brain": 0.45e9}
"""Memory that each network needs to run."""
_FEATURES = (16, 32, 64, 128)
_LOADING = Lock()
"""One thread compiles a network while the others wait."""
_COMPUTING = Lock()
"""A compiled network computes one cube at a time, whatever thread asks."""


def find_weights(name: NetworkName) -> Path:
    """The file of a network in the installed wheel.

    Raises:
        ConfigError: deepbet is not installed, or in another version than the one these graphs were written for.
    """
    file, expected_sha256 = _FILES[name]
    remedy = "run `pip install deepbet==1.0.2`, or pass your own brain mask of each scan with --brain"
    try:
        path = Path(str(distribution("deepbet").locate_file(file)))
        found_sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    except (PackageNotFoundError, OSError) as error:
        raise ConfigError(f"brain extraction needs the package deepbet, which is not installed; {remedy}") from error
    if found_sha256 != expected_sha256:
        raise ConfigError(f"{path}: is not the file of deepbet 1.0.2 that was validated here; {remedy}")
    return path


def load_network(name: NetworkName) -> Any:
    """Load a network, once per process, from a cube (1, 1, n, n, n) to the logit of P(brain) of the same shape.

    Convolutions use float32 on any processor, so that masks are the same everywhere.

    Raises:
        ConfigError: See `find_weights`.
    """
    with _LOADING:
        return _compile(name)


@cache
def _compile(name: NetworkName) -> Any:
    core = ov.Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    return core.compile_model(build_graph(find_weights(name), EDGES_VOX[name]), "CPU", settings)


def load_networks() -> None:
    """Compile both networks ahead of time. Does nothing if they are not installed."""
    with suppress(ConfigError):  # the first scan that needs them reports it
        for name in get_args(NetworkName):
            load_network(name)


def brain_logits(name: NetworkName, cube: Cube) -> Cube:
    """The logit of P(brain) for each voxel of a cube with intensities normalised as in training.

    Raises:
        ResourceError: There is too little memory.
    """
    network = load_network(name)
    remedy = "close other programs, or pass your own brain mask of each scan with --brain"
    require_memory(NEEDED_BYTES[name], "brain extraction", remedy)
    with _COMPUTING:
        (logits,) = network([cube[None, None]]).values()
        logits = np.array(logits[0, 0])
        network.release_memory()  # activations: segmentation needs the memory next
    return logits


def build_graph(weights_file: Path, edge_vox: int) -> ov.Model:
    """Build the LinkNet of a file for cubes of one edge length.

    Raises:
        ConfigError: The file is damaged.
    """
    try:
        weights = _read_weights(weights_file)
        return _link_net(weights, edge_vox)
    except (BadZipFile, KeyError, StopIteration, ValueError) as error:
        raise ConfigError(f"{weights_file}: cannot be read ({error}); install deepbet 1.0.2 again") from error


def _read_weights(file: Path) -> Weights:
    """The tensors of a TorchScript archive in the order in which the network uses its parameters."""
    with ZipFile(file) as archive:
        top = archive.namelist()[0].split("/")[0]
        count = sum(name.startswith(f"{top}/data/") for name in archive.namelist())
        for index in range(count):
            yield np.frombuffer(archive.read(f"{top}/data/{index}"), np.float32)


def _link_net(weights: Weights, edge_vox: int) -> ov.Model:
    # encoder: a narrow ResNet-18 with instance norm
    voxels = ops.parameter([1, 1, edge_vox, edge_vox, edge_vox], np.float32)
    first = _FEATURES[0]
    features = _activate(_convolve(weights, voxels, 1, first, kernel=7, stride=2))
    features = ops.max_pool(features, [2] * 3, [1] * 3, [1] * 3, [1] * 3, [3] * 3).output(0)
    skips = [features]
    for stage, (before, after) in enumerate(zip((first, *_FEATURES), _FEATURES, strict=False)):
        features = _residual_block(weights, features, before, after, stride=1 if stage == 0 else 2)
        features = _residual_block(weights, features, after, after)
        skips.append(features)
    features = skips.pop()  # the deepest map has no skip connection
    for stage in reversed(range(len(_FEATURES))):
        before, after = _FEATURES[stage], _FEATURES[max(stage - 1, 0)]
        inner = _activate(_convolve(weights, features, before, before // 4, kernel=1))
        inner = _activate(_transposed(weights, inner, before // 4, before // 4, stride=1 if stage == 0 else 2))
        features = ops.add(_activate(_convolve(weights, inner, before // 4, after, kernel=1)), skips.pop())
    half = first // 2  # three layers bring the map to full resolution
    features = _activate(_transposed(weights, features, first, half))
    next(weights)  # a bias, which the following normalisation removes
    features = _activate(_convolve(weights, features, half, half))
    next(weights)  # likewise
    kernel, bias = next(weights).reshape(half, 2, 2, 2, 2), next(weights)
    # of two classes, only the difference of their outputs matters: it is the logit of P(brain)
    logit_kernel = ops.constant(np.ascontiguousarray(kernel[:, 1:] - kernel[:, :1]))
    logits = ops.convolution_backprop_data(features, logit_kernel, [2] * 3, None, [0] * 3, [0] * 3, [1] * 3)
    return ov.Model([ops.add(logits, ops.constant(np.float32(bias[1] - bias[0])))], [voxels])


def _residual_block(weights: Weights, features: Node, before: int, after: int, stride: int = 1) -> Node:
    inner = _activate(_convolve(weights, features, before, after, stride=stride))
    inner = instance_norm(_convolve(weights, inner, after, after))
    shortcut = features
    if stride != 1:
        shortcut = instance_norm(_convolve(weights, features, before, after, kernel=1, stride=stride))
    return ops.relu(ops.add(inner, shortcut))


def _convolve(weights: Weights, features: Node, before: int, after: int, kernel: int = 3, stride: int = 1) -> Node:
    values = next(weights).reshape(after, before, kernel, kernel, kernel)
    padding = [kernel // 2] * 3
    return ops.convolution(features, ops.constant(values), [stride] * 3, padding, padding, [1] * 3)


def _transposed(weights: Weights, features: Node, before: int, after: int, stride: int = 2) -> Node:
    """A transposed convolution with a kernel of 3 that enlarges the grid by its stride."""
    values = ops.constant(next(weights).reshape(before, after, 3, 3, 3))
    return ops.convolution_backprop_data(
        features, values, [stride] * 3, None, [1] * 3, [1] * 3, [1] * 3, output_padding=[stride - 1] * 3
    )


def _activate(features: Node) -> Node:
    return ops.relu(instance_norm(features))


WINDOW_QUANTILES = (0.005, 0.995)
"""Intensities are clipped at these quantiles of the whole scan."""
TRAINED_MEAN, TRAINED_STD = 0.449, 0.226
"""Mean and standard deviation of the training intensities."""
BOX_MARGIN = 0.1
"""Margin on either side, as a fraction of the brain's extent."""
LEAST_SHOWN = 0.02
"""A slice belongs to the brain's box if at least this fraction of it is brain."""

BRIGHT_QUANTILE, SHOWN, EVERY = 0.998, 0.1, 2
"""A head is brighter than a fraction of this quantile, taken over every second voxel along each axis."""
LEAST_FILLED, HEAD_MARGIN_VOX = 0.12, 10
"""The first network misses brains if the box around the head fills less of the volume: such volumes are cropped."""

Box = tuple[slice, slice, slice]


def extract_brain(scan: Image) -> Mask:
    """Outline the intracranial space: brain and outer CSF, including stroke cavities.

    Args:
        scan: A T1w scan of a head or a stripped brain, in any orientation, with any voxel size.

    Returns:
        One region without holes, on the scan's grid; empty if no brain is recognised.

    Raises:
        ConfigError: The networks are not installed.

    Source: `BrainExtraction` of deepbet 1.0.2, threshold 0.5, without dilation.
    Departs: volumes in which the head is very small are cropped to it first.
    """
    voxels = reorient(scan).voxels
    mask = np.zeros(voxels.shape, np.bool_)
    box = _field_of_view(voxels)
    mask[box] = _extract_upright(voxels[box])
    return restore_axes(mask, scan)


def _field_of_view(voxels: Voxels) -> Box:
    """The whole volume, or the box around the head if it fills little of the volume."""
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
    """The voxels that a network classifies as brain, given the intensities that become 0 and 1."""
    values = cube - np.float32(low)
    values /= np.float32(high - low)
    np.clip(values, 0, 1, out=values)
    # plane by plane, since a cube in float64 would take 128 MB; n - 1 as in torch
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
        slices = np.flatnonzero(largest.mean(axis=tuple({0, 1, 2} - {axis})) > LEAST_SHOWN)
        if slices.size == 0:
            return None
        scale = full / largest.shape[axis]
        centre, size = scale * (slices[-1] + 1 + slices[0]) / 2, scale * (slices[-1] + 1 - slices[0])
        half = np.rint((1 + 2 * BOX_MARGIN) * size) / 2
        edges.append(slice(max(0, int(np.rint(centre) - half)), min(full, int(np.rint(centre) + half))))
    x, y, z = edges
    return x, y, z


def _resize(values: Shaped[np.ndarray, "x y z"], shape: Shape) -> Shaped[np.ndarray, "a b c"]:
    """A volume on another grid over the same field of view, by nearest neighbour."""
    # the axis that shrinks most comes first, so that the others have less to copy
    for axis in sorted(range(3), key=lambda axis: shape[axis] / values.shape[axis]):
        old, new = values.shape[axis], shape[axis]
        values = values.take(((np.arange(new) + 0.5) * old / new).astype(np.intp), axis)
    return values


def largest_region(mask: Mask) -> Mask:
    """The largest 26-connected region of a mask, or an empty mask for an empty one."""
    labels, count = ndimage.label(mask, FULLY_CONNECTED)
    return np.asarray(labels == np.bincount(labels[mask]).argmax()) if count else mask


def fill_holes(mask: Mask) -> Mask:
    """The mask with all enclosed voxels."""
    box = bounding_box(mask)
    # a border of one voxel connects everything outside
    outside, _ = ndimage.label(np.pad(~mask[box], 1, constant_values=True))
    filled = mask.copy()
    filled[box] = outside[1:-1, 1:-1, 1:-1] != outside[0, 0, 0]
    return filled


def close_gaps(mask: Mask, radius_mm: float, spacing_mm: Sequence[float]) -> Mask:
    """The mask without gaps narrower than twice a radius, and without holes, or an empty mask for an empty one."""
    if not mask.any():
        return mask
    box = bounding_box(mask)  # closing adds nothing outside it
    room = [int(np.ceil(radius_mm / edge)) + 1 for edge in spacing_mm]
    padded = np.pad(mask[box], [(vox, vox) for vox in room])
    # dilation and erosion by distances: exact balls, also for anisotropic voxels
    near = ndimage.distance_transform_edt(~padded, sampling=spacing_mm) <= radius_mm
    inner = tuple(slice(vox, -vox) for vox in room)
    closed = mask.copy()
    closed[box] |= (ndimage.distance_transform_edt(near, sampling=spacing_mm) > radius_mm)[inner]
    return fill_holes(closed)
