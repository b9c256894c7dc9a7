"""The bank that simulated cases are made from, read from files once and kept as one file."""

import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mapping_stroke.console import track
from mapping_stroke.dataset.grid import Grid, atlas_grid
from mapping_stroke.dataset.simulate.anatomy import Brain, build_brain
from mapping_stroke.dataset.simulate.parts import Part, part_of_mask, parts_of_people
from mapping_stroke.dataset.simulate.real_masks import RealMask, coarsen_mask
from mapping_stroke.dataset.simulate.shapes import allowed_region
from mapping_stroke.dataset.simulate.stream import DEFAULT_MIX, Host, Mix, SimulationBank
from mapping_stroke.errors import CaseError, ImageError, RunFolderError
from mapping_stroke.experiment.simulation_sources import read_brain, read_mask, read_template
from mapping_stroke.experiment.simulation_tables import TEMPLATE, Sources
from mapping_stroke.files import fingerprint, sha256, written_whole

FORMAT = 3
"""Raised whenever the bank's file holds something else; until 2, outlying intensities were kept, until 3, scans that do
not lie in MNI152 space were taken as they are."""
FINER, FINEST_MM = 2, 1.0
"""Cases are made on voxels so many times finer along each axis, but none finer than this edge, and then averaged: scans
have smaller voxels than networks read, and lesions painted in large ones look otherwise."""
FEWEST_READERS, MOST_READERS = 2, 12
"""Threads that read and unpack files: as many as torch has, within these."""


def load_bank(
    sources: Sources, part: Part, spacing_mm: float, cache: Path, device: torch.device, mix: Mix = DEFAULT_MIX
) -> SimulationBank:
    """What simulated cases of one part are made from, on a device.

    The first call reads every brain and mask (a minute or two for a thousand masks) and writes them to one file in
    `cache`; later ones read that. The template is for training only, or for every part where there are no brains.

    Args:
        sources: Brains and masks; see `find_sources`.
        part: Whose brains and which masks; the split is fixed, see `parts`.
        spacing_mm: Edge of the network's voxels.
        cache: Folder for the file.
        device: Where cases will be made.
        mix: Of what kinds.

    Raises:
        CaseError: No brain, or no mask although there are some, falls into the part.
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
        raise RunFolderError(f"{file}: cannot be read ({error}); delete it and run again") from error
    if not hosts or (sources.masks and not masks):
        raise CaseError(f"no {'masks' if hosts else 'brains'} for {part}: give more of them")
    return SimulationBank(hosts, masks, mix, coarsen=coarsen)


def write_bank(sources: Sources, spacing_mm: float, cache: Path) -> Path:
    """The bank's file with all parts, for a network's voxels; written unless it is there."""
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
        arrays[f"{name}/t1"] = brain.t1.half().numpy()
        arrays[f"{name}/tissues"] = (torch.stack([brain.grey, brain.white]) * 255).round().to(torch.uint8).numpy()
        arrays[f"{name}/corner"] = np.array([side.start for side in brain.box])
    return arrays


@dataclass(frozen=True, eq=False)
class _Hosts(Sequence[Host]):
    """Brains that are built, which takes a second, when they are first wanted: few may be."""

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
    """Read a brain; what is given back builds it."""
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
    pieces = torch.split(voxels, shapes.prod(axis=1).tolist())
    names, digests, affines, volumes, centres = (
        stored[f"mask_{what}"] for what in ("names", "sha256", "affines", "volumes_mm3", "centres_mm")
    )
    for index, piece in enumerate(pieces):
        if part_of_mask(str(digests[index])) == part:
            cut = piece.clone().view(*shapes[index].tolist()).to(device)
            yield RealMask(str(names[index]), cut, affines[index], float(volumes[index]), centres[index])
