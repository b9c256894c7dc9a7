"""A ring of simulated cases on disk: a low-priority process makes them, and the training uses them up."""

import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess
from pathlib import Path

import numpy as np
import torch

from mapping_stroke.dataset.arrays import CaseArrays, read_arrays, write_arrays
from mapping_stroke.dataset.sources import CaseSource
from mapping_stroke.errors import Stopped, TrainingError
from mapping_stroke.processes import StopRequest, begin_job, listening
from mapping_stroke.simulation.bank import load_bank
from mapping_stroke.simulation.cohort import Sources
from mapping_stroke.training.supply import MOST_USES, Memory, fewest_ready

BETWEEN_LOOKS_S = 0.2
_LAST = "_lesion.npy"
"""The file that `write_arrays` writes last: a case that has it is complete."""


@dataclass(frozen=True)
class Ring:
    """The cases of a ring, and their folder.

    Attributes:
        folder: Folder of their arrays.
        size: Number of cases in the folder at a time.
        sources: Brains and masks.
        cache: See `load_bank`.
        spacing_mm: Edge of the network's voxels.
        seed: Case `i` is drawn from (*seed, i).
        uses: Patches cut from a case before it is removed.
    """

    folder: Path
    size: int
    sources: Sources
    cache: Path
    spacing_mm: float
    seed: tuple[int, ...]
    uses: int = MOST_USES

    @property
    def present(self) -> list[str]:
        """Names of the cases in the folder, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(
            name.removesuffix(_LAST)
            for name in os.listdir(self.folder)  # noqa: PTH208 - called for every patch; three times as fast
            if name.endswith(_LAST) and not name.startswith(".")
        )


@dataclass(frozen=True, eq=False)
class RingSupply:
    """A `Supply` of the cases of a ring; after `Ring.uses` patches a case is removed, and the producer makes another.

    Attributes:
        ring: The ring.
        memory: Number of uses and hardness of each case; part of the training's state.
        producer: Process that makes new cases; None for none.
    """

    ring: Ring
    memory: Memory
    producer: SpawnProcess | None = None

    def is_ready(self) -> bool:
        """Whether a quarter of the ring is filled; raises `TrainingError` if not and the producer has ended."""
        present = self.ring.present
        self.memory.forget_all_but(present)
        if present:
            # a resumed training must not reuse the number of a case made meanwhile
            self.memory.made = max(self.memory.made, _number(present[-1]) + 1)
        if len(present) >= fewest_ready(self.ring.size):
            return True
        if self.producer is None or not self.producer.is_alive():
            raise TrainingError(
                f"{self.ring.folder}: the process that makes cases has ended; fix the problem shown above and rerun "
                "the command"
            )
        return False

    def draw(self, rng: np.random.Generator) -> CaseArrays:
        """A random case of the ring, all equally likely."""
        present = self.ring.present
        return self._use(present[int(rng.integers(len(present)))])

    def draw_hard(self, rng: np.random.Generator) -> CaseArrays:
        """A random one of the hardest tenth of the cases used before; any case if none was."""
        present = self.ring.present
        hardest = self.memory.hardest(present)
        return self._use(hardest[int(rng.integers(len(hardest)))])

    def note(self, case_ids: Sequence[str], hardness: Sequence[float]) -> None:
        """Record the hardness of the last patch of each case."""
        self.memory.note(case_ids, hardness)

    def _use(self, name: str) -> CaseArrays:
        case = read_arrays(self.ring.folder, name)
        if self.memory.count_use(name, self.ring.uses):
            # copied, since the arrays are mapped from the files to be removed
            case = CaseArrays(name, case.scan.clone(), case.mask.clone(), case.lesion_voxels.copy())
            self._remove(name)
        return case

    def _remove(self, name: str) -> None:
        for part in ("lesion", "mask", "scan"):  # the file that marks a complete case goes first
            (self.ring.folder / f"{name}_{part}.npy").unlink(missing_ok=True)
        self.memory.forget(name)


@contextmanager
def producing(ring: Ring, made: int) -> Iterator[SpawnProcess]:
    """Run a low-priority process that keeps a ring full, counting cases from `made`; it ends with the block."""
    # spawned, since a forked process may inherit locked threads of torch
    producer = multiprocessing.get_context("spawn").Process(target=_produce_as_job, args=(ring, made), daemon=True)
    producer.start()
    try:
        yield producer
    finally:
        producer.terminate()
        producer.join()


def produce(ring: Ring, source: CaseSource, made: int, stop: StopRequest) -> None:
    """Make cases whenever the ring is not full, until a request to stop; no number is used twice.

    Args:
        ring: The ring to fill.
        source: Source of the cases.
        made: Number of cases made before.
        stop: Polled between cases for a request to stop.

    Raises:
        Stopped: On request.
    """
    number = max([made, *(_number(name) + 1 for name in ring.present)])
    while True:
        stop.check()
        if len(ring.present) >= ring.size:
            time.sleep(BETWEEN_LOOKS_S)
            continue
        case = source.draw(np.random.default_rng([*ring.seed, number]))
        write_arrays(ring.folder, _name(number), case.scan.cpu().float().numpy(), case.mask.cpu().numpy())
        number += 1


def _produce_as_job(ring: Ring, made: int) -> None:
    begin_job(1)
    _lower_priority()
    try:
        with listening() as stop:
            bank = load_bank(ring.sources, "training", ring.spacing_mm, ring.cache, torch.device("cpu"))
            produce(ring, bank, made, stop)
    except Stopped:
        return


def _lower_priority() -> None:
    """Yield the processor to the training whenever it wants it."""
    if hasattr(os, "nice"):
        os.nice(19)
    if hasattr(os, "SCHED_IDLE"):  # the training itself may run at the lowest nice level
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _name(number: int) -> str:
    return f"case-{number:08d}"


def _number(name: str) -> int:
    return int(name.removeprefix("case-"))
