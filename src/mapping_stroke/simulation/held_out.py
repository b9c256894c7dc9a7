"""Simulated cases kept on disk: held-out ones for judging, and drawn ones for training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from mapping_stroke.console import track
from mapping_stroke.dataset.arrays import CaseArrays, has_arrays, read_all_arrays, write_arrays
from mapping_stroke.dataset.sources import Part, parts_of_people
from mapping_stroke.images.image import write_image
from mapping_stroke.processes import StopRequest, listening, run_in_jobs
from mapping_stroke.simulation.bank import DEFAULT_MIX, Mix, SimulationBank, load_bank
from mapping_stroke.simulation.cohort import Sources

MakeCase = Callable[[int], CaseArrays]
"""Gives a case by its number."""
SPACING_MM = 1.0
SEEDS: dict[Part, int] = {"validation": 3, "test": 4}


@dataclass(frozen=True)
class Request:
    """Which cases are held out.

    Attributes:
        part: `validation` or `test`: people and masks that are in no other part.
        count: Cases; a larger number begins with the cases of a smaller one.
        seed: Decides the cases.
    """

    part: Part
    count: int
    seed: int = 0


@dataclass(frozen=True)
class HeldOut:
    """Cases that no training saw.

    Attributes:
        cohort: Folder of scans and masks.
        healthy: Real scans of the same people, without any lesion; none where the template is the only brain.
    """

    cohort: Path
    healthy: tuple[Path, ...]


def write_held_out(folder: Path, sources: Sources, request: Request, cache: Path, device: torch.device) -> HeldOut:
    """Write the held-out cases of a part that are not there yet.

    Args:
        folder: Where `<part>-<number>_T1w.nii.gz` and `..._mask.nii.gz` are kept.
        sources: Brains and masks.
        request: Which cases.
        cache: See `load_bank`.
        device: What simulates.
    """
    part, seed = request.part, (request.seed, SEEDS[request.part])
    write_drawn(folder, part, request.count, lambda: load_bank(sources, part, SPACING_MM, cache, device), seed)
    brains = sources.brains
    parts = {} if brains is None else parts_of_people(brains.people)
    scans = {} if brains is None else brains.scans
    return HeldOut(folder, tuple(path for name, path in scans.items() if parts[name] == part))


def write_drawn(folder: Path, name: str, count: int, bank: Callable[[], SimulationBank], seed: Sequence[int]) -> None:
    """Write those of some cases of a bank, as `<name>-<number>`, that are not there yet.

    Args:
        folder: Where.
        name: Of all of them.
        count: How many; a larger number begins with the cases of a smaller one.
        bank: Gives the bank, at `SPACING_MM`; called where a case is missing.
        seed: Decides the cases.
    """
    write_missing(folder, name, count, lambda: _drawing(bank(), seed))


def write_missing(folder: Path, name: str, count: int, begin: Callable[[], MakeCase]) -> None:
    """Write those of some cases, as `<name>-<number>`, that are not there yet.

    Args:
        folder: Where.
        name: Of all of them.
        count: How many.
        begin: Called where a case is missing; gives what makes a case, at `SPACING_MM`, by its number.
    """
    missing = [number for number in range(count) if not mask_of(folder, name, number).is_file()]
    if missing:
        make = begin()
        for number in track(missing, f"Simulating cases for {name}", len(missing)):
            _write_case(folder, name, number, make(number))


def mask_of(folder: Path, name: str, number: int) -> Path:
    """The mask of a written case."""
    return folder / f"{name}-{number:03d}_mask.nii.gz"


def scan_of(folder: Path, name: str, number: int) -> Path:
    """Its scan."""
    return folder / f"{name}-{number:03d}_T1w.nii.gz"


def _drawing(bank: SimulationBank, seed: Sequence[int]) -> MakeCase:
    return lambda number: bank.draw(np.random.default_rng([*seed, number]))


def _write_case(folder: Path, name: str, number: int, case: CaseArrays) -> None:
    """The mask comes last, so a case that has one is complete."""
    affine = np.diag([SPACING_MM] * 3 + [1.0])
    affine[:3, 3] = [-SPACING_MM * (length - 1) / 2 for length in case.scan.shape]
    write_image(scan_of(folder, name, number), _stored(case), affine)
    write_image(mask_of(folder, name, number), case.mask.cpu().numpy().astype(bool), affine)


def _stored(case: CaseArrays) -> UInt8[np.ndarray, "x y z"]:
    """Intensities as a scanner stores them: 1 to 255 in what was scanned, 0 elsewhere."""
    scores = case.scan.float().cpu().numpy()
    inside = scores != 0
    low, high = scores[inside].min(), scores[inside].max()
    return np.where(inside, 1 + np.round(254 * (scores - low) / max(high - low, 1e-6)), 0).astype(np.uint8)


@dataclass(frozen=True)
class KeptCases:
    """Which cases of the training part are kept, and where.

    Attributes:
        folder: For their arrays.
        sources: Brains and masks.
        cache: See `load_bank`.
        spacing_mm: Edge of the network's voxels.
        count: How many; a larger number begins with the cases of a smaller one.
        seed: Case `i` is drawn from (*seed, i).
        mix: Of what kinds.
    """

    folder: Path
    sources: Sources
    cache: Path
    spacing_mm: float
    count: int
    seed: tuple[int, ...]
    mix: Mix = DEFAULT_MIX

    def name(self, number: int) -> str:
        """Of the arrays of a case."""
        return f"case-{number:05d}"

    @property
    def missing(self) -> list[int]:
        """The numbers of those that are not there yet."""
        return [number for number in range(self.count) if not has_arrays(self.folder, self.name(number))]

    def read(self) -> list[CaseArrays]:
        """All of them, mapped into memory; raises `RunFolderError` where one is missing or damaged."""
        return list(read_all_arrays(self.folder, [self.name(number) for number in range(self.count)]).values())


def keep_cases(kept: KeptCases, device: torch.device, jobs: int, stop: StopRequest) -> None:
    """Draw and write the cases that are missing, in several processes.

    Args:
        kept: Which.
        device: What simulates.
        jobs: Processes.
        stop: Asked between cases whether to stop.

    Raises:
        MappingError: See `load_bank`, `run_in_jobs`.
        Stopped: When asked to; what is written stays.
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
    bank = load_bank(kept.sources, "training", kept.spacing_mm, kept.cache, device, kept.mix)
    for number in track(numbers, "Simulating cases for training", len(numbers)):
        stop.check()
        case = bank.draw(np.random.default_rng([*kept.seed, number]))
        write_arrays(kept.folder, kept.name(number), case.scan.cpu().float().numpy(), case.mask.cpu().numpy())
