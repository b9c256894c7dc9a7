"""Image formation: contrast, point spread function, bias field and noise."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from mapping_stroke.simulation.brain import CSF_LEVEL, GREY_LEVEL, WHITE_LEVEL
from mapping_stroke.simulation.volume import (
    Volume,
    along_every_axis,
    gaussian_band,
    smooth_field,
    stretch,
    white_noise,
)

WHITE_STORED = 160.0
"""Stored intensity of white matter without bias field and noise."""
LARGEST_STORED = 255


@dataclass(frozen=True)
class Scanner:
    """Image formation of one scan, with white matter at 1.

    Attributes:
        csf: Intensity of CSF.
        grey: Intensity of grey matter.
        bias: Standard deviation of the logarithm of the bias field.
        noise: Standard deviation of the noise for voxels of 1 mm; larger voxels have less.
        blur_mm: Standard deviation of the point spread function.
        gamma: Exponent of the intensities.
        bias_knots_mm: Knot spacing of the bias field.
        rician: Whether the noise is Rician (magnitude of two channels); otherwise Gaussian.
        slice_axis: Slice-encoding axis.
        slice_mm: Slice thickness; no effect up to the voxel size.
        ringing: Strength of Gibbs ringing along one axis, in [0, 1].
        ringing_axis: Axis of the ringing.
        plane_mm: In-plane voxel size; no effect up to the voxel size of the volume.
        ceiling: Upper limit of intensities; near 1 it flattens white matter, as in FreeSurfer's output.
        fading: Share of the signal lost at the inferior end of the brain, far from the coils.
        fading_mm: Height above the volume's lowest voxel at which half of that is lost.
    """

    csf: float
    grey: float
    bias: float
    noise: float
    blur_mm: float
    gamma: float = 1.0
    bias_knots_mm: float = 55.0
    rician: bool = False
    slice_axis: int = 2
    slice_mm: float = 0.0
    ringing: float = 0.0
    ringing_axis: int = 1
    plane_mm: float = 0.0
    ceiling: float | None = None
    fading: float = 0.0
    fading_mm: float = 40.0


@dataclass(frozen=True)
class Protocol:
    """A kind of T1w scan, as ranges for drawing a scanner.

    Attributes:
        share: Share of the scans.
        csf: Intensity of CSF; white matter is 1.
        grey: Intensity of grey matter.
        least_step: Smallest contrast between grey matter and CSF.
        gamma: Standard deviation of the logarithm of the exponent.
        ceiling: Upper limit of intensities; None for no limit.
        bias: Largest bias field; programs that flatten contrast have corrected most of it.
    """

    share: float
    csf: tuple[float, float]
    grey: tuple[float, float]
    least_step: float = 0.25
    gamma: float = 0.14
    ceiling: tuple[float, float] | None = None
    bias: float = 0.25


PROTOCOLS = (
    Protocol(0.70, (0.05, 0.38), (0.54, 0.80)),  # MPRAGE, SPGR and the like
    Protocol(0.08, (0.12, 0.36), (0.76, 0.86), gamma=0.08),  # hardly any grey-white contrast
    Protocol(0.08, (0.15, 0.36), (0.62, 0.84), ceiling=(0.97, 1.03), gamma=0.08, bias=0.06),  # flattened by FreeSurfer
    Protocol(0.07, (0.0, 0.04), (0.50, 0.66), gamma=0.08, bias=0.08),  # MP2RAGE, CSF black
    Protocol(0.07, (0.08, 0.32), (0.54, 0.78), ceiling=(1.04, 1.2), gamma=0.2),  # clipped, or with another exponent
)
"""All have the order of a T1w scan: CSF, grey matter, white matter."""


def draw_scanner(rng: np.random.Generator) -> Scanner:
    """Draw the protocol of one site of a cohort: a good T1w scan of about 1 mm."""
    csf = float(rng.uniform(0.16, 0.32))
    return Scanner(
        csf=csf,
        grey=float(rng.uniform(0.58, 0.74)),
        bias=float(rng.uniform(0.02, 0.09)),
        noise=float(rng.uniform(0.01, 0.035)),
        blur_mm=float(rng.uniform(0.2, 0.6)),
    )


def draw_any_scanner(rng: np.random.Generator, protocols: Sequence[Protocol] = PROTOCOLS) -> Scanner:
    """Draw a scanner from the whole range of protocols, or from some of them. Most are good, some poor."""
    shares = np.array([protocol.share for protocol in protocols])
    protocol = protocols[int(rng.choice(len(protocols), p=shares / shares.sum()))]
    csf = float(rng.uniform(*protocol.csf))
    thick, coarse, faded = rng.random(3) < (0.14, 0.10, 0.22)
    return Scanner(
        csf=csf,
        grey=float(rng.uniform(max(protocol.grey[0], csf + protocol.least_step), protocol.grey[1])),
        bias=float(protocol.bias * rng.random() ** 2),
        noise=float(0.1 * rng.random() ** 2),
        blur_mm=float(rng.uniform(0.0, 0.7) if rng.random() < 0.85 else rng.uniform(0.7, 1.5)),
        gamma=float(np.exp(rng.normal(0, protocol.gamma))),
        bias_knots_mm=float(rng.uniform(40, 110)),
        rician=bool(rng.random() < 0.5),
        slice_axis=int(rng.integers(3)),
        slice_mm=float(rng.uniform(2.0, 5.5)) if thick else 2.0 if coarse else 0.0,
        ringing=float(rng.uniform(0.3, 1.0)) if rng.random() < 0.08 else 0.0,
        ringing_axis=int(rng.integers(3)),
        plane_mm=2.0 if coarse else 0.0,
        ceiling=None if protocol.ceiling is None else float(rng.uniform(*protocol.ceiling)),
        fading=float(rng.uniform(0.1, 0.55)) if faded else 0.0,
        fading_mm=float(rng.uniform(15, 60)),
    )


def vary_scanner(scanner: Scanner, rng: np.random.Generator) -> Scanner:
    """The same protocol for another day and another person."""
    return replace(
        scanner,
        csf=scanner.csf + float(rng.uniform(-0.03, 0.03)),
        grey=scanner.grey + float(rng.uniform(-0.03, 0.03)),
        bias=scanner.bias * float(rng.uniform(0.7, 1.4)),
        noise=scanner.noise * float(rng.uniform(0.7, 1.4)),
    )


def acquire(t1: Volume, spacing_mm: float, scanner: Scanner, rng: np.random.Generator) -> Volume:
    """Simulate the acquisition of a head.

    Args:
        t1: Intensities: CSF 0.25, grey 0.65, white 1; air 0.
        spacing_mm: Edge of a voxel.
        scanner: The protocol.
        rng: Source of bias field and noise.

    Returns:
        Intensities, 0 or more, with white matter about 1 and noise in air.
    """
    scan = _resolve(contrasted(t1, scanner), spacing_mm, scanner)
    bias = smooth_field(t1.shape, scanner.bias_knots_mm / spacing_mm, rng, t1.device)
    scan = scan * torch.exp(scanner.bias * bias)
    if scanner.fading:
        height_mm = spacing_mm * torch.arange(t1.shape[2], dtype=torch.float32, device=t1.device)
        scan = scan * (1 - scanner.fading * torch.sigmoid((scanner.fading_mm - height_mm) / (0.3 * scanner.fading_mm)))
    strength = noise_std(scanner, spacing_mm)
    # Rician: the magnitude of two noisy channels, of which one has no signal
    noisy = scan + strength * white_noise(t1.shape, rng, t1.device)
    noisy = torch.hypot(noisy, strength * white_noise(t1.shape, rng, t1.device)) if scanner.rician else noisy.abs()
    return noisy if scanner.ceiling is None else noisy.clamp(max=scanner.ceiling)


def contrasted(t1: Volume, scanner: Scanner) -> Volume:
    """Apply a scanner's contrast to the intensities of the simulation, before blur, bias field and noise."""
    scan = stretch(t1, (0.0, CSF_LEVEL, GREY_LEVEL, WHITE_LEVEL), (0.0, scanner.csf, scanner.grey, 1.0))
    return scan if scanner.gamma == 1 else scan.clamp(min=1e-4) ** scanner.gamma


def noise_std(scanner: Scanner, spacing_mm: float) -> float:
    """Standard deviation of the noise for this voxel size, relative to white matter."""
    return scanner.noise / spacing_mm


def store(scan: Volume, coverage: Volume) -> UInt8[Tensor, "x y z"]:
    """Quantise intensities as a cohort stores them: 1 to 255 in voxels covered by more than half, 0 elsewhere."""
    return (scan * WHITE_STORED).round().clamp(1, LARGEST_STORED).to(torch.uint8) * (coverage > 0.5)


def _resolve(scan: Volume, spacing_mm: float, scanner: Scanner) -> Volume:
    """Apply point spread function, thick slices and Gibbs ringing, as one matrix along each axis."""
    bases = []
    # each step is linear along one axis, so the steps combine into one matrix
    for axis, length in enumerate(scan.shape):
        matrix = gaussian_band(length, scanner.blur_mm / spacing_mm) if scanner.blur_mm > 0.1 * spacing_mm else None
        edge_mm = scanner.slice_mm if axis == scanner.slice_axis else scanner.plane_mm
        if edge_mm > 1.2 * spacing_mm:
            matrix = _slices(length, edge_mm / spacing_mm)
        if axis == scanner.ringing_axis and scanner.ringing > 0:
            sharp = _low_pass(length, 1 - 0.5 * scanner.ringing)
            matrix = sharp if matrix is None else sharp @ matrix
        bases.append(matrix)
    if all(matrix is None for matrix in bases):
        return scan
    whole = [torch.eye(length) if m is None else m for length, m in zip(scan.shape, bases, strict=True)]
    return along_every_axis(scan, [matrix.to(scan.device) for matrix in whole]).clamp(min=0)


def _slices(length: int, slice_vox: float) -> Float32[Tensor, "length length"]:
    """Average into slices of this thickness, then interpolate back to the voxels linearly."""
    count = max(round(length / slice_vox), 2)
    centres = (torch.arange(count) + 0.5) * (length / count) - 0.5
    index = torch.arange(length)
    half = 0.5 * length / count
    # overlap of each voxel with each slice
    into = (half + 0.5 - (centres[:, None] - index).abs()).clamp(0, 1)
    into = into / into.sum(dim=1, keepdim=True)
    place = ((index + 0.5) * count / length - 0.5).clamp(0, count - 1)
    # linear interpolation between the centres of slices
    back = (1 - (place[:, None] - torch.arange(count)).abs()).clamp(min=0)
    return back @ into


def _low_pass(length: int, kept: float) -> Float32[Tensor, "length length"]:
    """Ideal low-pass filter that keeps this share of the frequencies along an axis."""
    # filter the unit vectors: the result is the matrix of the filter
    spectrum: Tensor = torch.fft.rfft(torch.eye(length), dim=0)
    spectrum[max(round(kept * len(spectrum)), 2) :] = 0
    sharp: Tensor = torch.fft.irfft(spectrum, n=length, dim=0)
    return sharp
