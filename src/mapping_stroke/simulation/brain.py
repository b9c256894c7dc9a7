"""A healthy brain with its tissues, ventricles and depth, and its rendering with another contrast."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float32
from scipy import ndimage
from torch import Tensor

from mapping_stroke.dataset.grid import Box, Grid
from mapping_stroke.errors import ImageError
from mapping_stroke.lesions import FULLY_CONNECTED
from mapping_stroke.simulation.volume import Region, Volume, blur, enlarge, region_box, smooth_field, stretch

CSF_LEVEL, GREY_LEVEL, WHITE_LEVEL = 0.25, 0.65, 1.0
"""Tissue intensities within the simulation; the scanner's contrast is applied at the end."""

MARGIN_MM = 12.0
"""Margin around the brain for deformations."""
CENTRAL_DEPTH_MM, CENTRAL_HALF_WIDTH_MM = 25.0, 40.0
"""CSF at least this deep and this near the midline counts as ventricle or central cistern."""


VENTRICLE_STEP_MM, FAR_MM = 2.0, 60.0
"""Step and largest value of the distance to the ventricles."""
SMALLEST_VENTRICLE_MM3 = 600.0
"""Smallest volume of a component of CSF that counts as ventricle."""
NEAR_CSF_MM = 2.0
"""Standard deviation of the Gaussian neighbourhood of `near_csf`."""
AROUND_STEP_MM, CLOSING_MM = 4.0, 8.0
"""Step of distances outside the brain, and radius of the closing of its sulci."""
HEAD_ROOM_MM = ((16.0, 16.0, 48.0), (16.0, 32.0, 16.0))
"""Margin for a head beyond a brain's box: left, posterior, inferior; right, anterior, superior."""
FEWEST_PURE_VOX = 50
"""Fewest pure voxels of a tissue for estimating its intensity."""
SMALLEST_BRAIN_ML, LARGEST_BRAIN_ML = 700.0, 3000.0
MNI_CENTRE_MM, FARTHEST_CENTRE_MM = (0, -18, 9), 25.0
"""Centre of a brain in MNI space, and its largest offset along an axis."""


@dataclass(frozen=True, eq=False)
class Brain:
    """A healthy brain on a box of the cohort's grid.

    Attributes:
        t1: Intensities: CSF 0.25, grey 0.65, white 1, background 0.
        grey: Fraction of grey matter, in [0, 1].
        white: Fraction of white matter, in [0, 1].
        inside: The brain mask.
        ventricles: CSF of the ventricles and central cisterns.
        depth_mm: Approximate depth below the surface (within a few mm); 0 outside.
        ventricle_mm: Approximate distance to the nearest lateral or third ventricle; 0 inside.
        near_csf: Fraction of CSF in the neighbourhood, in [0, 1]; background counts as CSF.
        around_mm: Distance outside the brain's smoothed surface.
        around_grid: Coarse grid of `around_mm`, large enough for a whole head.
        box: Position of the arrays in the cohort's grid.
        grid: Grid of the box.
    """

    t1: Volume
    grey: Volume
    white: Volume
    inside: Region
    ventricles: Region
    depth_mm: Volume
    ventricle_mm: Volume
    near_csf: Volume
    around_mm: Float32[Tensor, "a b c"]
    around_grid: Grid
    box: Box
    grid: Grid

    @property
    def device(self) -> torch.device:
        """Device of the arrays."""
        return self.t1.device

    @property
    def csf(self) -> Volume:
        """Fraction of CSF, in [0, 1]."""
        return self.csf_in((slice(None), slice(None), slice(None)))

    def csf_in(self, box: Box) -> Volume:
        """Fraction of CSF in a part of the brain, in [0, 1]."""
        return (1 - self.grey[box] - self.white[box]).clamp(0, 1) * self.inside[box]

    def part(self, box: Box) -> "Brain":
        """The part of this brain in a box, sharing memory."""
        names = ("t1", "grey", "white", "inside", "ventricles", "depth_mm", "ventricle_mm", "near_csf")
        arrays = {name: getattr(self, name)[box] for name in names}
        return replace(self, box=_within(self.box, box), grid=self.grid.crop(box), **arrays)

    def vox(self, length_mm: float) -> float:
        """Convert a length to voxels of this brain."""
        return length_mm / self.grid.spacing_mm


def _within(outer: Box, inner: Box) -> Box:
    """A box given within another one."""
    x, y, z = (slice(side.start + a.start, side.start + a.stop) for side, a in zip(outer, inner, strict=True))
    return x, y, z


def build_brain(t1: Volume, tissues: Float32[Tensor, "2 x y z"] | None, grid: Grid) -> Brain:
    """Prepare a skull-stripped scan for simulation.

    Args:
        t1: Intensities on `grid`, in any unit; 0 outside the brain.
        tissues: Fractions of grey and white matter; None estimates them from the intensities.
        grid: The cohort's grid, in MNI space.

    Returns:
        The brain on its bounding box with a margin of `MARGIN_MM`.

    Raises:
        ImageError: The scan does not show a brain in MNI space, or three tissues.
    """
    inside = t1 > 0
    _require_mni_brain(inside, grid)
    box = region_box(inside, round(MARGIN_MM / grid.spacing_mm))
    t1, inside, grid = t1[box].contiguous(), inside[box].contiguous(), grid.crop(box)
    grey, white = guess_tissues(t1, inside) if tissues is None else (tissues[0][box], tissues[1][box])
    grey, white = (grey.clamp(0, 1) * inside).contiguous(), (white.clamp(0, 1) * inside).contiguous()
    csf = (1 - grey - white).clamp(0, 1) * inside
    depth_mm = _depth_mm(inside, grid)
    # cisterns at the surface are as dark as ventricles, so only deep and central CSF counts
    central = (depth_mm > CENTRAL_DEPTH_MM) & (grid.axes_mm(t1.device)[0].abs() < CENTRAL_HALF_WIDTH_MM)
    ventricles = central & (csf > 0.5)
    around_mm, around_grid = _around_mm(inside, grid)
    return Brain(
        t1=_on_one_scale(t1, csf, grey, white, central) * inside,
        grey=grey,
        white=white,
        inside=inside,
        ventricles=ventricles,
        depth_mm=depth_mm,
        ventricle_mm=_distance_mm(_surely_ventricles(ventricles, grid), grid, VENTRICLE_STEP_MM),
        near_csf=blur((1 - grey - white).clamp(0, 1), NEAR_CSF_MM / grid.spacing_mm),
        around_mm=around_mm,
        around_grid=around_grid,
        box=box,
        grid=grid,
    )


def _on_one_scale(t1: Volume, csf: Volume, grey: Volume, white: Volume, central: Region) -> Volume:
    pools = csf * central  # sulci hold little pure CSF
    levels = _tissue_levels(t1, pools if int((pools > 0.9).sum()) >= FEWEST_PURE_VOX else csf, grey, white)
    return stretch(t1, (0.0, *levels), (0.0, CSF_LEVEL, GREY_LEVEL, WHITE_LEVEL))


def guess_tissues(t1: Volume, inside: Region) -> tuple[Volume, Volume]:
    """Estimate the fractions of grey and white matter from intensities, by k-means with three clusters."""
    values = t1[inside]
    sample = values[:: max(values.numel() // 100_000, 1)].cpu().numpy()  # enough for three means
    means = np.percentile(sample, [8, 40, 85])
    for _ in range(30):  # more than enough to converge
        nearest = np.abs(sample[:, None] - means).argmin(axis=1)
        if len(np.unique(nearest)) < 3:
            raise ImageError("does not show three tissues, expected a T1-weighted scan")
        means = np.array([sample[nearest == tissue].mean() for tissue in range(3)])
    csf, grey, white = (float(mean) for mean in means)
    return (
        stretch(t1, (csf, grey, white), (0.0, 1.0, 0.0)).clamp(0, 1) * inside,
        stretch(t1, (csf, grey, white), (0.0, 0.0, 1.0)).clamp(0, 1) * inside,
    )


def _require_mni_brain(inside: Region, grid: Grid) -> None:
    volume_ml = int(inside.sum()) * grid.spacing_mm**3 / 1000
    if not SMALLEST_BRAIN_ML <= volume_ml <= LARGEST_BRAIN_ML:
        raise ImageError(
            f"holds {volume_ml:.0f} mL above 0 on the cohort's grid, expected {SMALLEST_BRAIN_ML:.0f} to "
            f"{LARGEST_BRAIN_ML:.0f}; give a skull-stripped scan in MNI152 space with background 0"
        )
    centre = [float((axis * inside).sum() / inside.sum()) for axis in grid.axes_mm(inside.device)]
    if max(abs(found - usual) for found, usual in zip(centre, MNI_CENTRE_MM, strict=True)) > FARTHEST_CENTRE_MM:
        place = ", ".join(f"{found:.0f}" for found in centre)
        raise ImageError(
            f"has its centre at ({place}) mm, expected about {MNI_CENTRE_MM}; register it to MNI152 space first"
        )


def _tissue_levels(t1: Volume, csf: Volume, grey: Volume, white: Volume) -> Sequence[float]:
    """Intensities of pure CSF (the darkest tenth, free of partial volume), grey and white matter, in rising order."""
    parts = ((csf, 0.1), (grey, 0.5), (white, 0.5))
    levels = []
    for fraction, quantile in parts:
        pure = t1[fraction > 0.9]
        if pure.numel() < FEWEST_PURE_VOX:
            raise ImageError("does not show three tissues, expected a T1-weighted scan")
        levels.append(float(np.quantile(pure[:: max(pure.numel() // 100_000, 1)].cpu().numpy(), quantile)))
    if not 0 < levels[0] < levels[1] < levels[2]:
        raise ImageError(
            f"shows CSF, grey and white matter at {levels[0]:.3g}, {levels[1]:.3g} and {levels[2]:.3g}, "
            "expected rising intensities as in a T1-weighted scan"
        )
    return levels


def _depth_mm(inside: Region, grid: Grid) -> Volume:
    stride = max(round(3 / grid.spacing_mm), 1)  # depth is smooth: 3 mm cells are enough
    coarse = ndimage.binary_fill_holes(inside[::stride, ::stride, ::stride].cpu().numpy())
    depth = ndimage.distance_transform_edt(np.pad(coarse, 1), sampling=grid.spacing_mm * stride)[1:-1, 1:-1, 1:-1]
    fine = enlarge(torch.from_numpy(depth.astype(np.float32)).to(inside.device), inside.shape, stride)
    return blur(fine, 1.0) * inside


def _surely_ventricles(ventricles: Region, grid: Grid) -> Region:
    """Exclude deep sulci and cisterns, which are as central as the ventricles, by MNI position and size."""
    x, y, z = grid.axes_mm(ventricles.device)
    x = x.abs()
    # boxes around the body, the atrium and the third ventricle, in MNI mm
    body = (x > 2) & (x < 24) & (y > -36) & (y < 38) & (z > -2) & (z < 32 - 0.6 * y.clamp(min=0))
    atrium = (x > 14) & (x < 36) & (y > -56) & (y <= -30) & (z > -6) & (z < 26)
    third = (x < 6) & (y > -28) & (y < 8) & (z > -8) & (z < 12)
    found = (ventricles & (body | atrium | third)).cpu().numpy()
    labels, count = ndimage.label(found, FULLY_CONNECTED)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    large = sizes * grid.spacing_mm**3 >= SMALLEST_VENTRICLE_MM3
    return torch.from_numpy(large[labels]).to(ventricles.device)


def _distance_mm(region: Region, grid: Grid, step_mm: float) -> Volume:
    """Distance to a region (0 inside), computed in steps of `step_mm`."""
    stride = max(round(step_mm / grid.spacing_mm), 1)
    coarse = region[::stride, ::stride, ::stride].cpu().numpy()
    if not coarse.any():
        return torch.full(grid.shape, FAR_MM, device=region.device)
    distance = ndimage.distance_transform_edt(~coarse, sampling=grid.spacing_mm * stride).clip(0, FAR_MM)
    return enlarge(torch.from_numpy(distance.astype(np.float32)).to(region.device), region.shape, stride)


def _around_mm(inside: Region, grid: Grid) -> tuple[Float32[Tensor, "a b c"], Grid]:
    """Distance outside the brain with its sulci closed, on a coarse grid with a margin for a head."""
    stride = max(round(AROUND_STEP_MM / grid.spacing_mm), 1)
    step_mm = stride * grid.spacing_mm
    before, after = ([round(length_mm / step_mm) for length_mm in room] for room in HEAD_ROOM_MM)
    coarse = np.pad(inside[::stride, ::stride, ::stride].cpu().numpy(), list(zip(before, after, strict=True)))
    outside = ndimage.distance_transform_edt(~coarse, sampling=step_mm)
    # closing by distances: dilation by `CLOSING_MM`, then erosion by it
    closed = ndimage.distance_transform_edt(outside < CLOSING_MM, sampling=step_mm) > CLOSING_MM
    distance = ndimage.distance_transform_edt(~closed, sampling=step_mm)
    distance -= ndimage.distance_transform_edt(closed, sampling=step_mm).clip(0, step_mm)  # a smooth surface at 0
    a, b, c = (origin - room * step_mm for origin, room in zip(grid.origin_mm, before, strict=True))
    x, y, z = coarse.shape
    smooth = blur(torch.from_numpy(distance.astype(np.float32)), 0.7)
    return smooth.to(inside.device), Grid((x, y, z), step_mm, (a, b, c))


RENDERED = 0.15
"""Share of the cases with a rendered brain."""


@dataclass(frozen=True)
class Rendering:
    """Rendering of a brain from its tissue maps, with regional changes of contrast (CSF 0.25, grey 0.65, white 1).

    Attributes:
        kept: Share of the scan's own intensities that is kept, for its texture.
        cortex: Intensity change of cortical grey matter.
        deep_grey: Intensity change of deep grey matter.
        cerebellum: Relative intensity change of the cerebellum and everything below it.
        texture: Standard deviation of the texture of grey and white matter.
    """

    kept: float
    cortex: float
    deep_grey: float
    cerebellum: float
    texture: float


def draw_rendering(rng: np.random.Generator) -> Rendering | None:
    """Draw a rendering, or None for most cases, which keep the intensities of their scan."""
    if rng.random() >= RENDERED:
        return None
    return Rendering(
        kept=float(rng.uniform(0.0, 0.4)),
        cortex=float(rng.uniform(-0.12, 0.15)),
        deep_grey=float(rng.uniform(-0.05, 0.28)),
        cerebellum=float(rng.uniform(-0.15, 0.08)),
        texture=float(rng.uniform(0.0, 0.05)),
    )


def render(brain: Brain, rendering: Rendering | None, rng: np.random.Generator) -> Brain:
    """Render a brain from its tissue maps. Without a rendering, return `brain` itself.

    The order CSF, grey, white is kept, and so is the intensity of CSF.

    Args:
        brain: The brain.
        rendering: The contrast; None changes nothing.
        rng: Source of the texture.
    """
    if rendering is None:
        return brain
    # cortex and deep grey matter differ by depth, with a soft transition at 24 mm
    deep = torch.sigmoid((brain.depth_mm - 24) / 4)
    grey = (GREY_LEVEL - CSF_LEVEL + rendering.cortex) + (rendering.deep_grey - rendering.cortex) * deep
    made = CSF_LEVEL + brain.grey * grey + brain.white * (WHITE_LEVEL - CSF_LEVEL)
    _, y, z = brain.grid.axes_mm(brain.device)
    # behind the brain stem and below the slope of the tentorium
    below = torch.sigmoid((-14 + 0.35 * (y + 40) - z) / 4) * torch.sigmoid((-30 - y) / 4)
    texture = smooth_field(brain.grid.shape, max(brain.vox(3.0), 1.0), rng, brain.device)
    made = made * (1 + rendering.cerebellum * below) + rendering.texture * texture * (brain.grey + brain.white)
    t1 = made + rendering.kept * (brain.t1 - made)
    return replace(brain, t1=t1.clamp(min=0.05) * brain.inside)
