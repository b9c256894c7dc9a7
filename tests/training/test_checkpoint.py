"""Checkpoints: the same numbers from any step on, damage found, the one before taken."""

import errno
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.errors import TrainingError
from mapping_stroke.networks.spec import NetworkSpec
from mapping_stroke.training.checkpoint import NEWEST, PREVIOUS, remove_checkpoints, resume_from, write_checkpoint
from mapping_stroke.training.engine import Hardware, start_engine
from mapping_stroke.training.loop import TrainingState, start_training, train
from mapping_stroke.training.schemes import SCHEMES, Size

CPU = torch.device("cpu")
FLOAT32 = Hardware(CPU, "float32")
SIZE = Size(
    "test",
    PreprocessSpec(),
    patch=(4, 4, 4),
    plain=NetworkSpec("plain", (2, 4), (1, 1), 1),
    residual=NetworkSpec("residual", (2, 4), (1, 1), 1),
    steps_per_epoch=3,
    validation_steps=2,
    epochs=2,
)


def make_case(number: int) -> CaseArrays:
    rng = np.random.default_rng(number)
    mask = (rng.random((8, 8, 8)) > 0.8).astype(np.uint8)
    scan = torch.from_numpy(rng.normal(0, 1, (8, 8, 8))).half()
    return CaseArrays(f"case{number}", scan, torch.from_numpy(mask), np.argwhere(mask).astype(np.int16))


CASES = ([make_case(0), make_case(1)], [make_case(2)])


def fresh(size: Size = SIZE) -> TrainingState:
    return start_training(SCHEMES[2], size, (7,), CPU)


def go_on(state: TrainingState, events: int | None = None, size: Size = SIZE) -> TrainingState:
    """Train on for so many events, or to the end."""
    for number, _ in enumerate(train(state, SCHEMES[2], size, CASES, start_engine(FLOAT32)), start=1):
        if number == events:
            break
    return state


def weights(state: TrainingState) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in state.network.parameters()])


def records(state: TrainingState) -> list[tuple[float, ...]]:
    return [(one.loss, one.validation_loss, one.foreground_dice, one.learning_rate) for one in state.epochs]


def write_two(folder: Path) -> None:
    """Checkpoints after the first step, and after the second."""
    state = go_on(fresh(), 1)
    write_checkpoint(folder, state, "recipe")
    write_checkpoint(folder, go_on(state, 1), "recipe")


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_from_any_step_on_the_numbers_are_those_of_an_undisturbed_training(optimiser: str, tmp_path: Path) -> None:
    size = replace(SIZE, optimiser=optimiser)
    whole = go_on(fresh(size), size=size)
    begun = fresh(size)
    for _ in range(2 * (SIZE.steps_per_epoch + SIZE.validation_steps + 1)):
        go_on(begun, 1, size)
        write_checkpoint(tmp_path, begun, "recipe")
        resumed = fresh(size)
        assert resume_from(tmp_path, resumed, "recipe") == []
        assert resumed.so_far.steps_done == begun.so_far.steps_done
        go_on(resumed, size=size)
        assert torch.equal(weights(resumed), weights(whole))
        assert records(resumed) == records(whole)


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    write_two(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [NEWEST, PREVIOUS]
    state = fresh()
    assert resume_from(tmp_path, state, "recipe") == []
    assert state.so_far.steps_done == 2
    (tmp_path / NEWEST).unlink()
    state = fresh()
    assert resume_from(tmp_path, state, "recipe") == []
    assert state.so_far.steps_done == 1
    remove_checkpoints(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_a_checkpoint_of_the_recipe_a_state_stays_fresh(tmp_path: Path) -> None:
    state = fresh()
    assert resume_from(tmp_path, state, "recipe") == []
    write_two(tmp_path)
    assert resume_from(tmp_path, state, "other") == []
    assert torch.equal(weights(state), weights(fresh()))
    assert state.so_far.steps_done == 0


def flip(data: bytes, place: float) -> bytes:
    at = int(place * (len(data) - 1))
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


DAMAGES: tuple[Callable[[bytes], bytes], ...] = (
    lambda data: data[: len(data) // 2],
    lambda data: data[:-1],
    lambda _: b"",
    lambda data: bytes(len(data)),
    lambda data: data[:1000] + bytes(2000) + data[3000:],
    lambda _: b"cos\nsystem\n.",
    *(lambda data, place=place: flip(data, place) for place in (0, 0.0005, 0.3, 0.6, 0.9, 1)),  # type: ignore[misc]
)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    write_two(tmp_path)
    (tmp_path / NEWEST).write_bytes(damage((tmp_path / NEWEST).read_bytes()))
    state = fresh()
    problems = resume_from(tmp_path, state, "recipe")
    assert len(problems) == 1
    assert "checkpoint.pt: is damaged (its SHA-256 does not match)" in problems[0]
    assert state.so_far.steps_done == 1
    assert torch.equal(weights(go_on(state)), weights(go_on(fresh())))


def test_two_damaged_checkpoints_are_refused_with_the_remedy(tmp_path: Path) -> None:
    write_two(tmp_path)
    for name in (NEWEST, PREVIOUS):
        (tmp_path / name).write_bytes(flip((tmp_path / name).read_bytes(), 0.5))
    with pytest.raises(
        TrainingError, match=r"checkpoint.pt: is damaged .*checkpoint_previous.pt: is damaged.*; delete"
    ):
        resume_from(tmp_path, fresh(), "recipe")


def test_a_checkpoint_of_an_earlier_version_is_refused_as_such(tmp_path: Path) -> None:
    torch.save({"recipe": "recipe"}, tmp_path / NEWEST)
    with pytest.raises(TrainingError, match=r"checkpoint.pt: is of an earlier version; delete .* to train this member"):
        resume_from(tmp_path, fresh(), "recipe")


def test_a_full_disk_leaves_the_checkpoints_that_were_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_two(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        write_checkpoint(tmp_path, go_on(fresh(), 4), "recipe")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.slow
def test_a_disk_that_is_really_full_leaves_a_usable_checkpoint(tmp_path: Path) -> None:
    state = go_on(fresh(), 1)
    write_checkpoint(tmp_path / "measure", state, "recipe")
    room = (tmp_path / "measure" / NEWEST).stat().st_size
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={2 * room + 4096}", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a small disk")
    try:
        write_checkpoint(disk, state, "recipe")
        (disk / "other").write_bytes(bytes(room))
        with pytest.raises(OSError, match="No space left on device"):
            write_checkpoint(disk, go_on(state, 1), "recipe")
        resumed = fresh()
        assert resume_from(disk, resumed, "recipe") == []
        assert resumed.so_far.steps_done == 1
    finally:
        subprocess.run(["umount", str(disk)], check=True)


class OfGpu(torch.Generator):
    """Its state is as long as that of a generator on a GPU."""

    def get_state(self) -> torch.Tensor:
        return torch.zeros(16, dtype=torch.uint8)


def test_a_checkpoint_of_a_gpu_goes_on_on_a_processor(tmp_path: Path) -> None:
    state = go_on(fresh(), 2)
    write_checkpoint(tmp_path, replace(state, random=replace(state.random, noise=OfGpu())), "recipe")
    there = fresh()
    assert resume_from(tmp_path, there, "recipe") == []
    assert torch.equal(weights(there), weights(state))
    assert there.random.numbers.bit_generator.state == state.random.numbers.bit_generator.state
