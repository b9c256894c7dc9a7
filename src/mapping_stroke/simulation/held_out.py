"""Simulated cases stored on disk: held-out ones for evaluation, and reusable ones for training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from mapping_stroke.console import track
from mapping_stroke.dataset.arrays import CaseArrays, has_arrays, read_all_arrays, write_arrays
from mapping_stroke.dataset.sources import parts_of_people
from mapping_stroke.images.image import write_image
from mapping_stroke.names import Part
from mapping_stroke.processes import StopRequest, listening, run_in_jobs
from mapping_stroke.simulation.bank import HELD_OUT_MIX, SimulationBank, load_bank
from mapping_stroke.simulation.cohort import Sources

MakeCase = Callable[[int], CaseArrays]
"""Makes the case with a given number."""
SPACING_MM = 1.0
SEEDS: dict[Part, int] = {"validation": 3, "test": 4}


@dataclass(frozen=True)
class Request:
    """Held-out cases to write.

    Attributes:
        part: Split, `validation` or `test`; no other split has its people and masks.
        count: Number of cases; a larger set begins with the cases of a smaller one.
        seed: Seed of the cases.
    """

    part: Part
    count: int
    seed: int = 0


@dataclass(frozen=True)
class HeldOut:
    """Held-out cases, which no training has seen.

    Attributes:
        cohort: Folder of scans and masks.
        healthy: Real scans of the same people, without lesions; none if the template is the only brain.
    """

    cohort: Path
    healthy: tuple[Path, ...]


def write_held_out(folder: Path, sources: Sources, request: Request, cache: Path, device: torch.device) -> HeldOut:
    """Write the missing held-out cases of a split.

    Args:
        folder: Folder of `<part>-<number>_T1w.nii.gz` and `..._mask.nii.gz`.
        sources: Brains and masks.
        request: The cases.
        cache: See `load_bank`.
        device: Device for the simulation.
    """
    part, seed = request.part, (request.seed, SEEDS[request.part])

    def bank() -> SimulationBank:
        return load_bank(sources, part, SPACING_MM, cache, device, HELD_OUT_MIX)

    write_drawn(folder, part, request.count, bank, seed)
    brains = sources.brains
    parts = {} if brains is None else parts_of_people(brains.people)
    scans = {} if brains is None else brains.scans
    return HeldOut(folder, tuple(path for name, path in scans.items() if parts[name] == part))


def write_drawn(folder: Path, name: str, count: int, bank: Callable[[], SimulationBank], seed: Sequence[int]) -> None:
    """Write the missing cases drawn from a bank, as `<name>-<number>`.

    Args:
        folder: Folder of the cases.
        name: Prefix of their names.
        count: Number of cases; a larger set begins with the cases of a smaller one.
        bank: Returns the bank, at `SPACING_MM`; called only if a case is missing.
        seed: Seed of the cases.
    """
    write_missing(folder, name, count, lambda: _drawing(bank(), seed))


def write_missing(folder: Path, name: str, count: int, begin: Callable[[], MakeCase]) -> None:
    """Write the missing cases, as `<name>-<number>`.

    Args:
        folder: Folder of the cases.
        name: Prefix of their names.
        count: Number of cases.
        begin: Called only if a case is missing; returns the function that makes the cases, at `SPACING_MM`.
    """
    missing = [number for number in range(count) if not mask_of(folder, name, number).is_file()]
    if missing:
        make = begin()
        for number in track(missing, f"Simulating cases for {name}", len(missing)):
            _write_case(folder, name, number, make(number))


def mask_of(folder: Path, name: str, number: int) -> Path:
    """Path of a case's mask."""
    return folder / f"{name}-{number:03d}_mask.nii.gz"


def scan_of(folder: Path, name: str, number: int) -> Path:
    """Path of a case's scan."""
    return folder / f"{name}-{number:03d}_T1w.nii.gz"


def _drawing(bank: SimulationBank, seed: Sequence[int]) -> MakeCase:
    return lambda number: bank.draw(np.random.default_rng([*seed, number]))


def _write_case(folder: Path, name: str, number: int, case: CaseArrays) -> None:
    """Write scan and mask. The mask comes last, so a case that has one is complete."""
    affine = np.diag([SPACING_MM] * 3 + [1.0])
    # centred at 0, since cropping has discarded the position
    affine[:3, 3] = [-SPACING_MM * (length - 1) / 2 for length in case.scan.shape]
    write_image(scan_of(folder, name, number), _stored(case), affine)
    write_image(mask_of(folder, name, number), case.mask.cpu().numpy().astype(bool), affine)


def _stored(case: CaseArrays) -> UInt8[np.ndarray, "x y z"]:
    """Quantise z-scores as a scanner stores intensities: 1 to 255 inside the scan, 0 elsewhere."""
    scores = case.scan.float().cpu().numpy()
    inside = scores != 0
    low, high = scores[inside].min(), scores[inside].max()
    return np.where(inside, 1 + np.round(254 * (scores - low) / max(high - low, 1e-6)), 0).astype(np.uint8)


@dataclass(frozen=True)
class KeptCases:
    """Stored cases of the training split.

    Attributes:
        folder: Folder of their arrays.
        sources: Brains and masks.
        cache: See `load_bank`.
        spacing_mm: Edge of the network's voxels.
        count: Number of cases; a larger set begins with the cases of a smaller one.
        seed: Case `i` is drawn from (*seed, i).
    """

    folder: Path
    sources: Sources
    cache: Path
    spacing_mm: float
    count: int
    seed: tuple[int, ...]

    def name(self, number: int) -> str:
        """Name of a case's arrays."""
        return f"case-{number:05d}"

    @property
    def missing(self) -> list[int]:
        """Numbers of the missing cases."""
        return [number for number in range(self.count) if not has_arrays(self.folder, self.name(number))]

    def read(self) -> list[CaseArrays]:
        """Map all cases into memory. Raises `RunFolderError` if one is missing or damaged."""
        return list(read_all_arrays(self.folder, [self.name(number) for number in range(self.count)]).values())


def keep_cases(kept: KeptCases, device: torch.device, jobs: int, stop: StopRequest) -> None:
    """Draw and write the missing cases, in several processes.

    Args:
        kept: The cases.
        device: Device for the simulation.
        jobs: Number of processes.
        stop: Checked between cases.

    Raises:
        MappingError: See `load_bank`, `run_in_jobs`.
        Stopped: On request; finished cases are kept.
    """
    missing = kept.missing
    if not missing:
        return
    shares = [missing[first::jobs] for first in range(min(jobs, len(missing)))]
    if len(shares) == 1:
        _draw(kept, device, missing, stop)
    else:
        run_in_jobs([partial(_draw_as_job, kept, device, share) for share in shares], jobs, stop)


def _draw_as_job(kept: KeptCases, device: torch.device, numbers: list[int]) -> None:
    with listening() as stop:
        _draw(kept, device, numbers, stop)


def _draw(kept: KeptCases, device: torch.device, numbers: list[int], stop: StopRequest) -> None:
    bank = load_bank(kept.sources, "training", kept.spacing_mm, kept.cache, device)
    for number in track(numbers, "Simulating cases for training", len(numbers)):
        stop.check()
        case = bank.draw(np.random.default_rng([*kept.seed, number]))
        write_arrays(kept.folder, kept.name(number), case.scan.cpu().float().numpy(), case.mask.cpu().numpy())
