"""Rotation, scaling and elastic deformation of a patch, in one interpolation from the whole scan."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor
from torch.nn import functional

from mapping_stroke.dataset.arrays import UNSURE, CaseArrays
from mapping_stroke.dataset.patches import Corner, cut_box
from mapping_stroke.image import Shape
from mapping_stroke.training.augment import Augmentation, draw_factor


@dataclass(frozen=True, eq=False)
class Warp:
    """How a patch's voxels map into the scan, about the patch's centre.

    Attributes:
        matrix: 3x3; offset from the patch's centre -> offset in the scan, voxels.
        elastic_sigma_vox: Correlation length of the elastic deformation for each axis; zeros for none.
        elastic_magnitude_vox: Largest displacement along each axis.
    """

    matrix: Float64[np.ndarray, "3 3"]
    elastic_sigma_vox: tuple[float, float, float] = (0.0, 0.0, 0.0)
    elastic_magnitude_vox: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def is_identity(self) -> bool:
        """Whether the patch is the scan's own voxels."""
        return not any(self.elastic_magnitude_vox) and np.array_equal(self.matrix, np.eye(3))


def draw_warp(augmentation: Augmentation, size: Shape, rng: np.random.Generator) -> Warp:
    """Draw whether and how a patch is rotated, then scaled, and deformed before both."""
    matrix = np.eye(3)
    if rng.random() < augmentation.rotation_probability:
        matrix = _rotation(np.deg2rad(rng.uniform(*augmentation.rotation_degrees, 3)))
    if rng.random() < augmentation.scale_probability:
        draws = 3 if rng.random() < augmentation.scale_per_axis_share else 1
        scales = [
            draw_factor(augmentation.scale, rng) if augmentation.scale_balanced else rng.uniform(*augmentation.scale)
            for _ in range(draws)
        ]
        matrix = np.reshape(scales, (draws, 1)) * matrix
    if rng.random() >= augmentation.elastic_probability:
        return Warp(matrix)
    scale = rng.uniform(*augmentation.elastic_scale)
    sigma = (scale * size[0], scale * size[1], scale * size[2])
    largest = rng.uniform(1 / 8, 1 / 2, 3)  # of sigma: more folds the scan onto itself
    return Warp(matrix, sigma, (sigma[0] * largest[0], sigma[1] * largest[1], sigma[2] * largest[2]))


def cut_warped(
    case: CaseArrays, corner: Corner, size: Shape, warp: Warp, noise: torch.Generator
) -> tuple[Float[Tensor, "x y z"], Int[Tensor, "x y z"]]:
    """Cut a patch of scan and mask through a warp: trilinear, the mask then at 0.5; zeros outside brain and scan.

    The brain (voxels that are not 0) is cut as the mask is, so that no voxel of its rim is half background.

    Args:
        case: On any device; only the box that the patch is read from is brought to that of `noise`.
        corner: Of the patch before the warp.
        size: Of the patch.
        warp: How the patch's voxels map into the scan.
        noise: Draws the elastic deformation; its device is where the patch is made.
    """
    low, box = (corner, size) if warp.is_identity else _box_to_read(corner, size, warp, case.scan.shape)
    scan = cut_box(case.scan, low, box).to(noise.device, non_blocking=True)
    mask = cut_box(case.mask, low, box).to(noise.device, non_blocking=True)
    if warp.is_identity:
        return scan.float(), mask.long()
    inside = warped_points((corner[0] - low[0], corner[1] - low[1], corner[2] - low[2]), size, warp, noise)
    channels = [scan.float(), (scan != 0).float(), (mask > 0).float(), (mask == UNSURE).float()]
    values = _interpolate(torch.stack(channels), inside)
    target = (values[2] >= 0.5).long()
    return values[0] * (values[1] >= 0.5), target.masked_fill((target == 1) & (2 * values[3] > values[2]), UNSURE)


def _box_to_read(corner: Corner, size: Shape, warp: Warp, shape: torch.Size) -> tuple[Corner, Shape]:
    """Lowest voxel and size of a box that holds all that a warped patch reads, from the warp's own numbers.

    Looking at the warped points themselves would make the processor wait for a GPU at every patch.
    """
    half = (np.array(size) - 1) / 2
    farthest = half + 2 * np.array(warp.elastic_magnitude_vox)  # twice: their mean is taken off the displacements
    reach = np.abs(warp.matrix) @ farthest + 1e-3  # the points are float32
    low = np.maximum(np.floor(corner + half - reach), -1).astype(int)
    high = np.minimum(np.ceil(corner + half + reach), shape).astype(int)
    lengths = np.maximum(high - low + 1, 1)
    return (int(low[0]), int(low[1]), int(low[2])), (int(lengths[0]), int(lengths[1]), int(lengths[2]))


def warped_points(corner: Corner, size: Shape, warp: Warp, noise: torch.Generator) -> Float[Tensor, "3 x y z"]:
    """Where in the scan each voxel of the patch is read, voxels."""
    device = noise.device
    half = [(length - 1) / 2 for length in size]
    axes = [torch.arange(length, device=device, dtype=torch.float32) - h for length, h in zip(size, half, strict=True)]
    offsets = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    if any(warp.elastic_magnitude_vox):
        offsets = offsets + _elastic(size, warp, noise)
    matrix = torch.tensor(warp.matrix, device=device, dtype=torch.float32)
    centre = torch.tensor([low + h for low, h in zip(corner, half, strict=True)], device=device)
    return torch.einsum("ij,jxyz->ixyz", matrix, offsets) + centre.reshape(3, 1, 1, 1)


def _elastic(size: Shape, warp: Warp, noise: torch.Generator) -> Float[Tensor, "3 x y z"]:
    """Smooth random displacements: white noise through a Gaussian in the frequency domain, scaled to its largest.

    Their mean is then taken off, so that the patch stays where it is.
    """
    device = noise.device
    white = torch.rand((3, *size), generator=noise, device=device) * 2 - 1
    spectrum = torch.fft.rfftn(white, dim=(1, 2, 3))
    for axis, (length, sigma) in enumerate(zip(size, warp.elastic_sigma_vox, strict=True)):
        frequency = torch.fft.rfftfreq if axis == 2 else torch.fft.fftfreq
        window = torch.exp(-2 * (np.pi * sigma * frequency(length, device=device)) ** 2)
        spectrum = spectrum * window.reshape([-1 if a == axis else 1 for a in range(3)])
    smooth: Tensor = torch.fft.irfftn(spectrum, s=size, dim=(1, 2, 3))
    largest = smooth.flatten(1).abs().amax(1).clamp_min(1e-8)
    magnitude = torch.tensor(warp.elastic_magnitude_vox, device=device, dtype=torch.float32)
    displacement = smooth * (magnitude / largest).reshape(3, 1, 1, 1)
    return displacement - displacement.mean((1, 2, 3), keepdim=True)


def _interpolate(values: Float[Tensor, "c x2 y2 z2"], points: Float[Tensor, "3 x y z"]) -> Float[Tensor, "c x y z"]:
    shape = torch.tensor(values.shape[1:], device=points.device, dtype=torch.float32).reshape(3, 1, 1, 1)
    grid = ((points * 2 + 1) / shape - 1).permute(1, 2, 3, 0).flip(-1)  # grid_sample counts z, y, x in [-1, 1]
    return functional.grid_sample(values[None], grid[None], padding_mode="zeros", align_corners=False)[0]


def _rotation(angles_rad: Float64[np.ndarray, " 3"]) -> Float64[np.ndarray, "3 3"]:
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles_rad), np.sin(angles_rad)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.asarray(about_x @ about_y @ about_z)
