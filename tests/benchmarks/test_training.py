"""What `python -m benchmarks training` measures and says; how fast anything is, nobody asks here."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bench_command import run_bench
from benchmarks import training
from benchmarks.commands import BenchError, Cost, Line
from benchmarks.nnunet_training import EPOCH_LINE
from benchmarks.training import (
    OUR_EPOCH_LINE,
    MeasuredTraining,
    Training,
    TrainingResult,
    bench_training,
    describe_training,
    epoch_seconds,
    join,
)
from benchmarks.training_settings import SETTINGS, Setting, Way
from benchmarks.training_steps import PARTS, StepFacts
from mapping_stroke.files import write_json
from phantoms import write_phantoms
from training_jobs import TASK, write_programs

FACTS = StepFacts("bfloat16", dict.fromkeys(PARTS, 0.1), 4e9, 2e10, 1e9, 1e10)
SMALL = Setting({"plain U-Net": TASK}, (Way("ours, default"), Way("ours, compiled", compiled=True)), 3)


def test_an_epoch_lasts_from_one_line_to_the_next() -> None:
    theirs = [(1.0, "2026-11-22 21:30:43.66: Epoch 0 \n"), (2.0, "... Epoch time: 1 s"), (3.5, "21:30:44.1: Epoch 1 ")]
    ours = [(1.0, "default, fold 0: epoch 1/3, loss +0.613"), (2.0, "default, fold 0: epoch 2/3, loss +0.216")]
    assert epoch_seconds([Line(*line) for line in theirs], EPOCH_LINE) == [2.5]
    assert epoch_seconds([Line(*line) for line in ours], OUR_EPOCH_LINE) == [1.0]


def test_repeats_of_one_way_are_joined_by_their_largest_peaks() -> None:
    first, second = (
        MeasuredTraining("a", (1.0,), 5.0, {"allocated": 1.0}),
        MeasuredTraining("a", (3.0,), 4.0, {"allocated": 2.0}),
    )
    assert join(first, second) == MeasuredTraining("a", (1.0, 3.0), 5.0, {"allocated": 2.0})
    assert join(first, second).steps_per_s(10) == 5.0


def stand_in_for_commands(monkeypatch: pytest.MonkeyPatch, epochs: int = TASK.epochs) -> list[str]:
    """Small trainings, and commands that say what the real ones say: an epoch of nnU-Net takes 3 s, one of ours 1 s."""
    called: list[str] = []

    def follow(command: Sequence[str], environment: Mapping[str, str] | None = None) -> tuple[Cost, tuple[Line, ...]]:
        called.append(Path(command[-1]).parent.name)
        theirs = "our_training" not in " ".join(command)
        lines = [f": Epoch {number}" if theirs else f": epoch {number + 1}/{epochs}," for number in range(epochs)]
        return Cost(9.0, 2e9 if theirs else 1e9), tuple(
            Line((3.0 if theirs else 1.0) * (number + 1), line) for number, line in enumerate(lines)
        )

    def run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Cost:
        if "simulate" in command:
            write_phantoms(Path(command[command.index("simulate") + 1]), 3, 0)
        if "benchmarks.training_steps" in command:
            write_json(Path(command[-1]), FACTS.__dict__)
        return Cost(1.0, 1.0)

    monkeypatch.setitem(SETTINGS, "cpu", SMALL)
    monkeypatch.setattr(training, "follow_command", follow)
    monkeypatch.setattr(training, "run_command", run)
    monkeypatch.setattr(training, "nnunet_versions", lambda nnunet: "nnU-Net: nnunetv2 2")
    return called


def test_all_ways_train_in_turns_and_the_first_and_last_epochs_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = stand_in_for_commands(monkeypatch)
    result = bench_training(Training(write_programs(tmp_path / "bin"), repeats=2))
    assert called == [
        *("0-nnunet", "0-ours-default", "0-ours-compiled"),
        *("1-nnunet", "1-ours-default", "1-ours-compiled"),
    ]
    theirs, ours, _ = result.trainings["plain U-Net"]
    assert (theirs.epochs_s, ours.epochs_s) == ((3.0,) * 4, (1.0,) * 4)
    assert result.steps == {"plain U-Net": FACTS}


def test_without_nnunet_only_ours_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in_for_commands(monkeypatch)
    result = bench_training(Training())
    assert [each.way for each in result.trainings["plain U-Net"]] == [way.name for way in SMALL.ways]
    text = describe_training(result, Training(), "python -m benchmarks training")
    assert "| ours, default | 3 | 1.00 s | 1.00 s |  | 1000 MB |  |" in text


def test_a_program_that_tells_of_other_epochs_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in_for_commands(monkeypatch, epochs=2)
    with pytest.raises(BenchError, match="reported 2 epochs, expected 4; is it another version"):
        bench_training(Training())


def test_a_training_without_epochs_in_its_middle_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    short = replace(SMALL, tasks={"plain U-Net": replace(TASK, epochs=3)})
    monkeypatch.setitem(SETTINGS, "cpu", short)
    with pytest.raises(BenchError, match="shorter than 4 epochs"):
        bench_training(Training())


def test_ratios_shares_and_the_floor_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SETTINGS, "cpu", SMALL)
    courses = (MeasuredTraining("nnunet", (6.0, 6.0), 2e9, {}), MeasuredTraining("ours, default", (2.0, 1.0), 1e9, {}))
    result = TrainingResult({"plain U-Net": courses}, {"plain U-Net": FACTS}, "nnU-Net: nnunetv2 2")
    text = describe_training(result, Training(), "python -m benchmarks training --repeats 1")
    assert "Command: `python -m benchmarks training --repeats 1`." in text
    assert "| stock nnU-Net | 0.5 | 6.00 s | 6.00 s | **1.00** | 2000 MB | 1.00 |" in text
    assert "| ours, default | 2 | 1.00 s | 2.00 s | **4.00** | 1000 MB | 0.50 |" in text
    assert "| backward | 0.1000 | 20 % |" in text
    assert "4 GFLOP" in text
    assert "takes **2.5** times the larger" in text
    assert "| validation, checkpoint, pictures | 0.0000" not in text
    assert "its parts take 1.00 times a step" in text


def test_memory_of_a_gpu_gets_columns_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SETTINGS, "cuda", SMALL)
    gpu = {"allocated": 8e9, "reserved": 9e9}
    courses = (
        MeasuredTraining("nnunet", (6.0,), 2e9, gpu),
        MeasuredTraining("ours", (2.0,), 1e9, {"allocated": 4e9, "reserved": 5e9}),
    )
    result = TrainingResult({"plain U-Net": courses}, {"plain U-Net": FACTS}, "")
    text = describe_training(result, Training(device="cuda"), "command")
    assert "| peak GPU memory | reserved | GPU memory ratio |" in text
    assert "| 4.00 GB | 5.00 GB | 0.50 |" in text


def test_a_step_cannot_be_faster_than_its_operations_nor_its_bytes() -> None:
    assert FACTS.step_s == pytest.approx(0.5)
    assert FACTS.floor_s == pytest.approx(0.2)
    assert replace(FACTS, moved_bytes=4e9).floor_s == pytest.approx(0.4)


def test_every_setting_trains_both_networks_on_patches_that_fit() -> None:
    for setting in SETTINGS.values():
        assert [task.network.encoder for task in setting.tasks.values()] == ["plain", "residual"]
        assert all(task.size.patch == task.patch for task in setting.tasks.values())


def test_the_command_prints_and_writes_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    courses = (MeasuredTraining("ours, default", (2.0,), 1e9, {}),)
    result = TrainingResult({"plain U-Net": courses}, {"plain U-Net": FACTS}, "")
    monkeypatch.setattr(training, "bench_training", lambda config: result)
    assert run_bench(["training", "-o", str(tmp_path / "result.md")]) == 0
    text = (tmp_path / "result.md").read_text()
    assert text in capsys.readouterr().out
    assert "Command: `python -m benchmarks training --repeats 1 --device cpu`." in text
