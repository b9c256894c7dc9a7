"""Simulated cases that are drawn once and kept as arrays: where drawing one takes as long as learning from it."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from mapping_stroke.console import track
from mapping_stroke.dataset.arrays import CaseArrays, has_arrays, read_all_arrays, write_arrays
from mapping_stroke.dataset.simulate.stream import DEFAULT_MIX, Mix
from mapping_stroke.experiment.jobs import run_in_jobs
from mapping_stroke.experiment.simulation_bank import load_bank
from mapping_stroke.experiment.simulation_tables import Sources
from mapping_stroke.experiment.stopping import StopRequest, listening


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
