"""Nothing is lost: a training that was stopped, killed or damaged ends with the weights of an undisturbed one."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import interrupted_training
from interrupted_training import signal_at, tiny_size
from mapping_stroke.cli import main
from mapping_stroke.run_folder import RunFolder
from mapping_stroke.training.checkpoint import NEWEST, PREVIOUS
from mapping_stroke.training.mixing import batch_loss
from mapping_stroke.training.schemes import SIZES
from phantoms import write_phantoms

pytestmark = pytest.mark.slow  # signals to this process: `make test-all` gives them a process of their own
STEPS = 4
Popen = subprocess.Popen[bytes]
TRAIN = ("--size", "tiny", "--schemes", "default", "--device", "cpu")
FILES = {"epochs.csv", "curves.png", "member.json", "recipe.json", "weights.safetensors"}


@pytest.fixture(scope="module")
def small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, "tiny", tiny_size(STEPS))
        yield


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, small: None) -> Path:
    """A run with folds and arrays, in which nothing is trained."""
    root = tmp_path_factory.mktemp("prepared")
    run = root / "run"
    assert main(["prepare", str(write_phantoms(root / "data", 4, 0)), "-o", str(run)]) == 0
    assert main(["folds", str(run), "--number", "2"]) == 0
    assert main(["train", str(run), "--size", "tiny", "--arrays-only"]) == 0
    return run


@pytest.fixture(scope="module")
def undisturbed(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, trained in one go."""
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    shutil.copytree(prepared, run)
    assert train(run) == 0
    return run


@pytest.fixture
def run(prepared: Path, tmp_path: Path) -> Path:
    shutil.copytree(prepared, tmp_path / "run")
    return tmp_path / "run"


def train(run: Path, *options: str) -> int:
    return main(["train", str(run), *TRAIN, *options])


def start(run: Path, *options: str, steps: int = STEPS, when: tuple[str, str, int] = ("none", "", 0)) -> Popen:
    """`mapping train` in a process of its own, its output in `log_of`."""
    script = [sys.executable, interrupted_training.__file__, str(steps), *map(str, when)]
    with log_of(run).open("w") as log:
        return subprocess.Popen([*script, "train", str(run), *TRAIN, *options], stdout=log, stderr=subprocess.STDOUT)


def log_of(run: Path) -> Path:
    return run.with_name("log.txt")


def member(run: Path, fold: int = 0) -> Path:
    return RunFolder(run).member("default", fold)


def assert_same(run: Path, other: Path, folds: tuple[int, ...] = (0,)) -> None:
    """The same weights and records, and no leftovers."""
    for fold in folds:
        one, two = member(run, fold), member(other, fold)
        assert {path.name for path in one.iterdir()} == FILES
        cards = [json.loads((folder / "member.json").read_text()) for folder in (one, two)]
        assert cards[0] == cards[1]
        assert numbers(one / "epochs.csv") == numbers(two / "epochs.csv")


def numbers(path: Path) -> list[list[str]]:
    """A table of epochs without its times."""
    with path.open(newline="") as file:
        return [[value for name, value in row.items() if "second" not in name] for row in csv.DictReader(file)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_saves_at_the_next_step_and_leaves_with_status_75(
    number: int, run: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        signal_at("in a step", STEPS + 2, number, patch.setattr)
        assert train(run, "--folds", "0") == 75
    assert signal.getsignal(number) == before
    told = capsys.readouterr().err
    assert (
        told == f"mapping: stopped by {signal.Signals(number).name}; all work is saved; rerun the command to resume\n"
    )
    assert json.loads((member(run) / "progress.json").read_text())["state"] == "stopped"
    assert train(run, "--folds", "0") == 0
    assert "resuming after epoch 1 and 2 steps" in capsys.readouterr().out
    assert_same(run, undisturbed)


def test_a_signal_before_the_first_step_ends_the_work_at_once(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    monkeypatch.setattr("mapping_stroke.stages.train.arrays_of", stop)
    assert train(run) == 75
    assert "stopped by SIGTERM; finished work is kept" in capsys.readouterr().err


def test_a_second_ctrl_c_does_not_wait_for_the_step(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        for _ in range(2):
            signal_at("in a step", 2, signal.SIGINT, patch.setattr)
        assert train(run, "--folds", "0") == 75
    assert not (member(run) / NEWEST).exists()


def test_killed_in_a_step_it_goes_on_with_the_same_numbers(
    run: Path, undisturbed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    killed = start(run, "--folds", "0", "--save-minutes", "0", when=("SIGKILL", "in a step", STEPS + 3))
    assert killed.wait(timeout=120) == -signal.SIGKILL, log_of(run).read_text()
    assert main(["status", str(run)]) == 0
    assert "stopped" in capsys.readouterr().out
    assert train(run, "--folds", "0") == 0
    assert "resuming after epoch 1 and 2 steps" in capsys.readouterr().out
    assert_same(run, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("save_minutes", "moment", "count"),
    [
        ("10", "in a step", 1),
        ("0", "in a step", STEPS),
        ("10", "in a step", 2 * STEPS),
        ("0", "in the validation", 2),
        ("10", "in the validation", 4),
        ("10", "after an epoch, before its checkpoint", 1),
        ("10", "after an epoch, before its checkpoint", 2),
        ("0", "in a checkpoint", 1),
        ("0", "in a checkpoint", 2),
        ("10", "in a checkpoint", 2),
        ("0", "between the renames of a checkpoint", 1),
        ("10", "between the renames of a checkpoint", 1),
        ("0", "after a checkpoint, before the table of epochs", 1),
        ("10", "after a checkpoint, before the table of epochs", 2),
        ("10", "between the weights of a member and its card", 1),
        ("10", "after the member, before its checkpoints are removed", 1),
    ],
)
def test_killed_at_any_moment_it_ends_with_the_same_weights(
    save_minutes: str, moment: str, count: int, run: Path, undisturbed: Path
) -> None:
    when = ("SIGKILL", moment, count)
    killed = start(run, "--folds", "0", "--save-minutes", save_minutes, when=when)
    assert killed.wait(timeout=120) == -signal.SIGKILL, log_of(run).read_text()
    assert train(run, "--folds", "0") == 0
    assert_same(run, undisturbed)


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def stop_in_step(run: Path, count: int, monkeypatch: pytest.MonkeyPatch, *options: str) -> None:
    with monkeypatch.context() as patch:
        signal_at("in a step", count, signal.SIGTERM, patch.setattr)
        assert train(run, "--folds", "0", *options) == 75


def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    run: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stop_in_step(run, 3, monkeypatch, "--save-minutes", "0")
    damage(member(run) / NEWEST)
    assert train(run, "--folds", "0") == 0
    told = capsys.readouterr()
    warnings = [line for line in told.err.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1
    assert warnings[0].startswith("warning: default, fold 0: ")
    assert warnings[0].endswith(
        "checkpoint.pt: is damaged (its SHA-256 does not match); resuming from the previous checkpoint"
    )
    assert "resuming after epoch 0 and 2 steps" in told.out
    assert_same(run, undisturbed)


def test_two_damaged_checkpoints_are_refused(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stop_in_step(run, 3, monkeypatch, "--save-minutes", "0")
    for name in (NEWEST, PREVIOUS):
        damage(member(run) / name)
    assert train(run, "--folds", "0") == 2
    assert f"; delete {member(run)} to train this member from scratch" in capsys.readouterr().err
    shutil.rmtree(member(run))
    assert train(run, "--folds", "0") == 0


def test_a_full_disk_is_one_line_and_the_older_checkpoint_is_used(
    run: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = 0

    def full(file: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(28, "No space left on device", str(member(run) / NEWEST))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert train(run, "--folds", "0") == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "checkpoint.pt: No space left on device; fix the problem and rerun the command" in told
    assert train(run, "--folds", "0") == 0
    assert "resuming after epoch 1" in capsys.readouterr().out
    assert_same(run, undisturbed)


def test_a_member_that_fails_does_not_stop_the_others(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real, calls = batch_loss, 0

    def nan_at_first(*args: object) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return real(*args) * (float("nan") if calls == 1 else 1)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr("mapping_stroke.training.loop.batch_loss", nan_at_first)
        assert train(run) == 3
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2
    assert told[0].startswith("warning: default, fold 0: the loss is nan on a batch of p")
    assert told[1].startswith("warning: not trained: default, fold 0: the loss is nan on a batch of p")
    assert (member(run, 1) / "member.json").is_file()
    assert main(["status", str(run)]) == 0
    assert "default, fold 0, failed: the loss is nan" in capsys.readouterr().out
    assert train(run) == 0


def wait_for(found: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def processes(run: Path) -> list[int]:
    return [json.loads(path.read_text())["process"] for path in run.glob("train/*/fold_*/progress.json")]


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 75), (signal.SIGINT, 75), (signal.SIGKILL, -9)])
def test_jobs_are_told_and_save(number: int, status: int, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    many = 200
    training = start(run, "--jobs", "2", steps=many)
    wait_for(lambda: len(processes(run)) == 2)
    time.sleep(0.5)
    training.send_signal(number)
    assert training.wait(timeout=60) == status, log_of(run).read_text()
    wait_for(lambda: not any(map(is_alive, processes(run))), 30)
    for fold in (0, 1):
        assert (member(run, fold) / NEWEST).is_file()
    capsys.readouterr()
    assert main(["status", str(run)]) == 0
    assert capsys.readouterr().out.count("stopped") == 3
    assert start(run, "--jobs", "2", steps=many).wait(timeout=300) == 0
    for fold in (0, 1):
        shutil.copytree(member(run, fold), run.parent / f"fold_{fold}")
        shutil.rmtree(member(run, fold))
    assert start(run, "--jobs", "2", steps=many).wait(timeout=300) == 0
    for fold in (0, 1):
        cards = [json.loads((f / "member.json").read_text()) for f in (member(run, fold), run.parent / f"fold_{fold}")]
        assert cards[0] == cards[1]


@pytest.mark.slow
def test_two_processes_never_train_the_same_member(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = start(run, "--folds", "0", steps=1000)
    try:
        wait_for(lambda: len(processes(run)) == 1)
        monkeypatch.setitem(SIZES, "tiny", tiny_size(1000))
        monkeypatch.setattr("mapping_stroke.processes.LONGEST_WAIT_S", 1.0)
        assert train(run, "--folds", "0") == 2
        assert "default, fold 0: another process is training it" in capsys.readouterr().err
    finally:
        first.send_signal(signal.SIGTERM)
    assert first.wait(timeout=60) == 75
