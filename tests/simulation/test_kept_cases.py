from pathlib import Path

import pytest
import torch

from mapping_stroke.processes import StopRequest
from mapping_stroke.simulation.cohort import Sources
from mapping_stroke.simulation.held_out import KeptCases, keep_cases

CPU = torch.device("cpu")


def kept(folder: Path, count: int, sources: str = "sources") -> KeptCases:
    return KeptCases(folder / "cases", Sources(), folder / sources, 12.0, count, (0, 5))


def test_cases_are_drawn_once_and_a_larger_number_begins_with_the_smaller(tmp_path: Path) -> None:
    few, more = kept(tmp_path, 2), kept(tmp_path, 3)
    keep_cases(few, CPU, 1, StopRequest())
    first = few.read()
    written = {path: path.stat().st_mtime_ns for path in few.folder.iterdir()}
    keep_cases(more, CPU, 1, StopRequest())
    assert more.missing == []
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert all(torch.equal(one.scan, other.scan) for one, other in zip(first, more.read(), strict=False))
    case = more.read()[2]
    assert case.scan.shape == case.mask.shape
    assert len(case.lesion_voxels) == int(case.mask.sum())


@pytest.mark.slow
def test_processes_draw_the_same_cases_as_one(tmp_path: Path) -> None:
    alone, shared = (kept(tmp_path / name, 3, "../sources") for name in ("alone", "shared"))
    keep_cases(alone, CPU, 1, StopRequest())
    keep_cases(shared, CPU, 2, StopRequest())
    for one, other in zip(alone.read(), shared.read(), strict=True):
        assert torch.equal(one.scan, other.scan)
        assert torch.equal(one.mask, other.mask)
