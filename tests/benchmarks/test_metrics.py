"""`python -m benchmarks metrics`: its pairs, its table, what it refuses. What the programs say is asked elsewhere."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bench_command import run_bench
from benchmarks import metrics
from benchmarks.mask_pairs import make_pairs, write_pairs
from benchmarks.metrics import Agreement
from mapping_stroke.lesions import FACE_CONNECTED, FULLY_CONNECTED, find_lesions


def test_the_same_seed_gives_the_same_pairs(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        write_pairs(make_pairs(20, 0, seed=3), tmp_path / name)
    with np.load(tmp_path / "a.npz") as first, np.load(tmp_path / "b.npz") as again:
        assert list(first) == list(again)
        for name in first:
            np.testing.assert_array_equal(first[name], again[name])


def test_edge_cases_hold_what_their_names_say() -> None:
    pairs = {pair.name: pair for pair in make_pairs(0, 0)}
    assert not pairs["both empty"].prediction.any()
    assert not pairs["both empty"].reference.any()
    for name, by_faces, by_corners in (("touching by a corner", 2, 1), ("touching by a face", 1, 1)):
        lesions = pairs[name].reference  # the last of the four has the pair turned round
        assert (find_lesions(lesions, FACE_CONNECTED).count, find_lesions(lesions, FULLY_CONNECTED).count) == (
            by_faces,
            by_corners,
        )
    assert len({pair.spacing_mm for pair in make_pairs(0, 0)}) == 2


def test_the_largest_difference_counts_undefined_values() -> None:
    assert Agreement("p/m/x", (1.0, math.nan), (0.75, math.nan)).largest == 0.25
    assert Agreement("p/m/x", (1.0, 2.0), (1.0, math.nan)).largest == math.inf
    assert Agreement("p/m/x", (1.0, 2.0), (1.0, 2.5)).differing() == 1


def test_metrics_and_programs_are_listed_by_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(command: Sequence[str]) -> None:
        with np.load(command[2]) as arrays:
            pairs = len({name.split("_")[0] for name in arrays})
        values = {
            "atlas2022/volume_difference_vox/panoptica": [None] * (pairs - 1) + [1e9],
            "isles2026/matched_lesion_f1/MONAI": [None] * pairs,
        }
        Path(command[3]).write_text(json.dumps({"versions": {"monai": "1.6.1"}, "values": values}))

    monkeypatch.setattr(metrics, "run_command", answer)
    (tmp_path / "python").touch()
    assert run_bench(["metrics", "--programs", str(tmp_path), "--pairs", "1", "--large", "0"]) == 0
    told = capsys.readouterr().out
    assert "Command: `python -m benchmarks metrics --pairs 1 --large 0`." in told
    assert "monai 1.6.1" in told
    assert "| `volume_difference_vox` | panoptica | 1 | 1e+09 |" in told
    assert "above (not at) 0.25 count | 0 | 0 | up to nan |" in told


def test_a_folder_without_the_programs_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_bench(["metrics", "--programs", str(tmp_path), "--pairs", "0", "--large", "0"]) != 0
    assert "`make oracles` installs the programs" in capsys.readouterr().err
