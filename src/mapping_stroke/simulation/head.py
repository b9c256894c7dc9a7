"""Tissue around the brain (meninges, skull, scalp, face), and skull-stripping, good or bad."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mapping_stroke.dataset.grid import Grid
from mapping_stroke.simulation.brain import CSF_LEVEL, Brain
from mapping_stroke.simulation.volume import Region, Volume, smooth_field

Kind = Literal["intracranial", "stripped", "too much", "too little", "head"]


@dataclass(frozen=True)
class View:
    """The part of the head that a scan shows.

    Attributes:
        kind: `intracranial`: the brain and all CSF around it, see `Meninges`; `stripped`: the brain; `too much`: with
            remains of the surroundings; `too little`: with parts of the brain missing; `head`: the whole head.
        margin_mm: For `stripped`, thickness of the missing outermost CSF; for `too much` and `too little`, largest
            thickness of the remains or the missing parts.
        lowest_mm: Lower end of the field of view (MNI z); None for no limit.
        highest_mm: Upper end of the field of view; None for no limit.
        faceless_mm: Distance of an oblique defacing plane in front of the centre; None for no defacing.
        air: Whether the background shows noise; otherwise it is 0.
        rim_level: Intensity of the removed tissue, visible in edge voxels by partial volume; CSF is 0.25, grey matter
            0.65.
    """

    kind: Kind
    margin_mm: float = 0.0
    lowest_mm: float | None = None
    highest_mm: float | None = None
    faceless_mm: float | None = None
    air: bool = False
    rim_level: float = CSF_LEVEL


def draw_view(kind: Kind, rng: np.random.Generator) -> View:
    """Draw a view of this kind."""
    lowest = float(rng.uniform(-75, -40)) if rng.random() < 0.15 else None
    highest = float(rng.uniform(55, 75)) if rng.random() < 0.08 else None
    if kind != "head":
        largest = {"intracranial": 0.0, "stripped": 3.5, "too much": 9.0, "too little": 9.0}[kind]
        rim = float(rng.uniform(0.45, 0.7) if rng.random() < 0.6 else rng.uniform(CSF_LEVEL, 0.45))
        return View(kind, float(rng.uniform(0, 1) * largest), lowest, highest, rim_level=rim)
    return View(
        kind,
        lowest_mm=float(rng.uniform(-115, -50)),
        highest_mm=highest,
        faceless_mm=float(rng.uniform(58, 76)) if rng.random() < 0.35 else None,
        air=bool(rng.random() < 0.5),
    )


def cover(brain: Brain, around_mm: Volume | None, view: View, rng: np.random.Generator) -> Volume:
    """Fraction of each voxel that skull-stripping keeps, before the deformation, except in whole heads.

    Args:
        brain: The brain.
        around_mm: Distance outside it, for `too much`.
        view: The view.
        rng: Source of the places with too much or too little.
    """
    inside = brain.inside.float()
    if view.kind == "stripped":
        if view.margin_mm < 0.7:
            return inside
        # only CSF at the surface is cut away: shallow and with fluid around it
        rim = torch.sigmoid((view.margin_mm + 1 - brain.depth_mm) * 2) * torch.sigmoid((brain.near_csf - 0.62) * 20)
        return inside * (rim < 0.5)
    waves = smooth_field(brain.grid.shape, brain.vox(float(rng.uniform(12, 28))), rng, brain.device)
    if view.kind == "too much":
        assert around_mm is not None
        return torch.maximum(inside, ((view.margin_mm * waves.clamp(0, 2) - around_mm) * 2).clamp(0, 1))
    # too little: the cut follows a smooth random depth
    missing_mm = view.margin_mm * (waves - 0.4).clamp(0, 2)
    return inside * ((brain.depth_mm - missing_mm + 0.5) * 2).clamp(0, 1) * (missing_mm < 25)


def limit(coverage: Volume, grid: Grid, view: View) -> Volume:
    """Clear the coverage outside the field of view and in front of the defacing plane."""
    _, y, z = grid.axes_mm(coverage.device)
    if view.lowest_mm is not None:
        coverage = coverage * (z >= view.lowest_mm)
    if view.highest_mm is not None:
        coverage = coverage * (z <= view.highest_mm)
    if view.faceless_mm is not None:
        # a plane tilted by 37 degrees, as defacing programs cut
        coverage = coverage * (0.8 * y - 0.6 * z < view.faceless_mm)
    return coverage


THIN_BONE_LEVEL = 0.10
"""Intensity of compact bone; CSF is 0.25, grey matter 0.65, white 1."""
CONTRAST_MEDIUM = 0.06
"""Share of contrast-enhanced scans."""
PLAIN_DURA, ENHANCED_DURA = (0.2, 0.6), (0.8, 1.4)
"""Range of the intensity of the dura, without and with contrast medium."""
SOFT_MM = 0.7
"""Half-width of the borders of dura and bone."""


@dataclass(frozen=True)
class Meninges:
    """Appearance of the space around a brain, and its cut by a brain mask, in mm from the brain's surface.

    Attributes:
        fluid_mm: Thickness of the CSF.
        dura_mm: Thickness of the dura.
        dura: Intensity of the dura.
        sinus: Intensity of blood in the large venous sinuses: dark flow voids, grey, or bright.
        membranes: Strength of membranes and small vessels in the CSF.
        marrow: Intensity of bone marrow, beyond 3 mm of bone.
        outline_mm: Mean distance of the mask's outline.
        waves_mm: Standard deviation of that distance.
        patch_mm: Extra distance in a few patches; 0 for none.
    """

    fluid_mm: float
    dura_mm: float
    dura: float
    sinus: float
    membranes: float
    marrow: float
    outline_mm: float
    waves_mm: float
    patch_mm: float

    @property
    def enhanced(self) -> bool:
        """Whether the scan is contrast-enhanced: only then is the dura this bright."""
        return self.dura > PLAIN_DURA[1]


def draw_meninges(age: float, rng: np.random.Generator) -> Meninges:
    """Draw the meninges. Old people have more CSF around the brain.

    Args:
        age: 0 young to 1 old.
        rng: Source of the numbers.
    """
    enhanced = rng.random() < CONTRAST_MEDIUM
    bright = rng.random() < 0.25
    return Meninges(
        fluid_mm=float(rng.uniform(0.2, 1.2 + 2.2 * age)),
        dura_mm=float(rng.uniform(0.5, 1.6)),
        dura=float(rng.uniform(*(ENHANCED_DURA if enhanced else PLAIN_DURA))),
        sinus=float(rng.uniform(1.2, 2.0) if enhanced else rng.uniform(0.7, 1.3) if bright else rng.uniform(0.1, 0.6)),
        membranes=float(rng.uniform(0.4, 1.5)),
        marrow=float(rng.uniform(0.15, 0.8)),
        outline_mm=float(np.clip(rng.normal(-0.9, 0.8), -2.0, 2.0)),
        waves_mm=float(rng.uniform(0.3, 0.9)),
        patch_mm=float(rng.uniform(2, 6)) if rng.random() < 0.2 else 0.0,
    )


def surround_brain(
    around_mm: Volume, inside: Region, grid: Grid, meninges: Meninges, rng: np.random.Generator
) -> tuple[Volume, Volume]:
    """Generate the tissue around a brain within an intracranial mask.

    Args:
        around_mm: Distance outside the brain's smoothed surface; below 0 in closed sulci and cisterns.
        inside: The brain.
        grid: Grid of these volumes, in MNI space.
        meninges: Their appearance.
        rng: Source of the spatial variation.

    Returns:
        Intensities, valid between brain and mask outline, and the fraction of each voxel inside the mask.
    """
    device = around_mm.device
    waves = smooth_field(grid.shape, 22 / grid.spacing_mm, rng, device)
    outline_mm = meninges.outline_mm + meninges.waves_mm * waves
    if meninges.patch_mm:
        patches = smooth_field(grid.shape, 14 / grid.spacing_mm, rng, device)
        outline_mm += meninges.patch_mm * (patches - 2).clamp(0, 1)
    beyond_mm = outline_mm - around_mm
    coverage = (beyond_mm / grid.spacing_mm + 0.5).clamp(0, 1)
    level = torch.full_like(around_mm, CSF_LEVEL)
    shown = (coverage > 0) & ~inside
    level[shown] = _levels(around_mm, waves, shown, grid, meninges, rng)
    return level, coverage


def _levels(
    around_mm: Volume, waves: Volume, shown: Region, grid: Grid, meninges: Meninges, rng: np.random.Generator
) -> torch.Tensor:
    """Intensities of the shown voxels as a list: they are a tenth of all, and the operations are costly."""
    x, y, z = (axis.expand(grid.shape)[shown] for axis in grid.axes_mm(around_mm.device))
    fine = smooth_field(grid.shape, max(4.0 / grid.spacing_mm, 1.5), rng, around_mm.device)[shown]
    out_mm, wave = around_mm[shown], waves[shown]
    dura_at_mm = meninges.fluid_mm * (1 - 0.5 * wave).clamp(0.2, 2)
    past_mm = out_mm - dura_at_mm
    # membranes: faint everywhere, stronger at the peaks of the texture
    fluid = CSF_LEVEL + meninges.membranes * (0.05 * fine + 0.10 * (fine - 0.8).clamp(min=0))
    # sagittal sinus along the midline, transverse sinuses along the tentorium
    superior = torch.exp(-((x / 6) ** 2)) * ((z > 15) | (y < -80))
    transverse = torch.exp(-(((z + 16 + 0.1 * x.abs()) / 6) ** 2)) * torch.sigmoid((-y - 55) / 4) * (x.abs() > 3)
    sinus = (superior + transverse).clamp(0, 1) * torch.sigmoid((past_mm + 1.5) * 2)
    bone = THIN_BONE_LEVEL + (meninges.marrow - THIN_BONE_LEVEL) * torch.sigmoid((past_mm - 4) * 1.5)
    # from the inside: fluid, dura, bone; each fades into the next over `SOFT_MM`
    dura_past_mm = past_mm - meninges.dura_mm * (1 + 0.3 * fine).clamp(0.3, 2)
    level = fluid + torch.sigmoid(past_mm / SOFT_MM * 2) * (meninges.dura - fluid)
    level = level + torch.sigmoid(dura_past_mm / SOFT_MM * 2) * (bone - level)
    return (level + sinus * (meninges.sinus - level)).clamp(min=0.02)


AIR_LEVEL, BONE_LEVEL, MUSCLE_LEVEL = 0.02, 0.10, 0.55
"""Intensities, on the scale of CSF 0.25, grey 0.65, white 1."""
FACE_MM = ((0.0, 42.0, -62.0), (64.0, 58.0, 78.0))
"""Centre and semi-axes of the face."""
NECK_MM = ((0.0, -40.0), (58.0, 56.0), -50.0)
"""Centre and semi-axes (x, y) of the neck, and its upper end (z)."""
LOWEST_VAULT_MM = -8.0
"""Above this height there are only skull and scalp."""
EYES_MM = (33.0, 58.0, -36.0)
"""Centre of the right eye."""


@dataclass(frozen=True)
class Head:
    """Tissue around a brain, with lengths in mm and intensities relative to white matter.

    Attributes:
        fluid_mm: Thickness of the CSF around the brain.
        skull_mm: Thickness of the skull.
        scalp_mm: Thickness of the scalp.
        marrow: Intensity of the bone marrow.
        fat: Intensity of fat.
        muscle: Intensity of muscle and skin.
        eye_mm: Radius of an eye.
        knots_mm: Knot spacing of the textures below the skull.
        air: Share of the face that is air.
        stretch: Relative size of face and neck.
    """

    fluid_mm: float
    skull_mm: float
    scalp_mm: float
    marrow: float
    fat: float
    muscle: float
    eye_mm: float
    knots_mm: float
    air: float
    stretch: float


def draw_head(age: float, rng: np.random.Generator) -> Head:
    """Draw a head. Old people have more CSF around the brain."""
    return Head(
        fluid_mm=float(rng.uniform(0.3, 1.5 + 2.5 * age)),
        skull_mm=float(rng.uniform(3.5, 8.0)),
        scalp_mm=float(rng.uniform(3.0, 8.0)),
        marrow=float(rng.uniform(0.15, 0.9)),
        fat=float(rng.uniform(0.8, 1.9)),
        muscle=float(MUSCLE_LEVEL + rng.uniform(-0.15, 0.25)),
        eye_mm=float(rng.uniform(10.5, 13.0)),
        knots_mm=float(rng.uniform(6.0, 12.0)),
        air=float(rng.uniform(0.1, 0.4)),
        stretch=float(rng.uniform(0.9, 1.12)),
    )


def build_head(around_mm: Volume, grid: Grid, head: Head, rng: np.random.Generator) -> tuple[Volume, Volume]:
    """Generate the head around a brain.

    Args:
        around_mm: Distance outside the brain's smoothed surface.
        grid: Grid of that volume, in MNI space.
        head: Appearance of the head.
        rng: Source of the spatial variation.

    Returns:
        Intensities, valid outside the brain, and the depth below the skin in mm (negative in air).
    """
    device = around_mm.device
    waves = smooth_field(grid.shape, 24 / grid.spacing_mm, rng, device)
    other = smooth_field(grid.shape, 15 / grid.spacing_mm, rng, device)
    skull_mm = around_mm - head.fluid_mm * (1 + 0.5 * waves).clamp(0.2, 2)
    thick_mm = head.skull_mm * (1 + 0.25 * other).clamp(0.5, 1.6)
    scalp_mm = skull_mm - thick_mm
    skin_mm = head.scalp_mm * (1 - 0.3 * waves).clamp(0.4, 1.8) - scalp_mm
    base = _below_skull(grid, device, waves)
    # the head is the union of vault, face and neck, so the larger depth counts
    skin_mm = torch.maximum(skin_mm, _face_and_neck_mm(grid, device, head) + 4 * other)

    # marrow in the middle of the bone, compact bone on either side
    marrow = head.marrow * torch.exp(-(((skull_mm / thick_mm) - 0.5) ** 2) * 12) * (0.7 + 0.4 * other).clamp(0, 1.5)
    skull = BONE_LEVEL + marrow * (1 - base)
    fatty = torch.sigmoid((skin_mm - 1.5) * 1.2) * torch.sigmoid((other + 0.8) * 3)
    scalp = head.muscle + (head.fat - head.muscle) * fatty
    outer = scalp
    # face and neck are only computed below the vault
    low = int((grid.axes_mm(device)[2] < LOWEST_VAULT_MM).sum())
    if low > 3:
        part = (slice(0, grid.shape[0]), slice(0, grid.shape[1]), slice(0, low))
        below = _tissues_below(grid.crop(part), head, rng, device)
        deep = base[part] * torch.sigmoid((skin_mm[part] - head.scalp_mm * 0.8) * 1.5)
        outer[part] = _set_eyes(scalp[part] + deep * (below - scalp[part]), grid.crop(part), head, rng)
    beyond_skull = torch.sigmoid((scalp_mm + base * 0.5 * thick_mm) * 2)
    level = skull + beyond_skull * (outer - skull)
    level = CSF_LEVEL + torch.sigmoid(skull_mm * 2.5) * (level - CSF_LEVEL)
    return level.clamp(min=AIR_LEVEL), skin_mm


def _below_skull(grid: Grid, device: torch.device, waves: Volume) -> Volume:
    """1 below the skull base (which rises anteriorly), 0 in the vault."""
    _, y, z = grid.axes_mm(device)
    return torch.sigmoid((-34 + 0.12 * y + 5 * waves - z) / 3)


def _face_and_neck_mm(grid: Grid, device: torch.device, head: Head) -> Tensor:
    """Approximate depth of a voxel inside face or neck."""
    x, y, z = grid.axes_mm(device)
    (a, b, c), axes = FACE_MM
    p, q, r = (length * head.stretch for length in axes)
    face = (1 - torch.sqrt(((x - a) / p) ** 2 + ((y - b) / q) ** 2 + ((z - c) / r) ** 2)) * q
    (a, b), axes2, top_mm = NECK_MM
    p, q = (length * head.stretch for length in axes2)
    neck = (1 - torch.sqrt(((x - a) / p) ** 2 + ((y - b) / q) ** 2)) * q
    return torch.maximum(face, torch.minimum(neck, top_mm - z))


def _tissues_below(grid: Grid, head: Head, rng: np.random.Generator, device: torch.device) -> Volume:
    """Random patches of muscle, fat, bone and air."""
    knots = head.knots_mm / grid.spacing_mm
    one, two = (smooth_field(grid.shape, max(knots * size, 1.3), rng, device) for size in (1.0, 0.6))
    fat = torch.sigmoid((one - 0.9 + 0.5 * two) * 5)
    bone = torch.sigmoid((-one - 1.2 + 0.6 * two) * 5)
    x, y, z = grid.axes_mm(device)
    # more air around the nasal cavity
    nose = torch.exp(-((x / 16) ** 2) - ((y - 55) / 22) ** 2 - ((z + 52) / 22) ** 2)
    air = torch.sigmoid((two - 2.6 + 3.5 * head.air + 3.2 * nose) * 5)
    level = head.muscle * (1 + 0.15 * two) + fat * (head.fat - head.muscle)
    level = level + bone * (BONE_LEVEL - level)
    return level + air * (AIR_LEVEL - level)


def _set_eyes(level: Volume, grid: Grid, head: Head, rng: np.random.Generator) -> Volume:
    """Add the eyes: two dark balls in fat."""
    x, y, z = grid.axes_mm(level.device)
    # both eyes by |x|: they are symmetric
    aside, front, up = np.array(EYES_MM) + rng.normal(0, 2.5, 3)
    away_mm = torch.sqrt((x.abs() - float(aside)) ** 2 + (y - float(front)) ** 2 + (z - float(up)) ** 2)
    fat = torch.sigmoid((head.eye_mm + 6 - away_mm) * 0.8)
    level = level + fat * (0.9 * head.fat - level)
    return level + torch.sigmoid((head.eye_mm - away_mm) * 1.5) * (0.6 * CSF_LEVEL - level)
