"""One simulated case: brain, lesions, age, head and scanner put together, and which of its lesion can be seen."""

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

Around = Float32[Tensor, "a b c"]  # a brain's box, or that of its head

STRIPPED = View("stripped")
SPARED_MM = 2.0
"""Of the room around a brain in its box so much is not needed where deformations are mild."""


@dataclass(frozen=True)
class Look:
    """What was drawn for a case, beside its lesions.

    Attributes:
        age: 0 young to 1 old.
        ageing: What the years did.
        deformation: Its anatomy.
        appearance: Its lesions; None for its healthy twin, who is the same otherwise.
        scanner: Its contrast.
        view: What the scan shows of the head.
        head: What is around the brain; None where the scan shows nothing of it.
        variants: What is unusual without being a stroke.
        meninges: What an intracranial mask shows around the brain; None where the view is another.
        rendering: How its brain is rendered from tissue maps; None where its scan's intensities stay.
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
    """A scan with lesions, on the box of its brain, or a larger one for a whole head.

    Attributes:
        scan: Intensities, 0 or more, white matter about 1.
        coverage: How much of each voxel the scan shows; it is 0 where `scan` means nothing.
        mask: The lesions, as far as the scan shows them.
        change: How far painting them changed `scan`, without blur, bias and noise; 0 where nothing was painted.
    """

    scan: Volume
    coverage: Volume
    mask: Region
    change: Volume


def draw_look(load_mm3: float, scanner: Scanner, strength: float, rng: np.random.Generator) -> Look:
    """Draw a person in MNI space, well stripped: most are old."""
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
    """Draw a person stripped in one way or another; the healthy are older.

    Args:
        load_mm3: All lesions of the case.
        scanner: What scans it.
        kind: What it shows of the head.
        strength: How far anatomy is deformed; see `draw_deformation`.
        rng: Source of the numbers.
        free: How often it lies as it was scanned, in a space of its own; otherwise as MNI space has it.
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
    """Age, paint, put into a head, deform and scan.

    Args:
        brain: A healthy brain.
        lesions: Where its lesions are, before the deformation.
        look: How everything looks. Without an appearance the lesions leave no trace but the place to which they pull
            the ventricles: the same numbers give the healthy twin, voxel by voxel.
        rng: Source of textures, shapes and noise.

    Returns:
        The case, its load within a few percent of that of `lesions` times the change of the brain's volume.
    """
    lesions = take_sulci(brain, lesions)
    seen = lesions if look.appearance else torch.zeros_like(lesions)
    before = age_brain(render(brain, look.rendering, rng), seen, look.ageing, rng)
    before = apply_variants(before, brain, look.variants, rng)
    painting = np.random.default_rng(int(rng.integers(2**62)))  # of its own: all else is the same in a healthy twin
    t1 = paint_lesions(before, brain, lesions, look.appearance, painting) if look.appearance else before
    painted = t1 - before
    t1, coverage, source = _surround(t1, brain, look, rng)
    grid = _needed_grid(source, look)
    displacement = displacement_of(brain, lesions, look.deformation, rng, grid)
    share = _widen(blur_region(seen, 0.7), brain.grid, source)
    painted = _widen(painted, brain.grid, source)
    moved = warp(torch.stack([t1, coverage, share, painted]), displacement, grid.corner_in(source))
    load_vox = round(int(seen.sum()) * look.deformation.volume_ratio)
    mask = settle_mask(moved[2], moved[1] > 0.5, load_vox)
    shown = torch.ones_like(moved[1]) if look.view.air else moved[1]
    shown = limit(shown, grid, look.view)
    scan = acquire(moved[0], grid.spacing_mm, look.scanner, rng)
    return SimulatedCase(scan, shown, mask & (shown > 0.5), _shown_change(moved[0], moved[3], look.scanner))


def _shown_change(t1: Volume, painted: Volume, scanner: Scanner) -> Volume:
    """What was painted (`painted`, part of `t1`), as the scanner's contrast shows it."""
    change = torch.zeros_like(t1)
    box = region_box(painted != 0)
    change[box] = contrasted(t1[box], scanner) - contrasted(t1[box] - painted[box], scanner)
    return change


def settle_mask(share: Volume, inside: Region, load_vox: int) -> Region:
    """Choose the mask from a deformed, blurred one: the asked number of voxels as long as the border stays put.

    Args:
        share: How much of each voxel is lesion, blurred by less than a voxel.
        inside: The brain.
        load_vox: How many voxels the lesions had before; 0 gives an empty mask.
    """
    surely, maybe = inside & (share > 0.7), inside & (share > (0.3 if load_vox > 300 else 0.02))
    return surely | top_voxels(share, maybe, load_vox) if int(surely.sum()) < load_vox else surely


def _surround(t1: Volume, brain: Brain, look: Look, rng: np.random.Generator) -> tuple[Around, Around, Grid]:
    """Put what is around the brain around it: intensities, how much is left of each voxel, and their grid."""
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
    body = torch.maximum((skin_mm + 0.5).clamp(0, 1), inside)
    return whole * body, body, grid


def _needed_grid(grid: Grid, look: Look) -> Grid:
    """The part of a grid that is shown, and that the new brain lies in; all of it where its size is MNI's."""
    if look.deformation.turn_deg == (0.0, 0.0, 0.0):
        return grid
    spared_mm = 0.0 if look.view.kind == "head" else SPARED_MM
    sides = []
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
    """Put a volume into a larger grid with the same voxels, 0 around it."""
    if source == target:
        return volume
    padding: list[int] = []
    for low, length, total in reversed(list(zip(source.corner_in(target), source.shape, target.shape, strict=True))):
        padding += [low, total - length - low]
    return functional.pad(volume, padding)


def unseen_lesion(case: SimulatedCase, scanner: Scanner, spacing_mm: float) -> Region:
    """The voxels of the mask around which painting changed less than the noise: nobody can know that they are lesion.

    The mean of |change| over the mask's part of 3 x 3 x 3 voxels decides, so that a thin sulcus between lost gyri still
    counts as seen.

    Args:
        case: The case; without lesion, or without noise, every voxel is False.
        scanner: It took the scan.
        spacing_mm: Edge of a voxel of the case.
    """
    unseen = torch.zeros_like(case.mask)
    box = region_box(case.mask, 1)
    if box[0].stop > 0:
        mask = case.mask[box]
        both = torch.stack([case.change[box].abs() * mask, mask.float()])
        change, count = functional.avg_pool3d(both[:, None], 3, stride=1, padding=1)[:, 0]
        unseen[box] = mask & (change < noise_std(scanner, spacing_mm) * count)
    return unseen
