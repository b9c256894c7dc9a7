"""What the scanner adds: contrast, resolution, bias field, noise."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from mapping_stroke.dataset.simulate.anatomy import CSF_LEVEL, GREY_LEVEL, WHITE_LEVEL
from mapping_stroke.dataset.simulate.volume import Region, Volume, blur, smooth_field, stretch, white_noise

WHITE_STORED = 160.0
"""Stored intensity of white matter without bias and noise."""
LARGEST_STORED = 255


@dataclass(frozen=True)
class Scanner:
    """What one scan's protocol does to intensities; white matter is 1.

    Attributes:
        csf: Intensity of CSF.
        grey: Intensity of grey matter.
        bias: Standard deviation of the logarithm of the bias field.
        noise: Standard deviation of the noise.
        blur_mm: Standard deviation of the point spread.
    """

    csf: float
    grey: float
    bias: float
    noise: float
    blur_mm: float


def draw_scanner(rng: np.random.Generator) -> Scanner:
    """Draw the protocol of one site."""
    csf = float(rng.uniform(0.16, 0.32))
    return Scanner(
        csf=csf,
        grey=float(rng.uniform(0.58, 0.74)),
        bias=float(rng.uniform(0.02, 0.09)),
        noise=float(rng.uniform(0.01, 0.035)),
        blur_mm=float(rng.uniform(0.2, 0.6)),
    )


def vary_scanner(scanner: Scanner, rng: np.random.Generator) -> Scanner:
    """The same protocol on another day and another person."""
    return Scanner(
        csf=scanner.csf + float(rng.uniform(-0.03, 0.03)),
        grey=scanner.grey + float(rng.uniform(-0.03, 0.03)),
        bias=scanner.bias * float(rng.uniform(0.7, 1.4)),
        noise=scanner.noise * float(rng.uniform(0.7, 1.4)),
        blur_mm=scanner.blur_mm,
    )


def acquire(
    t1: Volume, inside: Region, spacing_mm: float, scanner: Scanner, rng: np.random.Generator
) -> UInt8[Tensor, "x y z"]:
    """Scan a brain.

    Args:
        t1: Intensities: CSF 0.25, grey 0.65, white 1.
        inside: The brain; everything else becomes 0.
        spacing_mm: Edge of a voxel.
        scanner: The protocol.
        rng: Source of bias field and noise.

    Returns:
        Intensities as they are stored: 0 outside, 1 to 255 inside.
    """
    knots = (0.0, CSF_LEVEL, GREY_LEVEL, WHITE_LEVEL)
    scan = blur(stretch(t1, knots, (0.0, scanner.csf, scanner.grey, 1.0)), scanner.blur_mm / spacing_mm)
    bias = smooth_field(t1.shape, 55.0 / spacing_mm, rng, t1.device)
    scan = scan * torch.exp(scanner.bias * bias)
    noise = white_noise(t1.shape, rng, t1.device)
    scan = (scan + scanner.noise * noise).abs()
    return (scan * WHITE_STORED).round().clamp(1, LARGEST_STORED).to(torch.uint8) * inside
