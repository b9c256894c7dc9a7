"""Noise, blur, brightness, contrast, resolution and gamma of a patch."""

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.nn import functional

from mapping_stroke.training.augment import Augmentation, draw_factor

Patch = Float[Tensor, "x y z"]


def change_intensity(
    patch: Patch, augmentation: Augmentation, rng: np.random.Generator, noise: torch.Generator
) -> Patch:
    """Draw and apply the changes of intensity, in nnU-Net's order; voxels outside the brain (0) stay 0."""
    brain = patch != 0
    changed = _degrade(patch, augmentation, rng, noise)
    if rng.random() < augmentation.inverted_gamma_probability:
        changed = -change_gamma(-changed, draw_factor(augmentation.gamma, rng))
    if rng.random() < augmentation.shift_probability:
        changed = changed + rng.normal(0, augmentation.shift_sigma)
    if rng.random() < augmentation.gamma_probability:
        changed = change_gamma(changed, draw_factor(augmentation.gamma, rng))
    return changed * brain


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
    """Gaussian blur along each axis, edges mirrored, with kernels as wide as nnU-Net's."""
    blurred = patch[None, None]
    for axis, sigma in enumerate(sigma_vox):
        radius = min(_kernel_radius(float(sigma)), patch.shape[axis] - 1)  # no more can be mirrored
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
    """Stretch intensities about their mean, kept within their own range."""
    mean = patch.mean()
    return ((patch - mean) * factor + mean).clamp(patch.min(), patch.max())


def lower_resolution(patch: Patch, zoom: float) -> Patch:
    """Sample the patch on a coarser grid (nearest) and back (trilinear), as a thick-sliced scan would look."""
    x, y, z = (max(round(edge * zoom), 1) for edge in patch.shape)
    coarse = functional.interpolate(patch[None, None], (x, y, z), mode="nearest-exact")
    return functional.interpolate(coarse, patch.shape, mode="trilinear", align_corners=False)[0, 0]


def change_gamma(patch: Patch, gamma: float) -> Patch:
    """Raise intensities, scaled to [0, 1], to a power; mean and standard deviation are kept."""
    mean, std = patch.mean(), patch.std()
    low, span = patch.min(), (patch.max() - patch.min()).clamp_min(1e-7)
    powered = ((patch - low) / span).clamp_min(0).pow(gamma) * span + low
    return (powered - powered.mean()) / powered.std().clamp_min(1e-7) * std + mean
