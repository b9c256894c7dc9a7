"""A training step taken part by part, on networks of a few hundred numbers."""

from pathlib import Path

import pytest

from benchmarks import training_steps
from benchmarks.training_steps import PARTS, measure_steps
from training_jobs import TASK, phantom_job


def test_each_part_is_timed_and_operations_and_bytes_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_steps, "COPIED_VALUES", 1000)
    facts = measure_steps(phantom_job(tmp_path))
    assert tuple(facts.seconds) == PARTS
    assert min(facts.seconds.values()) > 0
    assert facts.flop == 3 * 2 * TASK.network.forward_flop(TASK.patch)
    assert facts.flop_per_s > 0
    fine, coarse = 8**3, 4**3
    stem, down, up, joined, heads = fine * (1 + 4), fine * 4 + coarse * 8, coarse * 8 + fine * 4, fine * 12, fine * 6
    value_bytes = 2 if facts.precision == "bfloat16" else 4
    assert facts.moved_bytes == 3 * 2 * value_bytes * (stem + down + up + joined + heads)
