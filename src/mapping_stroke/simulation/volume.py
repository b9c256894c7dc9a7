"""Volume operations for the simulation, in torch on any device, and resampling with affines."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from mapping_stroke.dataset.grid import Grid, is_empty, reached
from mapping_stroke.images.nifti import Affine

Volume = Float32[Tensor, "x y z"]
Region = Bool[Tensor, "x y z"]
Displacement = Float32[Tensor, "3 x y z"]  # position in the source minus own position, in voxels

SPLINE_STD = float(np.sqrt(151 / 315))
"""Standard deviation, along one axis, of a cubic B-spline with independent standard normal knots."""


def smooth_field(shape: Sequence[int], knots_vox: float, rng: np.random.Generator, device: torch.device) -> Volume:
    """Draw a smooth random field of mean 0 and standard deviation 1.

    Args:
        shape: Voxels along each axis.
        knots_vox: Knot spacing of the cubic spline; features are about twice as wide.
        rng: Source of the knots.
        device: Device of the field.

    Returns:
        The field, twice differentiable between voxels.
    """
    # a random value at each knot, interpolated by cubic B-splines
    bases = [_spline_basis(length, knots_vox) for length in shape]
    knots = rng.standard_normal([basis.shape[1] for basis in bases], dtype=np.float32)
    field = torch.from_numpy(knots / np.float32(SPLINE_STD**3)).to(device)
    return along_every_axis(field, [basis.to(device) for basis in bases])


def white_noise(shape: Sequence[int], rng: np.random.Generator, device: torch.device) -> Volume:
    """Draw independent standard normal noise for every voxel, on the device itself."""
    generator = torch.Generator(device).manual_seed(int(rng.integers(2**62)))
    return torch.randn(tuple(shape), generator=generator, device=device)


def blur(volume: Volume, sigma_vox: float) -> Volume:
    """Smooth by a Gaussian, with 0 outside the volume. A sigma of 0 changes nothing."""
    if sigma_vox <= 0:
        return volume
    return along_every_axis(volume, [gaussian_band(length, sigma_vox).to(volume.device) for length in volume.shape])


def blur_region(region: Region, sigma_vox: float) -> Volume:
    """`blur` of a region, computed only near it, with 0 beyond four standard deviations."""
    result = torch.zeros(region.shape, device=region.device)
    box = region_box(region, math.ceil(4 * sigma_vox))
    if box[0].stop > 0:
        result[box] = blur(region[box].float(), sigma_vox)
    return result


def gradient(volume: Volume) -> Displacement:
    """Gradient along each axis per voxel, by central differences."""
    x, y, z = torch.gradient(volume)
    return torch.stack([x, y, z])


def enlarge(coarse: Float32[Tensor, "a b c"], shape: Sequence[int], stride: int) -> Volume:
    """Upsample `volume[::stride, ::stride, ::stride]` back to `shape` by linear interpolation."""
    bases = [
        _linear_basis(length, stride, known).to(coarse.device)
        for length, known in zip(shape, coarse.shape, strict=True)
    ]
    return along_every_axis(coarse, bases)


def warp(
    volumes: Float32[Tensor, "c a b d"], displacement: Displacement, corner: Sequence[int] = (0, 0, 0)
) -> Float32[Tensor, "c x y z"]:
    """Sample volumes at every voxel's position plus `displacement`, trilinearly, with 0 beyond the border.

    Args:
        volumes: Volumes to sample.
        displacement: Displacement in voxels, for every voxel of the result.
        corner: Position of the result's first voxel in `volumes`.
    """
    # own positions as one broadcastable line along each axis, which saves a full grid
    here = [
        torch.arange(low, low + length, device=volumes.device, dtype=torch.float32).view(
            [-1 if a == axis else 1 for a in range(3)]
        )
        for axis, (low, length) in enumerate(zip(corner, displacement.shape[1:], strict=True))
    ]
    return look_up(volumes, [place + shift for place, shift in zip(here, displacement, strict=True)])


def look_up(volumes: Float32[Tensor, "c a b d"], places: Sequence[Volume]) -> Float32[Tensor, "c x y z"]:
    """Sample volumes at positions given by three coordinates in voxels, trilinearly, with 0 beyond the border."""
    scaled = [place * (2 / max(length - 1, 1)) - 1 for place, length in zip(places, volumes.shape[1:], strict=True)]
    grid = torch.stack(scaled[::-1], dim=-1)[None]  # grid_sample wants the last axis first
    return torch.nn.functional.grid_sample(volumes[None], grid, mode="bilinear", align_corners=True)[0]


def top_voxels(score: Volume, allowed: Region, count: int) -> Region:
    """The `count` allowed voxels with the highest score (all if there are fewer). Ties are decided by order."""
    chosen = torch.zeros_like(allowed)
    where = allowed.flatten().nonzero()[:, 0]
    if count >= where.numel():
        return allowed.clone()
    best = torch.topk(score.flatten()[where], count).indices
    chosen.view(-1)[where[best]] = True
    return chosen


def region_box(region: Region, margin_vox: int = 0) -> tuple[slice, slice, slice]:
    """Bounding box of a region with a margin, clipped to the volume, or empty slices for an empty region."""
    columns = region.any(dim=2)  # shared by two axes, since reading the volume is the cost
    hits = (columns.any(dim=1), columns.any(dim=0), region.any(dim=0).any(dim=0))
    x, y, z = (_extent(hit.cpu().numpy(), margin_vox) for hit in hits)
    return x, y, z


def erode(region: Region, *, diagonal: bool) -> Region:
    """Erode a region by face neighbours (or, `diagonal`, by all 26). The volume's border counts as outside."""
    result = region.clone()
    for axis in range(3):
        base = (result if diagonal else region).clone()
        length = base.shape[axis]
        shrunk = torch.zeros_like(base)
        inner = base.narrow(axis, 1, length - 2) & base.narrow(axis, 0, length - 2) & base.narrow(axis, 2, length - 2)
        shrunk.narrow(axis, 1, length - 2).copy_(inner)
        result = result & shrunk
    return result


def depth_in(region: Region, limit_vox: int) -> Volume:
    """Depth of each voxel inside a region: 0 outside, 1 at the border, at most `limit_vox`."""
    depth = region.float()
    inner = region
    for step in range(1, limit_vox):
        # alternating neighbourhoods approximate a ball
        inner = erode(inner, diagonal=step % 2 == 0)
        depth += inner
    return depth


def stretch(volume: Volume, knots: Sequence[float], targets: Sequence[float]) -> Volume:
    """Map intensities piecewise linearly through (knot, target), constant below and extrapolated above."""
    result = torch.full_like(volume, targets[0])
    last = len(knots) - 2
    for index in range(len(knots) - 1):
        width = knots[index + 1] - knots[index]
        part = (volume - knots[index]).clamp(0, None if index == last else width)
        result += part * ((targets[index + 1] - targets[index]) / width)
    return result


def _extent(hit: Bool[np.ndarray, " n"], margin_vox: int) -> slice:
    where = np.flatnonzero(hit)
    if where.size == 0:
        return slice(0, 0)
    return slice(max(int(where[0]) - margin_vox, 0), min(int(where[-1]) + 1 + margin_vox, len(hit)))


def along_every_axis(volume: Float32[Tensor, "a b c"], bases: Sequence[Tensor]) -> Volume:
    """Multiply by one matrix (new length x old length) along each axis."""
    volume = torch.einsum("xyz,ax->ayz", volume, bases[0])
    volume = torch.einsum("xyz,by->xbz", volume, bases[1])
    return torch.einsum("xyz,cz->xyc", volume, bases[2]).contiguous()


def gaussian_band(length: int, sigma_vox: float) -> Float32[Tensor, "length length"]:
    """Matrix of Gaussian smoothing along an axis of this length."""
    index = torch.arange(length, dtype=torch.float64)
    reach = torch.arange(-length, length + 1, dtype=torch.float64)
    # normalised by the whole kernel, not by the part inside: 0 is assumed beyond the border
    total = torch.exp(-0.5 * (reach / sigma_vox) ** 2).sum()
    return (torch.exp(-0.5 * ((index[:, None] - index) / sigma_vox) ** 2) / total).float()


def _spline_basis(length: int, knots_vox: float) -> Float32[Tensor, "length knots"]:
    place = torch.arange(length, dtype=torch.float64) / knots_vox
    knot = torch.arange(int(place[-1]) + 4, dtype=torch.float64) - 1
    distance = (place[:, None] - knot).abs()
    # the two pieces of the cubic B-spline
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = (2 - distance).clamp(min=0) ** 3 / 6
    return torch.where(distance < 1, near, far).float()


def _linear_basis(length: int, stride: int, known: int) -> Float32[Tensor, "length known"]:
    place = (torch.arange(length, dtype=torch.float32) / stride).clamp(max=known - 1)
    return (1 - (place[:, None] - torch.arange(known)).abs()).clamp(min=0)


def resample(volume: Float32[Tensor, "a b c"], affine: Affine, grid: Grid) -> Volume:
    """Resample a volume to a grid by linear interpolation, with 0 outside the volume.

    Args:
        volume: Intensities, or 0 and 1 for a mask (then compare the result with 0.5).
        affine: Voxel index of `volume` to RAS millimetres; any orientation, spacing and rotation.
        grid: Target grid.

    Returns:
        The volume on `grid`, on the same device.
    """
    result = torch.zeros(grid.shape, device=volume.device)
    box = reached(volume.shape, affine, grid)
    if is_empty(box):
        return result
    part = grid.crop(box)
    to_source = np.linalg.inv(affine)
    x, y, z = part.axes_mm(volume.device)
    places = [float(row[0]) * x + float(row[1]) * y + float(row[2]) * z + float(row[3]) for row in to_source[:3]]
    result[box] = look_up(volume[None], places)[0]
    return result


def refine(volume: Float32[Tensor, "a b c"], source: Grid, target: Grid) -> Volume:
    """Resample a volume between axis-aligned grids by fast linear interpolation. Its border is repeated outside."""
    bases = []
    for axis in range(3):
        place = (target.axes_mm(volume.device)[axis].flatten() - source.origin_mm[axis]) / source.spacing_mm
        knots = torch.arange(source.shape[axis], device=volume.device)
        bases.append((1 - (place.clamp(0, source.shape[axis] - 1)[:, None] - knots).abs()).clamp(min=0))
    return along_every_axis(volume, bases)


def average(volume: Float32[Tensor, "a b c"], affine: Affine, grid: Grid) -> Volume:
    """Resample by means over the voxels of a coarser grid (partial volume), as in `prepare_scan` (see `resample`).

    Args:
        volume: Intensities, or fractions.
        affine: Voxel index of `volume` to RAS millimetres.
        grid: Target grid.
    """
    parts = max(round(grid.spacing_mm / float(np.linalg.norm(affine[:3, :3], axis=0).min())), 1)
    if parts == 1:
        return resample(volume, affine, grid)
    result = torch.zeros(grid.shape, device=volume.device)
    box = reached(volume.shape, affine, grid)
    if is_empty(box):
        return result
    part, fine_mm = grid.crop(box), grid.spacing_mm / parts
    x, y, z = (length * parts for length in part.shape)
    # centre of the first fine voxel
    a, b, c = (origin - (grid.spacing_mm - fine_mm) / 2 for origin in part.origin_mm)
    fine = resample(volume, affine, Grid((x, y, z), fine_mm, (a, b, c)))
    result[box] = torch.nn.functional.avg_pool3d(fine[None, None], parts)[0, 0]
    return result
