"""Simulated cases without end: a new one for every patch of a training, made on the training device."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float32, Int16
from torch import Tensor
from torch.nn import functional

from mapping_stroke.dataset.arrays import UNSURE, CaseArrays
from mapping_stroke.dataset.simulate.anatomy import Brain
from mapping_stroke.dataset.simulate.case import Look, draw_any_look, simulate_case
from mapping_stroke.dataset.simulate.intensity import Scanner, draw_any_scanner, vary_scanner
from mapping_stroke.dataset.simulate.loads import atlas_load_mm3, split_load
from mapping_stroke.dataset.simulate.real_masks import RealMask, fit_masks
from mapping_stroke.dataset.simulate.shapes import draw_lesions
from mapping_stroke.dataset.simulate.view import Kind
from mapping_stroke.dataset.simulate.visibility import unseen_lesion
from mapping_stroke.dataset.simulate.volume import Region, Volume, region_box

KINDS: tuple[Kind, ...] = ("intracranial", "stripped", "too much", "too little", "head")
DEFORMATION = 0.7
"""How far anatomy is deformed, where 1 makes all people from one brain."""
LARGEST_LOAD_MM3 = 300_000.0
"""Of a drawn case, before its brain shrinks; larger than in ATLAS, so that ATLAS's largest are no rarity."""
MASKS_LOOKED_AT = 12
"""Of so many random masks those nearest in size to the asked load are used."""


@dataclass(frozen=True)
class Mix:
    """What share of the cases is of which kind.

    Attributes:
        healthy: Without any lesion.
        twins: The healthy twin of a case with lesions: with the same numbers, but nothing painted.
        drawn: Of those with lesions: drawn at random rather than taken from real masks.
        kinds: Shares of `KINDS`; their sum is 1.
        free: Of those that lie as they were scanned; the others lie as MNI space has them.
    """

    healthy: float = 0.23
    twins: float = 0.10
    drawn: float = 0.25
    kinds: tuple[float, float, float, float, float] = (0.42, 0.24, 0.08, 0.08, 0.18)
    free: float = 0.5


DEFAULT_MIX = Mix()
PLACED_MIX = Mix(kinds=(0.56, 0.18, 0.12, 0.1, 0.04), free=0.1)
"""Nearly as `mapping segment` hands scans to a model: registered and stripped, which goes wrong at times."""
FINER_MIX = Mix(kinds=(0.54, 0.18, 0.12, 0.08, 0.08), free=0.15)
"""The same with more heads, so that what a whole one looks like is not forgotten."""


@dataclass(frozen=True, eq=False)
class Host:
    """A healthy brain and where lesions may be in it.

    Attributes:
        brain: The brain.
        allowed: See `allowed_region`.
    """

    brain: Brain
    allowed: Region


@dataclass(frozen=True, eq=False)
class SimulationBank:
    """What cases are made from, all on one device and one spacing. It is a `CaseSource`.

    Attributes:
        hosts: At least one brain.
        masks: Real masks; without any all lesions are drawn.
        mix: Of what kinds.
        scanner: What took all scans, each on another day; None for any scanner.
    """

    hosts: Sequence[Host]
    masks: Sequence[RealMask]
    mix: Mix = DEFAULT_MIX
    scanner: Scanner | None = None
    coarsen: int = 1
    """Cases are made on the hosts' voxels; blocks of so many along each axis become one voxel of what is drawn."""

    def draw(self, rng: np.random.Generator) -> CaseArrays:
        """A new case; see `draw_case`."""
        return draw_case(self, rng)


def draw_case(bank: SimulationBank, rng: np.random.Generator) -> CaseArrays:
    """Make a case as a network reads it: cropped to non-zero voxels, with their z-scores, as `prepare_scan` does.

    Args:
        bank: From what.
        rng: Decides everything: in the same state it gives the same case on the same kind of device.

    Returns:
        The case; its id says that it is simulated and holds a number that was drawn with it.
    """
    draft = draft_case(bank, rng)
    return make_case(bank, draft if draft.shows_lesions else draft.twin, rng)


def draw_twins(bank: SimulationBank, rng: np.random.Generator) -> tuple[CaseArrays, CaseArrays]:
    """Make a case and its healthy twin: one generator state for everything but the lesions, the same voxels.

    Args:
        bank: From what; its shares of healthy cases and of twins count for nothing here.
        rng: As for `draw_case`.

    Returns:
        The case with lesions and the one without. Where the bank's lesions find no place, both are healthy.
    """
    draft = draft_case(replace(bank, mix=replace(bank.mix, healthy=0.0, twins=0.0)), rng)
    again = copy.deepcopy(rng)
    return make_case(bank, draft, rng), make_case(bank, draft.twin, again)


@dataclass(frozen=True, eq=False)
class Draft:
    """All that is drawn of a case before anything is made.

    Attributes:
        case_id: What to call it.
        host: Whose brain.
        lesions: Where its lesions are; all False for none.
        look: How everything looks.
        shows_lesions: Whether they are painted; they are not in a healthy twin.
    """

    case_id: str
    host: Host
    lesions: Region
    look: Look
    shows_lesions: bool = True

    @property
    def twin(self) -> "Draft":
        """The same without painted lesions."""
        return replace(self, look=replace(self.look, appearance=None))


def draft_case(bank: SimulationBank, rng: np.random.Generator) -> Draft:
    """Draw what a case is to be, as the bank's mix has it."""
    case_id = f"simulated-{int(rng.integers(2**32)):08x}"
    host = bank.hosts[int(rng.integers(len(bank.hosts)))]
    lot = rng.random()
    healthy = lot < bank.mix.healthy
    load_mm3 = 0.0 if healthy else atlas_load_mm3(float(rng.random()), LARGEST_LOAD_MM3)
    lesions = place_lesions(bank, host, load_mm3, rng)
    kind = KINDS[int(rng.choice(len(KINDS), p=bank.mix.kinds))]
    scanner = draw_any_scanner(rng) if bank.scanner is None else vary_scanner(bank.scanner, rng)
    look = draw_any_look(load_mm3, scanner, kind, DEFORMATION, rng, bank.mix.free)
    return Draft(case_id, host, lesions, look, healthy or lot >= bank.mix.healthy + bank.mix.twins)


def make_case(bank: SimulationBank, draft: Draft, rng: np.random.Generator) -> CaseArrays:
    """Make what was drawn; `rng` is the source of textures, shapes and noise."""
    brain = draft.host.brain
    made = simulate_case(brain, draft.lesions, draft.look, rng)
    unsure = unseen_lesion(made, draft.look.scanner, brain.grid.spacing_mm)
    return finish_case(draft.case_id, made.scan, made.coverage, made.mask, bank.coarsen, unsure)


def finish_case(
    case_id: str,
    scan: Volume,
    coverage: Float32[Tensor, "x y z"],
    mask: Region,
    coarsen: int = 1,
    unsure: Region | None = None,
) -> CaseArrays:
    """Crop to what is covered, make z-scores of it, and coarsen them.

    Args:
        case_id: Of the case.
        scan: Intensities.
        coverage: How much of each voxel the scan covers; 0 where nothing was scanned or all was stripped away.
        mask: The lesions.
        coarsen: See `SimulationBank`; a coarse voxel is lesion where at least half of it is.
        unsure: Lesion that no training should count, within `mask`; a coarse voxel is unsure where half of its lesion
            is. None for nothing.
    """
    inside = coverage > 0.5
    box = region_box(inside)
    coverage, mask, inside = coverage[box], mask[box], inside[box]
    hidden = torch.zeros_like(mask) if unsure is None else unsure[box]
    scan = scan[box] * coverage  # interpolation mixes the edge of a cut-out brain with the 0 around it
    values = scan[inside]
    spread, mean = torch.std_mean(values, correction=0)
    scores = (scan - mean) / spread.clamp(min=1e-6) * (2 * coverage).clamp(max=1)
    if coarsen > 1:
        scores, share, hidden_share = (_block_means(v, coarsen) for v in (scores, mask.float(), hidden.float()))
        mask, hidden = share >= 0.5, 2 * hidden_share >= share
    voxels: Int16[np.ndarray, "n 3"] = (mask & ~hidden).nonzero().to(torch.int16).cpu().numpy()
    labels = mask.to(torch.uint8).masked_fill(mask & hidden, UNSURE)
    return CaseArrays(case_id, scores.half(), labels, voxels)


def _block_means(volume: Volume, edge: int) -> Float32[Tensor, "a b c"]:
    """Means of cubes of voxels; what does not fill the last ones counts as 0."""
    padding = [pad for length in reversed(volume.shape) for pad in (0, -length % edge)]
    return functional.avg_pool3d(functional.pad(volume, padding)[None, None], edge)[0, 0]


def place_lesions(bank: SimulationBank, host: Host, load_mm3: float, rng: np.random.Generator) -> Region:
    """Lesions of about this load in a host: drawn or of real masks, as the bank's mix has it; none for 0 mm3."""
    if load_mm3 <= 0:
        return torch.zeros_like(host.allowed)
    if not bank.masks or rng.random() < bank.mix.drawn:
        return draw_lesions(host.brain, host.allowed, split_load(load_mm3, rng), rng)
    chosen = rng.choice(len(bank.masks), min(MASKS_LOOKED_AT, len(bank.masks)), replace=False)
    return fit_masks(host.brain, host.allowed, [bank.masks[index] for index in chosen], load_mm3, rng)[0]
