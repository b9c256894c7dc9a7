"""Both programs trained by the commands that measure them; how fast or good they are, nobody asks here.

They need nnU-Net itself, in `.oracles` at the root of the checkout (`make oracles`).
"""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import quality
from benchmarks.quality import Quality, bench_quality
from benchmarks.training import Training, bench_training
from benchmarks.training_settings import SETTINGS, Setting, Way
from phantoms import write_phantoms
from training_jobs import RESIDUAL_TASK, TASK

pytestmark = pytest.mark.slow

PROGRAMS = Path(__file__).resolve().parents[2] / ".oracles" / "bin"


@pytest.fixture(autouse=True)
def oracle() -> None:
    if not (PROGRAMS / "python").exists():
        pytest.skip("no .oracles with the real nnU-Net at the root of the checkout; `make oracles` makes it")


def test_speed_and_memory_of_both_networks_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = {
        "plain U-Net": replace(TASK, patch=(16, 16, 16)),
        "residual U-Net": replace(RESIDUAL_TASK, patch=(16,) * 3),
    }
    monkeypatch.setitem(SETTINGS, "cpu", Setting(tasks, (Way("ours"),), 3))
    result = bench_training(Training(PROGRAMS))
    for theirs, ours in result.trainings.values():
        assert (len(theirs.epochs_s), len(ours.epochs_s)) == (2, 2)
    assert "nnunetv2 2" in result.versions


def test_both_programs_are_trained_and_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "TASK", replace(TASK, patch=(16, 16, 16), epochs=2))
    cohort = write_phantoms(tmp_path / "data", 6, 0)
    result = bench_quality(Quality(cohort, PROGRAMS, tmp_path / "work", seeds=1))
    assert [(run.program, len(run.scores["dice"])) for run in result.runs] == [("nnunet", 2), ("ours", 2)]
