"""An endless stream of simulated cases, drawn on the training device from a bank of brains and masks."""

import copy
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int16
from torch import Tensor
from torch.nn import functional

from mapping_stroke.console import track
from mapping_stroke.dataset.arrays import UNSURE, CaseArrays
from mapping_stroke.dataset.grid import Grid, atlas_grid
from mapping_stroke.dataset.sources import part_of_mask, parts_of_people
from mapping_stroke.errors import CaseError, ImageError, RunFolderError
from mapping_stroke.files import fingerprint, sha256, written_whole
from mapping_stroke.names import Part
from mapping_stroke.simulation.brain import Brain, build_brain
from mapping_stroke.simulation.case import Look, draw_any_look, simulate_case, unseen_lesion
from mapping_stroke.simulation.cohort import TEMPLATE, Sources
from mapping_stroke.simulation.head import Kind
from mapping_stroke.simulation.lesions import (
    RealMask,
    allowed_region,
    atlas_load_mm3,
    coarsen_mask,
    draw_lesions,
    fit_masks,
    split_load,
)
from mapping_stroke.simulation.scanner import Scanner, draw_any_scanner, vary_scanner
from mapping_stroke.simulation.sources import read_brain, read_mask, read_template
from mapping_stroke.simulation.volume import Region, Volume, region_box

KINDS: tuple[Kind, ...] = ("intracranial", "stripped", "too much", "too little", "head")
DEFORMATION = 0.7
"""Strength of the deformation; 1 is meant for making all people from a single brain."""
LARGEST_LOAD_MM3 = 300_000.0
"""Largest lesion load of a case before its brain shrinks; above ATLAS, so that its largest loads are not rare."""
MASKS_LOOKED_AT = 12
"""Random masks considered per case; those nearest in size to the target load are used."""


@dataclass(frozen=True)
class Mix:
    """Composition of the simulated cases, as shares.

    Attributes:
        healthy: Cases without any lesion.
        twins: Healthy twins of cases with lesions: the same random numbers, but no lesion painted.
        drawn: Among cases with lesions, those with random shapes instead of real masks.
        smooth: Among those, cases whose lesions are smooth ellipsoids.
        kinds: Shares of `KINDS`, with sum 1.
        free: Cases in scanner space; the others lie in MNI space.
    """

    healthy: float = 0.23
    twins: float = 0.10
    drawn: float = 0.25
    smooth: float = 0.0
    kinds: tuple[float, float, float, float, float] = (0.42, 0.24, 0.08, 0.08, 0.18)
    free: float = 0.5


TRAINING_MIX = Mix(drawn=0.35, smooth=0.4, kinds=(0.54, 0.18, 0.12, 0.08, 0.08), free=0.15)
"""For training: mostly registered and skull-stripped, as `mapping segment` passes scans to a model, with failures and
whole heads."""
COMPARISON_MIX = Mix(kinds=(0.56, 0.18, 0.12, 0.1, 0.04), free=0.1)
"""For comparing models, by the frozen hold-out and audits: close to what `mapping segment` passes to a model."""
HELD_OUT_MIX = Mix()
"""For the cases on which a new model's rule is fitted and the model evaluated: scans as users may have them, which are
registered and skull-stripped before the model reads them."""


@dataclass(frozen=True, eq=False)
class Host:
    """A healthy brain and the region in which lesions may lie.

    Attributes:
        brain: The healthy brain.
        allowed: See `allowed_region`.
    """

    brain: Brain
    allowed: Region


@dataclass(frozen=True, eq=False)
class SimulationBank:
    """Brains and masks for simulating cases, on one device and at one spacing. It is a `CaseSource`.

    Attributes:
        hosts: At least one brain.
        masks: Real masks; if empty, all lesions are drawn.
        mix: Composition of the cases.
        scanner: One scanner for all cases, with day-to-day variation; None for any scanner.
    """

    hosts: Sequence[Host]
    masks: Sequence[RealMask]
    mix: Mix = TRAINING_MIX
    scanner: Scanner | None = None
    coarsen: int = 1
    """Downsampling factor: cases are simulated on the hosts' voxels and then averaged over blocks of this edge."""

    def draw(self, rng: np.random.Generator) -> CaseArrays:
        """A new case (see `draw_case`)."""
        return draw_case(self, rng)


def draw_case(bank: SimulationBank, rng: np.random.Generator) -> CaseArrays:
    """Draw a case as a network sees it: cropped to non-zero voxels and z-scored, as by `prepare_scan`.

    Args:
        bank: Brains and masks.
        rng: Source of all random numbers; the same state gives the same case on the same kind of device.

    Returns:
        The case; its id marks it as simulated and contains a random number.
    """
    draft = draft_case(bank, rng)
    return make_case(bank, draft if draft.shows_lesions else draft.twin, rng)


def draw_twins(bank: SimulationBank, rng: np.random.Generator) -> tuple[CaseArrays, CaseArrays]:
    """Draw a case and its healthy twin, identical except for the lesions.

    Args:
        bank: Brains and masks; its shares of healthy cases and twins are ignored.
        rng: See `draw_case`.

    Returns:
        The case with lesions and the one without. If no lesion could be placed, both are healthy.
    """
    draft = draft_case(replace(bank, mix=replace(bank.mix, healthy=0.0, twins=0.0)), rng)
    again = copy.deepcopy(rng)  # the twin must draw the same numbers
    return make_case(bank, draft, rng), make_case(bank, draft.twin, again)


@dataclass(frozen=True, eq=False)
class Draft:
    """Everything drawn for a case before it is simulated.

    Attributes:
        case_id: Name of the case.
        host: The brain.
        lesions: Region of the lesions; all False for none.
        look: Appearance of person, lesions and scanner.
        shows_lesions: Whether the lesions are painted; False for a healthy twin.
    """

    case_id: str
    host: Host
    lesions: Region
    look: Look
    shows_lesions: bool = True

    @property
    def twin(self) -> "Draft":
        """The same case without painted lesions."""
        return replace(self, look=replace(self.look, appearance=None))


def draft_case(bank: SimulationBank, rng: np.random.Generator) -> Draft:
    """Draw a case according to the bank's mix."""
    case_id = f"simulated-{int(rng.integers(2**32)):08x}"
    host = bank.hosts[int(rng.integers(len(bank.hosts)))]
    lot = rng.random()  # below `healthy`, then `twins`, then cases with lesions
    healthy = lot < bank.mix.healthy
    load_mm3 = 0.0 if healthy else atlas_load_mm3(float(rng.random()), LARGEST_LOAD_MM3)
    lesions = place_lesions(bank, host, load_mm3, rng)
    kind = KINDS[int(rng.choice(len(KINDS), p=bank.mix.kinds))]
    scanner = draw_any_scanner(rng) if bank.scanner is None else vary_scanner(bank.scanner, rng)
    look = draw_any_look(load_mm3, scanner, kind, DEFORMATION, rng, bank.mix.free)
    return Draft(case_id, host, lesions, look, healthy or lot >= bank.mix.healthy + bank.mix.twins)


def make_case(bank: SimulationBank, draft: Draft, rng: np.random.Generator) -> CaseArrays:
    """Simulate a drawn case. `rng` is the source of textures, shapes and noise."""
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
    """Crop a scan to its field of view, z-score it, and downsample it.

    Args:
        case_id: Name of the case.
        scan: Intensities.
        coverage: Fraction of each voxel that the scan shows; 0 outside the field of view or the brain mask.
        mask: The lesions.
        coarsen: See `SimulationBank`; a coarse voxel is lesion if at least half of it is (partial volume).
        unsure: Invisible lesion within `mask`, excluded from the loss; a coarse voxel is unsure if at least half of its
            lesion is. None for no such voxel.
    """
    inside = coverage > 0.5
    box = region_box(inside)
    coverage, mask, inside = coverage[box], mask[box], inside[box]
    hidden = torch.zeros_like(mask) if unsure is None else unsure[box]
    scan = scan[box] * coverage  # undo partial volume with the 0 around a brain mask
    values = scan[inside]
    # z-scores over the voxels inside, faded at the edge as in a scan cropped to non-zero voxels
    spread, mean = torch.std_mean(values, correction=0)
    scores = (scan - mean) / spread.clamp(min=1e-6) * (2 * coverage).clamp(max=1)
    if coarsen > 1:
        scores, share, hidden_share = (_block_means(v, coarsen) for v in (scores, mask.float(), hidden.float()))
        mask, hidden = share >= 0.5, 2 * hidden_share >= share
    voxels: Int16[np.ndarray, "n 3"] = (mask & ~hidden).nonzero().to(torch.int16).cpu().numpy()
    labels = mask.to(torch.uint8).masked_fill(mask & hidden, UNSURE)
    return CaseArrays(case_id, scores.half(), labels, voxels)


def _block_means(volume: Volume, edge: int) -> Float32[Tensor, "a b c"]:
    """Means over cubes of voxels. Incomplete cubes are padded with 0."""
    # `pad` takes the last axis first
    padding = [pad for length in reversed(volume.shape) for pad in (0, -length % edge)]
    return functional.avg_pool3d(functional.pad(volume, padding)[None, None], edge)[0, 0]


def place_lesions(bank: SimulationBank, host: Host, load_mm3: float, rng: np.random.Generator) -> Region:
    """Place lesions of about this load in a host, drawn or from real masks, but none for 0 mm3."""
    if load_mm3 <= 0:
        return torch.zeros_like(host.allowed)
    if not bank.masks or rng.random() < bank.mix.drawn:
        smooth = bank.mix.smooth > 0 and rng.random() < bank.mix.smooth
        return draw_lesions(host.brain, host.allowed, split_load(load_mm3, rng), rng, smooth=smooth)
    # a few at random, so that the same mask does not serve every load of its size
    chosen = rng.choice(len(bank.masks), min(MASKS_LOOKED_AT, len(bank.masks)), replace=False)
    return fit_masks(host.brain, host.allowed, [bank.masks[index] for index in chosen], load_mm3, rng)[0]


FORMAT = 3
"""Version of the bank's file. 1 kept outlying intensities, and 2 took scans outside MNI152 space as they are."""
FINER, FINEST_MM = 2, 1.0
"""Cases are simulated on voxels this many times finer along each axis, but no finer than this edge, and then averaged:
scans have finer voxels than the networks, and painting on coarse voxels would miss partial volume."""
FEWEST_READERS, MOST_READERS = 2, 12
"""Bounds of the number of reading threads, which otherwise equals torch's."""


def load_bank(
    sources: Sources, part: Part, spacing_mm: float, cache: Path, device: torch.device, mix: Mix = TRAINING_MIX
) -> SimulationBank:
    """Load the brains and masks of one split onto a device.

    The first call reads every brain and mask (a minute or two for a thousand masks) and writes them to one file in
    `cache`; later calls read that file. The template belongs to the training split, or to all splits if there are no
    brains.

    Args:
        sources: Brains and masks; see `find_sources`.
        part: The split; it is fixed, see `dataset.sources`.
        spacing_mm: Edge of the network's voxels.
        cache: Folder for the file.
        device: Device on which cases will be simulated.
        mix: Composition of the cases.

    Raises:
        CaseError: The split has no brain, or no mask although there are some.
        ImageError: A source cannot be read, or a mask lies outside MNI152 space.
        RunFolderError: The file in `cache` is damaged.
    """
    coarsen = _coarsen(spacing_mm)
    grid = atlas_grid(spacing_mm / coarsen)
    file = write_bank(sources, spacing_mm, cache)
    parts = {TEMPLATE: "training"} | dict(parts_of_people(sources.brains.people) if sources.brains else {})
    try:
        with file.open("rb") as opened, np.load(opened) as stored:  # numpy leaves a damaged file open
            names = [name for name in stored["brains"].tolist() if parts[name] == part or sources.brains is None]
            hosts = _Hosts([_read_host(stored, name, grid, device) for name in names])
            masks = list(_masks(stored, part, device)) if sources.masks else []
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise RunFolderError(f"{file}: cannot be read ({error}); delete it and rerun the command") from error
    if not hosts or (sources.masks and not masks):
        raise CaseError(f"no {'masks' if hosts else 'brains'} in the {part} split; give more of them")
    return SimulationBank(hosts, masks, mix, coarsen=coarsen)


def write_bank(sources: Sources, spacing_mm: float, cache: Path) -> Path:
    """Write the bank's file with all splits for a network's voxel size if it is missing, and return its path."""
    grid = atlas_grid(spacing_mm / _coarsen(spacing_mm))
    identity = {
        "format": FORMAT,
        "spacing_mm": grid.spacing_mm,
        "brains": sources.brains_fingerprint,
        "masks": sources.masks_fingerprint,
    }
    file = cache / f"simulation-{grid.spacing_mm:g}mm-{fingerprint(identity)}.npz"
    if not file.is_file():
        arrays: dict[str, Any] = _stored_brains(sources, grid) | _stored_masks(sources, grid)
        with written_whole(file) as unfinished:
            np.savez_compressed(unfinished, **arrays)
    return file


def _readers() -> int:
    return min(max(torch.get_num_threads(), FEWEST_READERS), MOST_READERS)


def _coarsen(spacing_mm: float) -> int:
    return FINER if spacing_mm / FINER >= FINEST_MM else 1


def _stored_brains(sources: Sources, grid: Grid) -> dict[str, np.ndarray]:
    readers: dict[str, Callable[[], Brain]] = {TEMPLATE: partial(read_template, grid)}
    for name, path in (sources.brains.scans if sources.brains else {}).items():
        readers[name] = partial(read_brain, path, grid)
    arrays = {"brains": np.array(list(readers))}
    with ThreadPoolExecutor(_readers()) as pool:
        brains = pool.map(lambda read: read(), readers.values())
        read = list(track(brains, f"Reading brains at {grid.spacing_mm:g} mm", len(readers)))
    for name, brain in zip(readers, read, strict=True):
        # half precision and 255 steps keep the file of hundreds of brains small
        arrays[f"{name}/t1"] = brain.t1.half().numpy()
        arrays[f"{name}/tissues"] = (torch.stack([brain.grey, brain.white]) * 255).round().to(torch.uint8).numpy()
        arrays[f"{name}/corner"] = np.array([side.start for side in brain.box])
    return arrays


@dataclass(frozen=True, eq=False)
class _Hosts(Sequence[Host]):
    """Brains that are built on first use, which takes a second each. Few may ever be used."""

    builders: list[Callable[[], Host]]
    built: dict[int, Host] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.builders)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        if index not in self.built:
            self.built[index] = self.builders[index]()
        return self.built[index]


def _read_host(stored: Mapping[str, Any], name: str, grid: Grid, device: torch.device) -> Callable[[], Host]:
    """Read a brain, and return a function that builds it."""
    t1, tissues, corner = (stored[f"{name}/{what}"] for what in ("t1", "tissues", "corner"))
    return partial(_host, t1, tissues, corner.tolist(), grid, device)


def _host(t1: np.ndarray, tissues: np.ndarray, corner: Sequence[int], grid: Grid, device: torch.device) -> Host:
    x, y, z = (slice(low, low + length) for low, length in zip(corner, t1.shape, strict=True))
    whole, maps = torch.zeros(grid.shape), torch.zeros(2, *grid.shape)
    whole[x, y, z] = torch.from_numpy(t1).float()
    maps[:, x, y, z] = torch.from_numpy(tissues).float() / 255
    brain = build_brain(whole.to(device), maps.to(device), grid)
    return Host(brain, allowed_region(brain))


def _stored_masks(sources: Sources, grid: Grid) -> dict[str, np.ndarray]:
    if sources.lesions is None:
        return {}
    folder = sources.lesions

    def prepare(path: Path) -> tuple[RealMask, str]:
        mask = coarsen_mask(read_mask(path, folder), grid)
        if mask is None:
            raise ImageError(f"{path}: lies outside MNI152 space; register it, or remove it from the masks")
        return mask, sha256(path)

    with ThreadPoolExecutor(_readers()) as pool:
        made = pool.map(prepare, sources.masks)
        read = list(track(made, f"Reading masks at {grid.spacing_mm:g} mm", len(sources.masks)))
    return {
        "mask_names": np.array([mask.name for mask, _ in read]),
        "mask_sha256": np.array([digest for _, digest in read]),
        "mask_shapes": np.array([mask.voxels.shape for mask, _ in read]),
        "mask_affines": np.stack([mask.affine for mask, _ in read]),
        "mask_volumes_mm3": np.array([mask.volume_mm3 for mask, _ in read]),
        "mask_centres_mm": np.stack([mask.centre_mm for mask, _ in read]),
        "mask_voxels": np.concatenate([mask.voxels.numpy().ravel() for mask, _ in read]),
    }


def _masks(stored: Mapping[str, Any], part: Part, device: torch.device) -> Iterator[RealMask]:
    shapes, voxels = stored["mask_shapes"], torch.from_numpy(stored["mask_voxels"])
    # masks of different shapes are stored end to end in one array
    pieces = torch.split(voxels, shapes.prod(axis=1).tolist())
    names, digests, affines, volumes, centres = (
        stored[f"mask_{what}"] for what in ("names", "sha256", "affines", "volumes_mm3", "centres_mm")
    )
    for index, piece in enumerate(pieces):
        if part_of_mask(str(digests[index])) == part:  # by content, so that a renamed mask stays in its split
            cut = piece.clone().view(*shapes[index].tolist()).to(device)
            yield RealMask(str(names[index]), cut, affines[index], float(volumes[index]), centres[index])
