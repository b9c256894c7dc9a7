"""`mapping train --devices 2` on a processor: one member, as one process trains it, whatever happens to the two."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from safetensors.torch import load_file

import interrupted_training
from mapping_stroke.cli import main
from mapping_stroke.run_folder import RunFolder
from mapping_stroke.training.checkpoint import NEWEST
from phantoms import write_phantoms

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="signals")]
TRAIN = ("--size", "tiny", "--schemes", "default", "--device", "cpu", "--precision", "float32", "--folds", "0")
FILES = {"epochs.csv", "curves.png", "member.json", "recipe.json", "weights.safetensors"}
Popen = subprocess.Popen[bytes]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("prepared")
    assert main(["prepare", str(write_phantoms(root / "data", 4, 0)), "-o", str(root / "run")]) == 0
    assert main(["folds", str(root / "run"), "--number", "2"]) == 0
    return root / "run"


@pytest.fixture
def run(prepared: Path, tmp_path: Path) -> Path:
    shutil.copytree(prepared, tmp_path / "run")
    return tmp_path / "run"


def start(run: Path, *options: str, steps: int, before: tuple[str, ...] = ()) -> Popen:
    """`mapping train` in a process group of its own, as a shell starts it; its output in `log_of`."""
    command = [sys.executable, *before, interrupted_training.__file__, str(steps), "none", "-", "0"]
    with log_of(run).open("a") as log:
        return subprocess.Popen(
            [*command, "train", str(run), *TRAIN, *options],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def log_of(run: Path) -> Path:
    return run.with_name("log.txt")


def told(run: Path) -> list[str]:
    """What the command printed."""
    return log_of(run).read_text().splitlines()


def member(run: Path) -> Path:
    return RunFolder(run).member("default", 0)


def assert_same_weights(run: Path, other: Path) -> None:
    one, two = (load_file(member(folder) / "weights.safetensors") for folder in (run, other))
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-4
    for folder in (run, other):
        assert {path.name for path in member(folder).iterdir()} == FILES


def wait_for(found: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def others_of(training: Popen) -> list[psutil.Process]:
    return psutil.Process(training.pid).children(recursive=True)


def begun(run: Path, steps: int, *options: str) -> Popen:
    """Two processes that are at work."""
    training = start(run, "--devices", "2", "--save-minutes", "0.001", *options, steps=steps)
    wait_for(lambda: (member(run) / NEWEST).is_file() or training.poll() is not None)
    assert training.poll() is None, told(run)
    return training


def test_two_processes_write_one_member_with_the_weights_of_one(run: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone" / "run"
    shutil.copytree(run, alone)
    assert start(alone, steps=10).wait(timeout=240) == 0, told(alone)
    assert start(run, "--devices", "2", steps=10).wait(timeout=240) == 0, told(run)
    assert_same_weights(run, alone)
    lines = told(run)
    assert lines[0] == "Member 1 of 1: default, fold 0, size tiny, on cpu (float32, 2 processes)"
    assert [line.split(",")[1].split()[:2] for line in lines[1:3]] == [["fold", "0:"]] * 2
    assert lines[3:] == [f"Members: {run / 'train'}"]
    assert json.loads((run / "environment.json").read_text())["processes"] == 2


@pytest.mark.parametrize("who", ["first", "second", "group"])
def test_a_signal_to_any_of_them_saves_and_ends_all(who: str, run: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone" / "run"
    shutil.copytree(run, alone)
    training = begun(run, 300)
    second = others_of(training)[-1]
    if who == "group":
        os.killpg(training.pid, signal.SIGINT)
    else:
        os.kill({"first": training.pid, "second": second.pid}[who], signal.SIGTERM)
    assert training.wait(timeout=60) == 75, told(run)
    assert [line for line in told(run) if line.startswith("mapping: ")] == [told(run)[-1]]
    assert "stopped by" in told(run)[-1]
    assert main(["status", str(run)]) == 0
    wait_for(lambda: not second.is_running())
    assert json.loads((member(run) / "progress.json").read_text())["state"] == "stopped"
    if who == "group":
        return
    devices = "1" if who == "first" else "2"
    assert start(run, "--devices", devices, steps=300).wait(timeout=300) == 0, told(run)
    assert any("resuming after epoch" in line for line in told(run))
    if who == "first":
        assert start(alone, steps=300).wait(timeout=300) == 0, told(alone)
        assert_same_weights(run, alone)


@pytest.mark.parametrize("who", ["first", "second"])
def test_none_goes_on_where_one_was_killed(who: str, run: Path) -> None:
    training = begun(run, 3000)
    second = others_of(training)[-1]
    os.kill({"first": training.pid, "second": second.pid}[who], signal.SIGKILL)
    assert training.wait(timeout=60) != 0
    wait_for(lambda: not second.is_running(), 30)
    if who == "second":
        assert any("process 0 lost another one" in line for line in told(run))
    assert (member(run) / NEWEST).is_file()


def test_torchrun_starts_the_processes_of_two_machines(run: Path) -> None:
    machines = [
        start(
            run,
            *("--nodes", "2"),
            steps=5,
            before=("-m", "torch.distributed.run", "--nnodes", "2", "--node-rank", node, "--master-port", "29561"),
        )
        for node in ("0", "1")
    ]
    assert [machine.wait(timeout=240) for machine in machines] == [0, 0], told(run)
    assert {path.name for path in member(run).iterdir()} == FILES
    assert sum("epoch 2/2" in line for line in told(run)) == 1
