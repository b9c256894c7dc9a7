"""Individual anatomy: ageing and deformation of a brain."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from mapping_stroke.dataset.grid import Grid, coarser
from mapping_stroke.simulation.brain import CSF_LEVEL, GREY_LEVEL, MNI_CENTRE_MM, Brain
from mapping_stroke.simulation.volume import (
    Displacement,
    Region,
    Volume,
    blur,
    blur_region,
    gradient,
    refine,
    region_box,
    smooth_field,
    white_noise,
)

FOCI = (
    ("sylvian fissure", (44.0, -6.0, 4.0)),
    ("temporal pole", (38.0, 12.0, -32.0)),
    ("vertex", (22.0, -34.0, 60.0)),
    ("frontal convexity", (28.0, 42.0, 36.0)),
    ("parietal convexity", (40.0, -56.0, 44.0)),
    ("occipital pole", (18.0, -92.0, 6.0)),
    ("cisterna magna", (4.0, -72.0, -48.0)),
    ("cerebellum", (30.0, -66.0, -38.0)),
    ("insula", (38.0, 4.0, -2.0)),
)
"""Sites where CSF spaces are often wide in old people, right hemisphere, MNI."""
CLOSED, OPENED = 0.5, 0.42
"""A voxel becomes CSF if `near_csf` exceeds the first value minus the second times the widening."""
LARGEST_REACH_MM = 8.0
"""Largest loss of periventricular tissue, in addition to the deformation that widens ventricles."""
LOWEST_OPENED = 0.14
"""Lower bound of that threshold: 2 mm into an even surface."""
RIBBON = 0.25
"""Share of that threshold above which voxels become cortex, so that wide sulci stay lined with it."""


@dataclass(frozen=True)
class Ageing:
    """Effects of age on a brain.

    Attributes:
        folds: Factor on the CSF of the sulci; 1 changes nothing.
        atrophy: Widening of the sulci, in [0, 1].
        foci: Number of sites of focal widening.
        ventricles_mm: Loss of periventricular tissue.
        asymmetry: Relative excess of that loss on the right (negative: on the left).
        caps_mm: Thickness of hypointense caps and bands around the ventricles.
        confluent: Extent of confluent white matter hypointensities, in [0, 1].
        punctate: Frequency of punctate white matter hypointensities, in [0, 1].
        pale_level: Intensity of hypointense white matter; grey is 0.65, white 1.
        spaces: Frequency of enlarged perivascular spaces, in [0, 1].
        deep_grey: Intensity change of deep grey matter (iron brightens it).
    """

    folds: float
    atrophy: float
    foci: int
    ventricles_mm: float
    asymmetry: float
    caps_mm: float
    confluent: float
    punctate: float
    pale_level: float
    spaces: float
    deep_grey: float


def draw_ageing(age: float, rng: np.random.Generator) -> Ageing:
    """Draw the effects of age: none or slight at 0 (young), often severe at 1 (old)."""

    def some(largest: float, power: float = 1.5) -> float:
        return float(age * largest * rng.random() ** power)

    return Ageing(
        folds=float(0.7 + 1.1 * age),
        atrophy=float(np.clip(age * rng.uniform(0.2, 1.2) - 0.15, 0, 1)),
        foci=int(rng.poisson(1.0 * age)),
        ventricles_mm=some(6.5, 1.3),
        asymmetry=float(np.clip(0.3 * rng.standard_normal(), -0.8, 0.8)),
        caps_mm=some(14.0),
        confluent=some(1.0, 2.0),
        punctate=some(1.0),
        pale_level=float(rng.uniform(0.52, 0.86)),
        spaces=some(1.0),
        deep_grey=float(rng.uniform(-0.06, 0.18)),
    )


def age_brain(brain: Brain, lesions: Region, ageing: Ageing, rng: np.random.Generator) -> Volume:
    """The intensities of an aged brain.

    Args:
        brain: The brain before ageing.
        lesions: Sulci next to them also widen, by loss of tissue (ex vacuo); may be empty.
        ageing: Effects of age.
        rng: Source of the spatial variation.
    """
    box = region_box(brain.inside, 1)
    aged = torch.zeros_like(brain.t1)
    aged[box] = _age(brain.part(box), lesions[box], ageing, rng)
    return aged


def _age(brain: Brain, lesions: Region, ageing: Ageing, rng: np.random.Generator) -> Volume:
    t1 = brain.t1
    if ageing.deep_grey:
        # iron: only in grey matter deeper than about 26 mm
        t1 = t1 + ageing.deep_grey * brain.grey * torch.sigmoid((brain.depth_mm - 26) / 3)
    t1 = _whiten_less(t1, brain, ageing, rng)
    t1 = _open_spaces(t1, brain, ageing, rng)
    t1 = _widen_ventricles(t1, brain, ageing, rng)
    return _widen_sulci(t1, brain, lesions, ageing, rng)


def _draw_focus(brain: Brain, rng: np.random.Generator) -> Tensor:
    """A smooth bump at one of the foci. Its height is the widening there."""
    _, centre = FOCI[int(rng.integers(len(FOCI)))]
    place = np.array(centre) * (1 if rng.random() < 0.5 else -1, 1, 1) + rng.normal(0, 6, 3)
    radius_mm, height = rng.uniform(9, 24), rng.uniform(0.5, 1.1)
    x, y, z = (
        torch.exp(-0.5 * ((axis - float(middle)) / radius_mm) ** 2)
        for axis, middle in zip(brain.grid.axes_mm(brain.device), place, strict=True)
    )
    return height * (x * y) * z


def _widen_sulci(t1: Volume, brain: Brain, lesions: Region, ageing: Ageing, rng: np.random.Generator) -> Volume:
    """Turn tissue next to CSF into CSF, and white matter next to that into cortex."""
    uneven = smooth_field(brain.grid.shape, brain.vox(26), rng, brain.device)
    lost = blur_region(lesions, brain.vox(4.0))
    width = (ageing.atrophy * (0.95 + 0.4 * uneven) + 0.6 * lost).clamp(0, 1.15)
    for _ in range(ageing.foci):
        width = torch.maximum(width, _draw_focus(brain, rng))
    # a wider sulcus takes tissue with less CSF around it
    from_here = (CLOSED - OPENED * width).clamp(min=LOWEST_OPENED)
    gain = (ageing.folds + 0.5 * uneven + 2.0 * lost).clamp(0.4, 3)
    csf = brain.csf
    fluid = torch.maximum(
        csf * gain, ((brain.near_csf - from_here) * 8 + 0.5).clamp(0, 1) * (width * 3).clamp(0, 1)
    ).clamp(0, 1)
    # a new ribbon of cortex further inside, so that wide sulci stay lined with it
    cortex = ((brain.near_csf - RIBBON * from_here) * 30).clamp(0, 1) * (width * 2).clamp(0, 1)
    t1 = t1 - cortex * (t1 - GREY_LEVEL).clamp(min=0)
    more = (fluid - csf).clamp(min=0)
    less = (csf - fluid).clamp(min=0) * (1 - csf)  # thin sulci close, wide CSF spaces stay
    return t1 - more * (t1 - CSF_LEVEL).clamp(min=0) + less * (GREY_LEVEL - t1).clamp(min=0)


def _widen_ventricles(t1: Volume, brain: Brain, ageing: Ageing, rng: np.random.Generator) -> Volume:
    if ageing.ventricles_mm < 0.3:
        return t1
    uneven = smooth_field(brain.grid.shape, brain.vox(30), rng, brain.device)
    # changes smoothly from one hemisphere to the other
    side = 1 + ageing.asymmetry * torch.tanh(brain.grid.axes_mm(brain.device)[0] / 8)
    reach_mm = (ageing.ventricles_mm * side * (1 + 0.35 * uneven)).clamp(0, LARGEST_REACH_MM)
    fluid = torch.sigmoid((reach_mm - brain.ventricle_mm) * 1.6) * brain.inside
    return t1 - fluid * (t1 - CSF_LEVEL).clamp(min=0)


def _whiten_less(t1: Volume, brain: Brain, ageing: Ageing, rng: np.random.Generator) -> Volume:
    """White matter hypointensities: periventricular caps and bands, confluent patches, punctate spots."""
    if max(ageing.caps_mm, ageing.confluent, ageing.punctate) < 0.02:
        return t1
    # from the wall of the widened ventricle
    wall_mm = brain.ventricle_mm - ageing.ventricles_mm
    patches = smooth_field(brain.grid.shape, brain.vox(7.0), rng, brain.device)
    spots = torch.zeros_like(patches)
    if ageing.punctate + ageing.confluent > 0.15:
        spots = smooth_field(brain.grid.shape, max(brain.vox(3.2), 1.3), rng, brain.device)
    caps = torch.sigmoid((ageing.caps_mm * (0.7 + 0.45 * patches) - wall_mm - 0.5) * 0.9)
    near = torch.exp(-wall_mm.clamp(min=0) / 14)
    # patches merge where they are dense, which is near the ventricles
    wide = torch.sigmoid((0.8 * patches + 0.45 * spots + 2.2 * near - 3.4 + 2.2 * ageing.confluent) * 4)
    dots = torch.sigmoid((spots + 0.3 * patches - 3.4 + 1.6 * ageing.punctate) * 6)
    share = (caps + wide * min(4 * ageing.confluent, 1) + dots * min(4 * ageing.punctate, 1)).clamp(0, 1)
    deep = (brain.depth_mm / 6).clamp(0, 1)
    return t1 - share * brain.white * deep * (0.9 + 0.1 * spots).clamp(max=1) * (t1 - ageing.pale_level).clamp(min=0)


def _open_spaces(t1: Volume, brain: Brain, ageing: Ageing, rng: np.random.Generator) -> Volume:
    """Enlarged perivascular spaces, below the putamen and in the white matter above the ventricles."""
    if ageing.spaces < 0.05:
        return t1
    x, y, z = brain.grid.axes_mm(brain.device)
    # around the lenticulostriate arteries, and in the centrum semiovale
    basal = torch.exp(-(((x.abs() - 22) / 9) ** 2 + ((y - 2) / 14) ** 2 + ((z + 4) / 8) ** 2))
    above = torch.exp(-(((x.abs() - 24) / 14) ** 2 + ((y + 16) / 34) ** 2 + ((z - 36) / 14) ** 2))
    often = ageing.spaces * (0.10 * basal + 0.05 * above * brain.white)
    noise = white_noise(brain.grid.shape, rng, brain.device)
    wide = brain.vox(1.3)
    if wide > 1:  # the same size in millimetres on a fine grid
        noise = blur(noise, 0.5 * wide)
        noise = noise / noise.std().clamp(min=1e-6)
    fluid = ((noise - 2.2 + 9 * often) * 2).clamp(0, 0.75) * (often > 0.004)
    return t1 - fluid * (t1 - CSF_LEVEL).clamp(min=0)


STEP_MM = 4.0
"""Displacements are smooth, so they are generated on a grid of this step."""
KNOTS_MM = (60.0, 26.0, 11.0)
"""Knot spacing of the coarse, medium and fine displacements."""
PULL_SIGMA_MM = 8.0
"""Reach of the displacement around a ventricle's wall."""
LARGEST_PULL_MM = 5.0
"""Largest displacement of a wall; more would fold tissue."""


@dataclass(frozen=True)
class Deformation:
    """Deformation of the anatomy.

    Attributes:
        coarse_mm: Standard deviation of the displacements with the largest of `KNOTS_MM`.
        medium_mm: The same for the middle one.
        fine_mm: The same for the smallest.
        scale: Relative size along x, y, z.
        ventricles_mm: Outward displacement of the walls of the ventricles (negative: inward).
        pull_mm: Displacement of a ventricle's wall towards a lesion (ex vacuo enlargement).
        turn_deg: Rotation about x, y, z.
    """

    coarse_mm: float
    medium_mm: float
    fine_mm: float
    scale: tuple[float, float, float]
    ventricles_mm: float
    pull_mm: float
    turn_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def volume_ratio(self) -> float:
        """Volume of the deformed brain relative to the original, without the random displacements."""
        return self.scale[0] * self.scale[1] * self.scale[2]


def draw_deformation(age: float, load_mm3: float, strength: float, rng: np.random.Generator) -> Deformation:
    """Draw a deformation: ventricles grow with age, the pull with the lesion load.

    Args:
        age: 0 young to 1 old.
        load_mm3: Lesion load of the case.
        strength: 1 for a single template, less for brains that already differ.
        rng: Source of the numbers.
    """
    x, y, z = (float(1 + 0.025 * strength * np.clip(rng.standard_normal(), -2, 2)) for _ in range(3))
    return Deformation(
        coarse_mm=strength * float(rng.uniform(1.5, 3.0)),
        medium_mm=strength * float(rng.uniform(0.8, 1.5)),
        fine_mm=strength * float(rng.uniform(0.3, 0.6)),
        scale=(x, y, z),
        ventricles_mm=float(-0.5 + 3.5 * age + 0.7 * rng.standard_normal()),
        pull_mm=float(min(rng.uniform(0.5, 1.5) * (load_mm3 / 10_000) ** 0.5, 5.0)),
    )


def place_freely(deformation: Deformation, rng: np.random.Generator) -> Deformation:
    """Move a person to scanner space: smaller than in MNI space, and rotated."""
    size = float(rng.uniform(0.83, 1.05))
    x, y, z = (size * length for length in deformation.scale)
    nod, tilt, turn = (float(np.clip(rng.standard_normal(), -2, 2) * spread) for spread in (6.0, 3.0, 3.0))
    return replace(deformation, scale=(x, y, z), turn_deg=(nod, tilt, turn))


def displacement_of(
    brain: Brain, lesions: Region, deformation: Deformation, rng: np.random.Generator, grid: Grid | None = None
) -> Float32[Tensor, "3 a b c"]:
    """Displacement from every voxel of the deformed brain to the original, in voxels.

    Args:
        brain: The original brain.
        lesions: Its lesions, on the same grid; may be empty.
        deformation: The deformation.
        rng: Source of the random displacements.
        grid: Grid of the result: the brain's own grid, or a part or extension of it.
    """
    grid = grid or brain.grid
    coarse = coarser(grid, max(round(STEP_MM / grid.spacing_mm), 1))
    moved = _wander(coarse, deformation, rng, brain.device) + _towards_ventricles(brain, lesions, deformation, coarse)
    here = [axis - centre for axis, centre in zip(coarse.axes_mm(brain.device), MNI_CENTRE_MM, strict=True)]
    # the inverse map: from the deformed brain back to the original
    linear = _rotation(deformation.turn_deg).T / np.array(deformation.scale)[None, :] - np.eye(3)
    for part, row in zip(moved, linear, strict=True):
        for axis, factor in zip(here, row, strict=True):
            part += axis * float(factor)
    moved = moved / grid.spacing_mm
    return torch.stack([refine(part, coarse, grid) for part in moved])


def _rotation(turn_deg: tuple[float, float, float]) -> Float64[np.ndarray, "3 3"]:
    a, b, c = np.deg2rad(turn_deg)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x)


def _wander(coarse: Grid, deformation: Deformation, rng: np.random.Generator, device: torch.device) -> Displacement:
    """Smooth random displacements in mm."""
    sizes_mm = (deformation.coarse_mm, deformation.medium_mm, deformation.fine_mm)
    moved = torch.zeros(3, *coarse.shape, device=device)
    for direction in moved:
        for size_mm, knots_mm in zip(sizes_mm, KNOTS_MM, strict=True):
            knots_vox = max(knots_mm / coarse.spacing_mm, 1.5)
            direction += size_mm * smooth_field(coarse.shape, knots_vox, rng, device)
    return moved


def _towards_ventricles(brain: Brain, lesions: Region, deformation: Deformation, coarse: Grid) -> Tensor:
    """Displacements in mm towards the ventricles, which widen them, more so next to a lesion."""
    stride = max(round(STEP_MM / brain.grid.spacing_mm), 1)
    own = coarser(brain.grid, stride)
    smooth = blur(_thin(brain.ventricle_mm < 1, stride), PULL_SIGMA_MM / own.spacing_mm)
    slope = gradient(smooth)  # points towards the ventricle, strongest at its wall
    steepest = torch.linalg.vector_norm(slope, dim=0).max().clamp(min=1e-6)
    length_mm = torch.full_like(smooth, deformation.ventricles_mm)
    if deformation.pull_mm > 0:
        near = (3.0 * blur(_thin(lesions, stride), 18.0 / own.spacing_mm)).clamp(0, 1)
        length_mm = length_mm + deformation.pull_mm * near
    # sampling closer to the ventricle widens it
    towards = slope / steepest * length_mm.clamp(max=LARGEST_PULL_MM)
    return towards if own == coarse else torch.stack([refine(part, own, coarse) for part in towards])


def _thin(region: Region, stride: int) -> Float32[Tensor, "a b c"]:
    return region[::stride, ::stride, ::stride].float()
