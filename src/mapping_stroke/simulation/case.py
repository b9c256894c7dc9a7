"""One simulated case, from brain, lesions, age, head and scanner, and the visibility of its lesions."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor
from torch.nn import functional

from mapping_stroke.dataset.grid import Grid
from mapping_stroke.simulation.brain import HEAD_ROOM_MM, Brain, Rendering, draw_rendering, render
from mapping_stroke.simulation.head import (
    Head,
    Kind,
    Meninges,
    View,
    build_head,
    cover,
    draw_head,
    draw_meninges,
    draw_view,
    limit,
    surround_brain,
)
from mapping_stroke.simulation.painting import Appearance, draw_appearance, paint_lesions, take_sulci
from mapping_stroke.simulation.person import (
    Ageing,
    Deformation,
    age_brain,
    displacement_of,
    draw_ageing,
    draw_deformation,
    place_freely,
)
from mapping_stroke.simulation.scanner import Scanner, acquire, contrasted, noise_std
from mapping_stroke.simulation.variants import NO_VARIANTS, Variants, apply_variants, draw_variants
from mapping_stroke.simulation.volume import Region, Volume, blur_region, refine, region_box, top_voxels, warp

Around = Float32[Tensor, "a b c"]  # on the box of a brain, or of its head

STRIPPED = View("stripped")
SPARED_MM = 2.0
"""Margin around a brain that mild deformations do not need."""


@dataclass(frozen=True)
class Look:
    """Everything drawn for a case except its lesions.

    Attributes:
        age: 0 young to 1 old.
        ageing: Effects of age.
        deformation: Deformation of the anatomy.
        appearance: Appearance of the lesions; None for the healthy twin, which is otherwise identical.
        scanner: Contrast, resolution and noise.
        view: Part of the head that the scan shows.
        head: Tissue around the brain; None if the scan does not show it.
        variants: Normal variants that mimic a stroke.
        meninges: Meninges shown by an intracranial mask; None for other views.
        rendering: Rendering of the brain from its tissue maps; None keeps the scan's intensities.
    """

    age: float
    ageing: Ageing
    deformation: Deformation
    appearance: Appearance | None
    scanner: Scanner
    view: View = STRIPPED
    head: Head | None = None
    variants: Variants = NO_VARIANTS
    meninges: Meninges | None = None
    rendering: Rendering | None = None


@dataclass(frozen=True, eq=False)
class SimulatedCase:
    """A scan with lesions, on the box of its brain, or on a larger one for a whole head.

    Attributes:
        scan: Intensities, 0 or more, with white matter at about 1.
        coverage: Fraction of each voxel that the scan shows; if it is 0, `scan` is meaningless.
        mask: The lesions within the field of view.
        change: Intensity change of `scan` due to painting, before blur, bias field and noise; 0 elsewhere.
    """

    scan: Volume
    coverage: Volume
    mask: Region
    change: Volume


def draw_look(load_mm3: float, scanner: Scanner, strength: float, rng: np.random.Generator) -> Look:
    """Draw a well skull-stripped person in MNI space. Most are old."""
    age = float(rng.beta(2.2, 1.6))
    return Look(
        age=age,
        ageing=draw_ageing(age, rng),
        deformation=draw_deformation(age, load_mm3, strength, rng),
        appearance=draw_appearance(load_mm3, rng),
        scanner=scanner,
    )


def draw_any_look(
    load_mm3: float, scanner: Scanner, kind: Kind, strength: float, rng: np.random.Generator, free: float = 0.5
) -> Look:
    """Draw a person with any kind of view. Healthy people are older.

    Args:
        load_mm3: Lesion load of the case.
        scanner: The scanner.
        kind: Part of the head that the scan shows.
        strength: Strength of the deformation; see `draw_deformation`.
        rng: Source of the numbers.
        free: Probability of scanner space instead of MNI space.
    """
    age = float(rng.beta(2.2, 1.4) if load_mm3 > 0 else rng.beta(2.6, 1.1))
    deformation = draw_deformation(age, load_mm3, strength, rng)
    return Look(
        age=age,
        ageing=draw_ageing(age, rng),
        deformation=place_freely(deformation, rng) if rng.random() < free else deformation,
        appearance=draw_appearance(load_mm3, rng),
        scanner=scanner,
        view=draw_view(kind, rng),
        head=draw_head(age, rng) if kind in ("head", "too much") else None,
        variants=draw_variants(age, rng),
        meninges=draw_meninges(age, rng) if kind == "intracranial" else None,
        rendering=draw_rendering(rng),
    )


def simulate_case(brain: Brain, lesions: Region, look: Look, rng: np.random.Generator) -> SimulatedCase:
    """Age a brain, paint its lesions, surround it by a head, deform it, and scan it.

    Args:
        brain: A healthy brain.
        lesions: Region of the lesions before the deformation.
        look: Everything else that was drawn. Without an appearance the lesions only pull on the ventricles, so that the
            same random numbers give the healthy twin, voxel by voxel.
        rng: Source of textures, shapes and noise.

    Returns:
        The case; its lesion load is within a few percent of that of `lesions` times the change of brain volume.
    """
    lesions = take_sulci(brain, lesions)
    seen = lesions if look.appearance else torch.zeros_like(lesions)
    before = age_brain(render(brain, look.rendering, rng), seen, look.ageing, rng)
    before = apply_variants(before, brain, look.variants, rng)
    # a separate stream for painting, so that the healthy twin is otherwise identical
    painting = np.random.default_rng(int(rng.integers(2**62)))
    t1 = paint_lesions(before, brain, lesions, look.appearance, painting) if look.appearance else before
    painted = t1 - before
    t1, coverage, source = _surround(t1, brain, look, rng)
    grid = _needed_grid(source, look)
    displacement = displacement_of(brain, lesions, look.deformation, rng, grid)
    # blurred, so that the deformed mask can be thresholded to the wanted load
    share = _widen(blur_region(seen, 0.7), brain.grid, source)
    painted = _widen(painted, brain.grid, source)
    moved = warp(torch.stack([t1, coverage, share, painted]), displacement, grid.corner_in(source))
    load_vox = round(int(seen.sum()) * look.deformation.volume_ratio)
    mask = settle_mask(moved[2], moved[1] > 0.5, load_vox)
    # noise in air covers the whole field of view; a mask leaves 0 around it
    shown = torch.ones_like(moved[1]) if look.view.air else moved[1]
    shown = limit(shown, grid, look.view)
    scan = acquire(moved[0], grid.spacing_mm, look.scanner, rng)
    return SimulatedCase(scan, shown, mask & (shown > 0.5), _shown_change(moved[0], moved[3], look.scanner))


def _shown_change(t1: Volume, painted: Volume, scanner: Scanner) -> Volume:
    """The painted change (`painted`, part of `t1`) as seen through the scanner's contrast."""
    change = torch.zeros_like(t1)
    box = region_box(painted != 0)
    change[box] = contrasted(t1[box], scanner) - contrasted(t1[box] - painted[box], scanner)
    return change


def settle_mask(share: Volume, inside: Region, load_vox: int) -> Region:
    """Threshold a deformed, blurred mask to the wanted number of voxels, as far as its border allows.

    Args:
        share: Lesion fraction of each voxel, blurred by less than a voxel.
        inside: The brain.
        load_vox: Target number of voxels; 0 gives an empty mask.
    """
    # tiny lesions may lose almost all of their fraction to the blur, so even faint voxels are candidates
    surely, maybe = inside & (share > 0.7), inside & (share > (0.3 if load_vox > 300 else 0.02))
    return surely | top_voxels(share, maybe, load_vox) if int(surely.sum()) < load_vox else surely


def _surround(t1: Volume, brain: Brain, look: Look, rng: np.random.Generator) -> tuple[Around, Around, Grid]:
    """Surround the brain: intensities, coverage of each voxel, and their grid."""
    if look.meninges is not None:
        around_mm = refine(brain.around_mm, brain.around_grid, brain.grid)
        outside, coverage = surround_brain(around_mm, brain.inside, brain.grid, look.meninges, rng)
        return torch.where(brain.inside, t1, outside), coverage, brain.grid
    if look.head is None:
        outside = torch.full_like(t1, look.view.rim_level)
        return torch.where(brain.inside, t1, outside), cover(brain, None, look.view, rng), brain.grid
    grid = brain.grid if look.view.kind != "head" else head_grid(brain)
    around_mm = refine(brain.around_mm, brain.around_grid, grid)
    outside, skin_mm = build_head(around_mm, grid, look.head, rng)
    inside = _widen(brain.inside.float(), brain.grid, grid)
    whole = outside + inside * (_widen(t1, brain.grid, grid) - outside)
    if look.view.kind != "head":
        return whole, cover(brain, around_mm, look.view, rng), grid
    # partial volume at the skin: a ramp of 1 mm
    body = torch.maximum((skin_mm + 0.5).clamp(0, 1), inside)
    return whole * body, body, grid


def _needed_grid(grid: Grid, look: Look) -> Grid:
    """The part of a grid that the scan shows and the deformed brain needs, which is the whole grid in MNI space."""
    if look.deformation.turn_deg == (0.0, 0.0, 0.0):
        return grid
    spared_mm = 0.0 if look.view.kind == "head" else SPARED_MM
    sides = []
    # a head that becomes smaller leaves a margin that need not be computed
    for length, scale in zip(grid.shape, look.deformation.scale, strict=True):
        spared = max(int(0.5 * (1 - scale) * length + spared_mm / grid.spacing_mm), 0)
        sides.append(slice(spared, length - spared))
    if look.view.lowest_mm is not None:
        hidden = int((look.view.lowest_mm - grid.origin_mm[2]) / grid.spacing_mm)
        sides[2] = slice(max(sides[2].start, hidden), sides[2].stop)
    return grid.crop((sides[0], sides[1], sides[2]))


def head_grid(brain: Brain) -> Grid:
    """The brain's grid with room for a head around it."""
    before, after = ([round(length_mm / brain.grid.spacing_mm) for length_mm in room] for room in HEAD_ROOM_MM)
    x, y, z = (n + low + high for n, low, high in zip(brain.grid.shape, before, after, strict=True))
    spacing_mm = brain.grid.spacing_mm
    a, b, c = (origin - low * spacing_mm for origin, low in zip(brain.grid.origin_mm, before, strict=True))
    return Grid((x, y, z), spacing_mm, (a, b, c))


def _widen(volume: Volume, source: Grid, target: Grid) -> Around:
    """Pad a volume with 0 to a larger grid with the same voxels."""
    if source == target:
        return volume
    padding: list[int] = []
    # `pad` takes the last axis first
    for low, length, total in reversed(list(zip(source.corner_in(target), source.shape, target.shape, strict=True))):
        padding += [low, total - length - low]
    return functional.pad(volume, padding)


def unseen_lesion(case: SimulatedCase, scanner: Scanner, spacing_mm: float) -> Region:
    """The invisible part of the mask, where painting changed the scan by less than the noise.

    Compares the mean |change| over the mask within 3 x 3 x 3 voxels, so that a thin sulcus between lost gyri still
    counts as visible.

    Args:
        case: The case; without lesions, or without noise, every voxel is False.
        scanner: The scanner, for its noise.
        spacing_mm: Edge of a voxel of the case.
    """
    unseen = torch.zeros_like(case.mask)
    box = region_box(case.mask, 1)  # empty without lesions
    if box[0].stop > 0:
        mask = case.mask[box]
        both = torch.stack([case.change[box].abs() * mask, mask.float()])
        change, count = functional.avg_pool3d(both[:, None], 3, stride=1, padding=1)[:, 0]
        unseen[box] = mask & (change < noise_std(scanner, spacing_mm) * count)
    return unseen
