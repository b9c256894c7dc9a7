"""`python -m benchmarks candidates`: a bound that can be checked by eye."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.__main__ import BENCHMARKS
from benchmarks.candidates import find_bound
from mapping_stroke import cli
from mapping_stroke.models.judge import StoredMap


def write_map(path: Path) -> None:
    """A lesion of 8 voxels of which the map sees 2, one false candidate of 4 voxels, and a lesion that it misses."""
    probability = np.zeros((20, 20, 20), np.float32)
    reference = np.zeros(probability.shape, np.bool_)
    reference[2:4, 2:4, 2:4] = True
    probability[2, 2, 2:4] = 0.3
    probability[10, 10, 10:14] = 0.9
    reference[18, 18, 18:20] = True
    StoredMap(probability, reference, (1.0, 1.0, 1.0), 8.0).write(path)


def test_the_bound_counts_what_candidates_reach(tmp_path: Path) -> None:
    write_map(tmp_path / "one.npz")
    bound = find_bound(tmp_path / "one.npz")
    assert bound is not None
    assert bound.load_ml == pytest.approx(0.08)
    assert (bound.dice, bound.candidates, bound.found) == (0.0, 2, True)
    assert bound.outlined == pytest.approx(2 * 8 / (8 + 4 + 10))
    assert bound.rejected == pytest.approx(2 * 8 / (8 + 10))


def test_a_scan_without_lesion_has_none(tmp_path: Path) -> None:
    StoredMap(np.ones((4, 4, 4), np.float32), None, (1.0, 1.0, 1.0), 1.0).write(tmp_path / "healthy.npz")
    assert find_bound(tmp_path / "healthy.npz") is None


def test_the_command_writes_the_means(tmp_path: Path) -> None:
    write_map(tmp_path / "one.npz")
    result = tmp_path / "result.md"
    assert cli.main(["candidates", str(tmp_path), "-o", str(result)], BENCHMARKS) == 0
    assert "| 0 to 1 mL | 1 | 1 | 2.0 | 0.000 | 0.727 | 0.889 |" in result.read_text()


def test_a_folder_without_maps_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["candidates", str(tmp_path)], BENCHMARKS) == 2
    assert "holds no maps" in capsys.readouterr().err
