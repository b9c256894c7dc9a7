"""Augmentation of a patch: the transformations that an `Augmentation` gives probabilities and strengths of."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor
from torch.nn import functional

from mapping_stroke.dataset.arrays import UNSURE, CaseArrays, Corner, cut_box
from mapping_stroke.images.nifti import Shape
from mapping_stroke.training.schemes import Augmentation, Range

Patch = Float[Tensor, "x y z"]


def draw_factor(factors: Range, rng: np.random.Generator) -> float:
    """Draw a factor as nnU-Net: half of the draws between the lower end and 1, half between 1 and the upper end."""
    low, high = factors
    return rng.uniform(low, 1) if rng.random() < 0.5 else rng.uniform(1, high)


def change_intensity(
    patch: Patch, augmentation: Augmentation, rng: np.random.Generator, noise: torch.Generator
) -> Patch:
    """Draw and apply the intensity transformations in nnU-Net's order; background (0) stays 0."""
    brain = patch != 0
    changed = _degrade(patch, augmentation, rng, noise)
    if rng.random() < augmentation.inverted_gamma_probability:
        # inverted, gamma stretches the dark instead of the bright end
        changed = -change_gamma(-changed, draw_factor(augmentation.gamma, rng))
    if rng.random() < augmentation.shift_probability:
        changed = changed + rng.normal(0, augmentation.shift_sigma)
    if rng.random() < augmentation.gamma_probability:
        changed = change_gamma(changed, draw_factor(augmentation.gamma, rng))
    return changed * brain  # noise and offsets also reached the background


def _degrade(patch: Patch, augmentation: Augmentation, rng: np.random.Generator, noise: torch.Generator) -> Patch:
    if rng.random() < augmentation.noise_probability:
        sigma = rng.uniform(*augmentation.noise_sigma)
        patch = patch + sigma * torch.randn(patch.shape, generator=noise, device=patch.device)
    if rng.random() < augmentation.blur_probability:
        sigmas = rng.uniform(*augmentation.blur_sigma_vox, 3 if augmentation.blur_per_axis else 1)
        patch = blur(patch, np.broadcast_to(sigmas, 3))
    if rng.random() < augmentation.brightness_probability:
        patch = patch * draw_factor(augmentation.brightness_factor, rng)
    if rng.random() < augmentation.contrast_probability:
        patch = change_contrast(patch, draw_factor(augmentation.contrast_factor, rng))
    if rng.random() < augmentation.low_resolution_probability:
        patch = lower_resolution(patch, rng.uniform(*augmentation.low_resolution_zoom))
    return patch


def blur(patch: Patch, sigma_vox: Float64[np.ndarray, " 3"]) -> Patch:
    """Gaussian blur along each axis, with mirrored edges and nnU-Net's kernel widths."""
    blurred = patch[None, None]
    for axis, sigma in enumerate(sigma_vox):
        # one axis after another, since a Gaussian is separable
        radius = min(_kernel_radius(float(sigma)), patch.shape[axis] - 1)  # limit of mirrored padding
        steps = torch.arange(-radius, radius + 1, device=patch.device, dtype=patch.dtype)
        kernel = torch.exp(-0.5 * (steps / sigma) ** 2)
        padding = [0] * 6
        padding[2 * (2 - axis)] = padding[2 * (2 - axis) + 1] = radius
        shape = [1, 1, 1, 1, 1]
        shape[2 + axis] = -1
        padded = functional.pad(blurred, padding, mode="reflect")
        blurred = functional.conv3d(padded, (kernel / kernel.sum()).reshape(shape))
    return blurred[0, 0]


def _kernel_radius(sigma: float) -> int:
    """Half of the odd number nearest to 6 sigma + 0.5. Source: batchgeneratorsv2."""
    return max(round((6 * sigma - 0.5) / 2), 0)


def change_contrast(patch: Patch, factor: float) -> Patch:
    """Stretch intensities about their mean, clipped to their original range."""
    mean = patch.mean()
    return ((patch - mean) * factor + mean).clamp(patch.min(), patch.max())


def lower_resolution(patch: Patch, zoom: float) -> Patch:
    """Simulate a thick-sliced scan: downsample (nearest neighbour) and upsample (trilinear)."""
    x, y, z = (max(round(edge * zoom), 1) for edge in patch.shape)
    coarse = functional.interpolate(patch[None, None], (x, y, z), mode="nearest-exact")
    return functional.interpolate(coarse, patch.shape, mode="trilinear", align_corners=False)[0, 0]


def change_gamma(patch: Patch, gamma: float) -> Patch:
    """Raise intensities, scaled to [0, 1], to a power, keeping mean and standard deviation."""
    mean, std = patch.mean(), patch.std()
    low, span = patch.min(), (patch.max() - patch.min()).clamp_min(1e-7)
    powered = ((patch - low) / span).clamp_min(0).pow(gamma) * span + low
    return (powered - powered.mean()) / powered.std().clamp_min(1e-7) * std + mean


@dataclass(frozen=True, eq=False)
class Warp:
    """Mapping of a patch's voxels into the scan, about the patch's centre.

    Attributes:
        matrix: 3x3 matrix from offsets in the patch to offsets in the scan, in voxels.
        elastic_sigma_vox: Correlation length of the elastic deformation along each axis; zeros for none.
        elastic_magnitude_vox: Largest displacement along each axis.
    """

    matrix: Float64[np.ndarray, "3 3"]
    elastic_sigma_vox: tuple[float, float, float] = (0.0, 0.0, 0.0)
    elastic_magnitude_vox: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def is_identity(self) -> bool:
        """Whether the patch is an unchanged part of the scan."""
        return not any(self.elastic_magnitude_vox) and np.array_equal(self.matrix, np.eye(3))


def draw_warp(augmentation: Augmentation, size: Shape, rng: np.random.Generator) -> Warp:
    """Draw elastic deformation, rotation and scaling of a patch, applied in this order."""
    matrix = np.eye(3)
    if rng.random() < augmentation.rotation_probability:
        matrix = _rotation(np.deg2rad(rng.uniform(*augmentation.rotation_degrees, 3)))
    if rng.random() < augmentation.scale_probability:
        draws = 3 if rng.random() < augmentation.scale_per_axis_share else 1
        scales = [
            draw_factor(augmentation.scale, rng) if augmentation.scale_balanced else rng.uniform(*augmentation.scale)
            for _ in range(draws)
        ]
        matrix = np.reshape(scales, (draws, 1)) * matrix  # scales the scan's axes, after the rotation
    if rng.random() >= augmentation.elastic_probability:
        return Warp(matrix)
    scale = rng.uniform(*augmentation.elastic_scale)
    sigma = (scale * size[0], scale * size[1], scale * size[2])
    largest = rng.uniform(1 / 8, 1 / 2, 3)  # relative to sigma: more would fold the scan
    return Warp(matrix, sigma, (sigma[0] * largest[0], sigma[1] * largest[1], sigma[2] * largest[2]))


def cut_warped(
    case: CaseArrays, corner: Corner, size: Shape, warp: Warp, noise: torch.Generator
) -> tuple[Float[Tensor, "x y z"], Int[Tensor, "x y z"]]:
    """Sample a patch of scan and mask through a warp: trilinear, with the mask thresholded at 0.5; zeros outside.

    The brain mask (non-zero voxels) is thresholded in the same way, so that no edge voxel is partly background.

    Args:
        case: A case on any device; only the box that the patch needs is copied to the device of `noise`.
        corner: Lowest voxel of the patch before the warp.
        size: Size of the patch.
        warp: Mapping of the patch's voxels into the scan.
        noise: Generator of the elastic deformation; its device is that of the patch.
    """
    low, box = (corner, size) if warp.is_identity else _box_to_read(corner, size, warp, case.scan.shape)
    scan = cut_box(case.scan, low, box).to(noise.device, non_blocking=True)
    mask = cut_box(case.mask, low, box).to(noise.device, non_blocking=True)
    if warp.is_identity:
        return scan.float(), mask.long()
    inside = warped_points((corner[0] - low[0], corner[1] - low[1], corner[2] - low[2]), size, warp, noise)
    # sampled together, since the positions cost more than the values
    channels = [scan.float(), (scan != 0).float(), (mask > 0).float(), (mask == UNSURE).float()]
    values = _interpolate(torch.stack(channels), inside)
    target = (values[2] >= 0.5).long()
    # among lesion voxels, the majority decides whether they are visible
    return values[0] * (values[1] >= 0.5), target.masked_fill((target == 1) & (2 * values[3] > values[2]), UNSURE)


def _box_to_read(corner: Corner, size: Shape, warp: Warp, shape: torch.Size) -> tuple[Corner, Shape]:
    """Lowest voxel and size of a box that covers a warped patch, from the warp's parameters.

    Inspecting the warped points would make the processor wait for a GPU at every patch.
    """
    half = (np.array(size) - 1) / 2
    # twice the magnitude, since the mean of the displacements is subtracted
    farthest = half + 2 * np.array(warp.elastic_magnitude_vox)
    reach = np.abs(warp.matrix) @ farthest + 1e-3  # the points are float32
    # one voxel beyond the scan is enough: farther out, everything is 0
    low = np.maximum(np.floor(corner + half - reach), -1).astype(int)
    high = np.minimum(np.ceil(corner + half + reach), shape).astype(int)
    lengths = np.maximum(high - low + 1, 1)
    return (int(low[0]), int(low[1]), int(low[2])), (int(lengths[0]), int(lengths[1]), int(lengths[2]))


def warped_points(corner: Corner, size: Shape, warp: Warp, noise: torch.Generator) -> Float[Tensor, "3 x y z"]:
    """Position in the scan of each voxel of the patch, in voxels."""
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
    """Smooth random displacements: white noise, Gaussian-filtered in the frequency domain, scaled to a maximum.

    Their mean is subtracted, so that the patch stays in place.
    """
    device = noise.device
    white = torch.rand((3, *size), generator=noise, device=device) * 2 - 1
    spectrum = torch.fft.rfftn(white, dim=(1, 2, 3))
    for axis, (length, sigma) in enumerate(zip(size, warp.elastic_sigma_vox, strict=True)):
        frequency = torch.fft.rfftfreq if axis == 2 else torch.fft.fftfreq
        # the Fourier transform of a Gaussian of this sigma
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
