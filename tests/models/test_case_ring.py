"""A ring of cases: each is used 25 times at most, none is given twice, and nobody waits for a dead producer."""

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.errors import Stopped, TrainingError
from mapping_stroke.models.case_ring import Ring, RingSupply, produce, producing
from mapping_stroke.processes import StopRequest
from mapping_stroke.simulation.bank import write_bank
from mapping_stroke.simulation.cohort import Sources
from mapping_stroke.training.supply import MOST_USES, Memory


def ring_in(folder: Path, size: int) -> Ring:
    return Ring(folder / "ring", size, Sources(), folder / "sources", 12.0, (0, 8))


class Numbers:
    """Cases of one voxel, whose value is the first number drawn; asks to stop after so many."""

    def __init__(self, stop: StopRequest, count: int) -> None:
        self.stop, self.left = stop, count

    def draw(self, rng: np.random.Generator) -> CaseArrays:
        self.left -= 1
        if self.left == 0:
            self.stop.by = "SIGTERM"
        scan = torch.full((1, 1, 1), float(rng.random()))
        return CaseArrays("any", scan.half(), torch.ones(1, 1, 1, dtype=torch.uint8), np.zeros((1, 3), np.int16))


def fill(ring: Ring, count: int, made: int = 0) -> None:
    """Make so many cases."""
    stop = StopRequest()
    with pytest.raises(Stopped, match="stopped by SIGTERM"):
        produce(ring, Numbers(stop, count), made, stop)


def test_every_case_is_used_25_times_and_then_removed(tmp_path: Path) -> None:
    ring, memory, uses = ring_in(tmp_path, 4), Memory(), dict[str, int]()
    fill(ring, 4)
    supply, rng = RingSupply(ring, memory), np.random.default_rng(0)
    for _ in range(4 * MOST_USES):
        case = supply.draw(rng)
        supply.note([case.case_id], [1.0])
        uses[case.case_id] = uses.get(case.case_id, 0) + 1
        assert case.scan.shape == (1, 1, 1)
    assert set(uses.values()) == {MOST_USES} == {25}
    assert list(ring.folder.iterdir()) == []
    assert (memory.uses, memory.hardness) == ({}, {})


def test_a_case_is_removed_after_as_many_uses_as_asked_for(tmp_path: Path) -> None:
    ring, memory = replace(ring_in(tmp_path, 3), uses=2), Memory()
    fill(ring, 3)
    supply, rng = RingSupply(ring, memory), np.random.default_rng(0)
    drawn = sorted(supply.draw(rng).case_id for _ in range(6))
    assert drawn == [name for name in ("case-00000000", "case-00000001", "case-00000002") for _ in range(2)]
    assert ring.present == []


def test_no_number_is_given_twice(tmp_path: Path) -> None:
    ring, memory = ring_in(tmp_path, 3), Memory()
    fill(ring, 3)
    values = {float(RingSupply(ring, memory).draw(np.random.default_rng(seed)).scan) for seed in range(20)}
    assert len(values) == 3
    supply = RingSupply(ring, memory)
    assert supply.is_ready()
    assert memory.made == 3
    for path in ring.folder.iterdir():
        path.unlink()
    fill(ring, 2, memory.made)
    assert ring.present == ["case-00000003", "case-00000004"]
    later = {float(supply.draw(np.random.default_rng(seed)).scan) for seed in range(20)}
    assert len(later) == 2
    assert later.isdisjoint(values)


def test_the_hardest_tenth_is_drawn_where_hard_cases_are_asked_for(tmp_path: Path) -> None:
    ring, memory = ring_in(tmp_path, 20), Memory()
    fill(ring, 20)
    supply, rng = RingSupply(ring, memory), np.random.default_rng(0)
    assert len({supply.draw_hard(rng).case_id for _ in range(40)}) > 10  # none is known yet
    for number, name in enumerate(ring.present):
        memory.uses[name] = 1
        supply.note([name], [float(number)])
    assert {supply.draw_hard(rng).case_id for _ in range(20)} == {"case-00000018", "case-00000019"}


def test_a_training_waits_for_a_quarter_of_the_ring_and_not_for_a_dead_producer(tmp_path: Path) -> None:
    ring = ring_in(tmp_path, 12)
    supply = RingSupply(ring, Memory({"case-gone": 3}))
    with pytest.raises(TrainingError, match=r"ring: the process that makes cases has ended"):
        supply.is_ready()
    assert supply.memory.uses == {}
    fill(ring, 3)
    assert supply.is_ready()


@pytest.mark.slow
def test_a_producer_fills_the_ring_makes_up_for_what_is_used_and_ends_when_asked(tmp_path: Path) -> None:
    ring, memory = ring_in(tmp_path, 3), Memory(made=5)
    write_bank(ring.sources, ring.spacing_mm, ring.cache)  # as the training does
    with producing(ring, memory.made) as producer:
        supply = RingSupply(ring, memory, producer)
        wait_for(ring, ["case-00000005", "case-00000006", "case-00000007"])
        assert supply.is_ready()
        if hasattr(os, "getpriority"):
            assert os.getpriority(os.PRIO_PROCESS, producer.pid or 0) == 19
        case = supply.draw(np.random.default_rng(0))
        assert len(case.lesion_voxels) == int(case.mask.sum())
        memory.uses["case-00000005"] = MOST_USES - 1
        supply._use("case-00000005")
        wait_for(ring, ["case-00000006", "case-00000007", "case-00000008"])
    assert producer.exitcode == 0, "it ends by itself when it is asked to"
    assert not list(ring.folder.glob(".*"))


def wait_for(ring: Ring, names: list[str]) -> None:
    deadline = time.monotonic() + 300
    while ring.present != names:
        assert time.monotonic() < deadline, ring.present
        time.sleep(0.05)
