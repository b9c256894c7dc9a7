import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.errors import TrainingError
from mapping_stroke.networks.spec import NetworkSpec, parameter_shapes
from mapping_stroke.networks.unet import unet_weights
from mapping_stroke.training.engine import Hardware, start_engine
from mapping_stroke.training.loop import Epoch, Step, TrainingState, start_training, train
from mapping_stroke.training.schemes import SCHEMES, Size

CPU = torch.device("cpu")
FLOAT32 = Hardware(CPU, "float32")
SIZE = Size(
    "test",
    PreprocessSpec(),
    patch=(8, 8, 8),
    plain=NetworkSpec("plain", (4, 8), (1, 1), 1),
    residual=NetworkSpec("residual", (4, 8), (1, 1), 1),
    steps_per_epoch=6,
    validation_steps=2,
    epochs=3,
    momentum=0.9,
)


def make_arrays(name: str) -> CaseArrays:
    """Noise with a dark cube: what a network can learn in a few steps."""
    rng = np.random.default_rng(len(name))
    scan, mask = rng.normal(0, 0.3, (16, 16, 16)), np.zeros((16, 16, 16), np.uint8)
    x, y, z = rng.integers(2, 9, 3)
    mask[x : x + 5, y : y + 5, z : z + 5] = 1
    scan[mask == 1] -= 2
    return CaseArrays(name, torch.from_numpy(scan).half(), torch.from_numpy(mask), np.argwhere(mask).astype(np.int16))


CASES = [make_arrays("a" * length) for length in range(1, 5)]


def run(state: TrainingState, size: Size = SIZE, scheme: int = 0, *, compiled: bool = False) -> list[Epoch]:
    events = train(state, SCHEMES[scheme], size, (CASES[:3], CASES[3:]), start_engine(FLOAT32), compiled=compiled)
    return [event for event in events if isinstance(event, Epoch)]


def weights(state: TrainingState) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in state.network.parameters()])


def test_a_network_on_cubes_of_voxels_learns_a_dark_cube() -> None:
    cubes = NetworkSpec("plain", (8, 8), (1, 1), 1, unshuffle=2)
    size = replace(SIZE, plain=cubes, steps_per_epoch=30, epochs=5, validation_steps=8, learning_rate=0.05)
    state = start_training(SCHEMES[0], size, (0,), CPU)
    assert run(state, size)[-1].foreground_dice > 0.6


def test_networks_of_rare_lesions_expect_background_in_every_voxel_of_a_cube() -> None:
    size = replace(SIZE, plain=replace(SIZE.plain, unshuffle=2), rare_logit=4.0)
    network = start_training(SCHEMES[0], size, (0,), CPU).network
    with torch.no_grad():
        logits = network(torch.zeros(1, 1, 16, 16, 16))[0]
    assert float((logits[:, 1] - logits[:, 0]).max()) == pytest.approx(-4.0, abs=0.5)


@pytest.mark.slow
def test_compiled_training_takes_nearly_the_same_steps() -> None:
    """Compiled in a process of its own: torch cannot compile what the run-time types of the tests wrap."""
    folders = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
    code = f"import sys; sys.path[:0] = {folders}; import test_loop; print(*test_loop.epoch_losses(compiled=True))"
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    compiled = [float(loss) for loss in told.splitlines()[-1].split()]
    assert compiled == pytest.approx(epoch_losses(compiled=False), abs=0.02)


def epoch_losses(*, compiled: bool) -> list[float]:
    state = start_training(SCHEMES[0], SIZE, (0,), CPU)
    losses = [epoch.loss for epoch in run(state, compiled=compiled)]
    assert unet_weights(state.network).keys() == parameter_shapes(SIZE.plain).keys()
    return losses


@pytest.mark.parametrize("scheme", [0, 1, 2])
def test_every_scheme_learns_a_dark_cube(scheme: int) -> None:
    size = replace(SIZE, steps_per_epoch=30, epochs=4, validation_steps=8, learning_rate=0.05)
    state = start_training(SCHEMES[scheme], size, (0,), CPU)
    epochs = run(state, size, scheme)
    assert epochs[-1].foreground_dice > 0.8
    assert epochs[-1].loss < epochs[0].loss


def test_the_learning_rate_falls_by_a_power_of_the_time_left() -> None:
    epochs = run(start_training(SCHEMES[0], SIZE, (0,), CPU))
    assert [epoch.epoch for epoch in epochs] == [0, 1, 2]
    assert [epoch.learning_rate for epoch in epochs] == pytest.approx([0.01, 0.01 * (2 / 3) ** 0.9, 0.01 / 3**0.9])
    assert all(epoch.seconds > 0 for epoch in epochs)


def test_the_same_seed_ends_with_the_same_weights_and_another_with_others() -> None:
    states = [start_training(SCHEMES[0], SIZE, seed, CPU) for seed in ((1, 0), (1, 0), (1, 1))]
    for state in states:
        run(state)
    assert torch.equal(weights(states[0]), weights(states[1]))
    assert not torch.equal(weights(states[0]), weights(states[2]))


def test_every_step_is_told_and_then_its_epoch() -> None:
    state = start_training(SCHEMES[0], SIZE, (0,), CPU)
    events = list(train(state, SCHEMES[0], replace(SIZE, epochs=1), (CASES[:3], CASES[3:]), start_engine(FLOAT32)))
    assert events[:-1] == [Step(0, done, 8) for done in range(1, 9)]
    assert events[-1] == state.epochs[0]
    assert state.so_far.steps_done == 0


def test_a_loss_that_is_no_number_names_the_cases() -> None:
    broken = replace(CASES[0], scan=torch.full_like(CASES[0].scan, float("nan")))
    state = start_training(SCHEMES[0], SIZE, (0,), CPU)
    with pytest.raises(TrainingError, match="the loss is nan on a batch of a, a; check these scans"):
        list(train(state, SCHEMES[0], SIZE, ([broken], []), start_engine(FLOAT32)))


def test_training_without_cases_is_refused() -> None:
    state = start_training(SCHEMES[0], SIZE, (0,), CPU)
    with pytest.raises(TrainingError, match="no training cases"):
        list(train(state, SCHEMES[0], SIZE, ([], CASES), start_engine(FLOAT32)))


def test_without_validation_cases_the_dice_is_not_a_number() -> None:
    state = start_training(SCHEMES[0], SIZE, (0,), CPU)
    events = list(train(state, SCHEMES[0], replace(SIZE, epochs=1), (CASES, []), start_engine(FLOAT32)))
    assert len(events) == SIZE.steps_per_epoch + 1
    assert np.isnan([state.epochs[0].foreground_dice, state.epochs[0].validation_loss]).all()
