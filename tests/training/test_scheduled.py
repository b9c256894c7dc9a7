"""The loop of long trainings: exact after a stop, on the spot and elsewhere; what is averaged, drawn and counted."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mapping_stroke.dataset.arrays import UNSURE, CaseArrays, place_on_any_lesion
from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.networks.spec import NetworkSpec
from mapping_stroke.networks.unet import unet_weights
from mapping_stroke.training.batches import Randomness
from mapping_stroke.training.checkpoint import resume_from, write_checkpoint
from mapping_stroke.training.engine import Hardware, start_engine
from mapping_stroke.training.loop import Epoch, TrainingState, start_training
from mapping_stroke.training.schedule import Growth, Schedule, plan_schedule
from mapping_stroke.training.scheduled import (
    Task,
    average_weights,
    averaged,
    draw_scheduled,
    patch_hardness,
    start_position,
    train_on_schedule,
)
from mapping_stroke.training.schemes import NONE, SCHEMES, Size
from mapping_stroke.training.supply import Memory, Position

CPU = torch.device("cpu")
SIZE = Size(
    "test",
    PreprocessSpec(),
    patch=(4, 8, 8),
    plain=NetworkSpec("plain", (2, 4), (1, 1), 1),
    residual=NetworkSpec("residual", (2, 4), (1, 1), 1),
    steps_per_epoch=3,
    validation_steps=2,
    optimiser="adamw",
    learning_rate=0.01,
)
SCHEDULE = replace(plan_schedule(20, SIZE), period=8, growth=(Growth(0.5, 0.5), Growth(1.0, 1.0)))
"""Steps of two patches: 4, 4 and 2 in a period."""
Long = tuple[TrainingState, Position]


def make_case(number: int) -> CaseArrays:
    rng = np.random.default_rng(number)
    mask = (rng.random((9, 9, 9)) > 0.9).astype(np.uint8)
    scan = torch.from_numpy(rng.normal(0, 1, (9, 9, 9))).half()
    return CaseArrays(f"case-{number}", scan, torch.from_numpy(mask), np.argwhere(mask).astype(np.int16))


class Three:
    """A supply of three cases that remembers what it is told, and is not ready at first."""

    def __init__(self, memory: Memory, waits: int = 0) -> None:
        self.cases, self.memory, self.waits, self.hard = [make_case(number) for number in range(3)], memory, waits, 0

    def is_ready(self) -> bool:
        self.waits -= 1
        return self.waits < 0

    def draw(self, rng: np.random.Generator) -> CaseArrays:
        return self.cases[int(rng.integers(3))]

    def draw_hard(self, rng: np.random.Generator) -> CaseArrays:
        self.hard += 1
        return max(self.cases, key=lambda case: self.memory.hardness.get(case.case_id, 0.0))

    def note(self, case_ids: Sequence[str], hardness: Sequence[float]) -> None:
        self.memory.hardness.update(zip(case_ids, hardness, strict=True))


def fresh() -> Long:
    state = start_training(SCHEMES[0], SIZE, (7,), CPU)
    return state, start_position(state.network)


def go_on(long: Long, events: int | None = None, waits: int = 0) -> Long:
    """Train on for so many events, or to the end."""
    state, position = long
    cases = (Three(position.memory, waits), [make_case(9)])
    engine = start_engine(Hardware(CPU, "float32"))
    for number, _ in enumerate(train_on_schedule(state, position, Task(SCHEMES[0], SIZE, SCHEDULE), cases, engine), 1):
        if number == events:
            break
    return long


def weights(long: Long) -> torch.Tensor:
    own, mean = unet_weights(long[0].network), average_weights(long[1])
    return torch.cat([torch.from_numpy(one[name].ravel().copy()) for one in (own, mean) for name in own])


def test_a_training_counts_patches_and_validates_after_every_period() -> None:
    state, position = go_on(fresh())
    assert position.patches == 20
    assert [epoch.epoch for epoch in state.epochs] == [0, 1, 2]
    assert all(np.isfinite(epoch.validation_loss) for epoch in state.epochs)
    assert state.epochs[-1].learning_rate == 0
    assert not torch.equal(*torch.tensor_split(weights((state, position)), 2))


@pytest.mark.parametrize("events", [1, 4, 5, 9, 12])  # in a period, at its end, after its validation
def test_stopped_and_gone_on_it_comes_to_the_same_weights(events: int, tmp_path: Path) -> None:
    whole, stopped, later = go_on(fresh()), go_on(fresh(), events), fresh()
    write_checkpoint(tmp_path, stopped[0], "recipe", stopped[1])
    assert resume_from(tmp_path, later[0], "recipe", later[1]) == []
    assert len(later[0].epochs) < 3
    assert torch.equal(weights(go_on(later)), weights(whole))
    assert later[1].memory.hardness == whole[1].memory.hardness
    losses = [[(epoch.loss, epoch.validation_loss) for epoch in state.epochs] for state, _ in (later, whole)]
    assert losses[0] == losses[1]


def test_waiting_for_cases_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mapping_stroke.training.scheduled.BETWEEN_LOOKS_S", 0.0)
    assert torch.equal(weights(go_on(fresh(), waits=5)), weights(go_on(fresh())))


def test_the_average_follows_the_weights() -> None:
    state, position = fresh()
    before = {name: value.clone() for name, value in position.average.items()}
    go_on((state, position), 1)
    for name, value in state.network.named_parameters():
        torch.testing.assert_close(position.average[name], 0.1 * before[name] + 0.9 * value.detach())


def test_a_network_has_its_own_weights_again_after_its_average() -> None:
    state, position = go_on(fresh(), 3)
    before = {name: value.copy() for name, value in unet_weights(state.network).items()}
    with averaged(state.network, position):
        inside = {name: value.copy() for name, value in unet_weights(state.network).items()}
    after = unet_weights(state.network)
    assert all(np.array_equal(inside[name], average_weights(position)[name]) for name in before)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_half_of_the_patches_lie_on_lesions_and_a_tenth_is_hard() -> None:
    schedule = Schedule(1_000, 0.1, (3, 3, 3), (1, 1, 1), growth=(Growth(1.0, 1.0),))
    mask = torch.zeros((31, 31, 31), dtype=torch.uint8)
    mask[15, 15, 15] = 1
    case = CaseArrays("one", mask.half(), mask, np.array([[15, 15, 15]], np.int16))
    position, supply = fresh()[1], Three(Memory())
    supply.cases = [case] * 3
    batch = draw_scheduled(supply, schedule, position, 1_000, NONE, Randomness.from_seed((1,), CPU))
    on_lesion = batch.target[:, 1, 1, 1].numpy() == 1
    assert on_lesion[500:].all()
    assert on_lesion[:500].sum() < 3
    assert 70 < supply.hard < 130


def test_a_lesion_of_one_voxel_is_looked_at_as_often_as_a_large_one() -> None:
    large = np.argwhere(np.ones((6, 6, 6), bool)) + 2
    voxels = np.concatenate([large, [[15, 15, 15]]]).astype(np.int16)
    rng = np.random.default_rng(0)
    corners = [place_on_any_lesion((20, 20, 20), (2, 2, 2), voxels, rng) for _ in range(400)]
    assert 160 < sum(corner == (14, 14, 14) for corner in corners) < 240
    assert len(set(corners)) > 100
    nothing = np.zeros((0, 3), np.int16)
    assert max(place_on_any_lesion((4, 4, 4), (2, 2, 2), nothing, rng)) <= 2


def test_a_miss_is_as_hard_whatever_its_volume_and_nothing_is_easy() -> None:
    target = torch.zeros((4, 8, 8, 8), dtype=torch.int64)
    target[0, :4], target[1] = 1, 1
    background = torch.tensor([4.0, -4.0]).view(1, 2, 1, 1, 1).expand(4, 2, 8, 8, 8).clone()
    background[3, :, 0] = -background[3, :, 0]  # false marks
    small, large, healthy, marked = patch_hardness(background, target).tolist()
    assert small == pytest.approx(8 * 256 / 264, abs=0.01)
    assert large == pytest.approx(8 * 512 / 520, abs=0.01)
    assert healthy == 0
    assert marked == pytest.approx(8 * 64 / 72, abs=0.01)
    target[1] = UNSURE  # a lesion that cannot be seen is no miss
    assert patch_hardness(background, target).tolist() == [small, 0, healthy, marked]


def test_the_records_tell_of_periods() -> None:
    state, position = fresh()
    engine = start_engine(Hardware(CPU, "float32"))
    cases: tuple[Three, list[CaseArrays]] = (Three(position.memory), [])
    events = list(train_on_schedule(state, position, Task(SCHEMES[0], SIZE, SCHEDULE), cases, engine))
    assert [isinstance(event, Epoch) for event in events] == [
        *[False] * 4,
        True,
        *[False] * 4,
        True,
        False,
        False,
        True,
    ]
    assert np.isnan(state.epochs[0].validation_loss)
