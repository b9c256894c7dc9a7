"""Small states: small, nearly exact, for the same training alone."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mapping_stroke.errors import TrainingError
from mapping_stroke.networks.spec import count_parameters
from mapping_stroke.networks.unet import unet_weights
from mapping_stroke.training.loop import Epoch, TrainingState, start_training
from mapping_stroke.training.scheduled import average_weights, start_position
from mapping_stroke.training.schemes import SCHEMES, SIZES, find_size
from mapping_stroke.training.small_state import (
    MOST_BYTES,
    PACKINGS,
    Identity,
    Packing,
    choose_packing,
    read_state,
    write_state,
)
from mapping_stroke.training.supply import Memory, Position

TINY = SIZES["tiny"]
IDENTITY = Identity(TINY.plain, {"seed": 3, "size": asdict(TINY)}, "recipe")


def training(seed: int = 1, size: str = "tiny", patches: int = 0) -> tuple[TrainingState, Position]:
    state = start_training(SCHEMES[0], find_size(size), (seed,), torch.device("cpu"))
    position = start_position(state.network)
    generator = torch.Generator().manual_seed(seed)
    for value in position.average.values():
        value += 0.01 * torch.randn(value.shape, generator=generator)
    position.patches, position.memory = patches, Memory({"case-1": 3}, {"case-1": 0.5}, made=70)
    state.epochs.append(Epoch(0, -0.1, float("nan"), 0.3, 0.002, 10.0, 2.0))
    return state, position


def off(found: Any, wanted: Any) -> float:
    """The largest difference of a weight; the largest weights are about 1."""
    return max(float(np.abs(found[name] - wanted[name]).max()) for name in wanted)


@pytest.mark.parametrize(("packing", "most_off"), list(zip(PACKINGS, (6e-4, 6e-4, 6e-3, 0.06), strict=True)))
def test_a_state_taken_elsewhere_goes_on_where_it_was(
    packing: Packing, most_off: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mapping_stroke.training.small_state.choose_packing", lambda _: packing)
    (state, position), (there, its_position) = training(1, patches=500), training(2)
    there.optimiser.state[next(there.network.parameters())] = {"step": torch.tensor(1.0)}
    drawn = state.random.numbers.integers(2**63, size=3)
    write_state(tmp_path / "one.state", state, position, IDENTITY)
    assert read_state((tmp_path / "one.state").rename(tmp_path / "moved"), there, its_position, IDENTITY)
    assert off(unet_weights(there.network), unet_weights(state.network)) < most_off
    assert off(average_weights(its_position), average_weights(position)) < most_off
    assert (its_position.patches, its_position.restarted_at) == (500, 500)
    assert its_position.memory.made == 70
    assert not its_position.memory.uses
    assert not there.optimiser.state
    assert len(there.epochs) == 1
    assert there.so_far.steps_done == 0
    later = state.random.numbers.integers(2**63, size=3)
    assert np.array_equal(there.random.numbers.integers(2**63, size=3), later)
    assert not np.array_equal(drawn, later)


@pytest.mark.parametrize("name", ["compact", "fine"])
@pytest.mark.parametrize("encoder", [0, 2])
def test_states_of_the_models_networks_have_eight_megabytes_at_most(name: str, encoder: int, tmp_path: Path) -> None:
    size, scheme = find_size(name), SCHEMES[encoder]
    state = start_training(scheme, size, (1,), torch.device("cpu"))
    state.epochs[:] = [Epoch(number, -0.12345678901, 0.5, 0.3, 0.002, 123.456789, 2.3456789) for number in range(300)]
    network = size.network(scheme)
    write_state(tmp_path / "one", state, start_position(state.network), Identity(network, {"size": asdict(size)}, ""))
    assert (tmp_path / "one").stat().st_size <= MOST_BYTES


def test_the_most_precise_packing_that_fits_is_taken() -> None:
    networks = [
        TINY.plain,
        *(getattr(SIZES[name], kind) for name in ("compact", "fine") for kind in ("plain", "residual")),
    ]
    assert [choose_packing(network) for network in networks] == [
        Packing(2, 2), Packing(2, 1), Packing(1, 1), Packing(1, 1), Packing(1, 0),
    ]  # fmt: skip
    assert choose_packing(SIZES["full"].plain) == PACKINGS[-1]
    assert count_parameters(SIZES["compact"].plain) == 2_336_168


def test_a_training_that_has_come_farther_stays_where_it_is(tmp_path: Path) -> None:
    (state, position), (there, its_position) = training(1, patches=500), training(2, patches=500)
    before = {name: value.copy() for name, value in unet_weights(there.network).items()}
    write_state(tmp_path / "one", state, position, IDENTITY)
    assert not read_state(tmp_path / "one", there, its_position, IDENTITY)
    assert off(unet_weights(there.network), before) == 0
    assert its_position.restarted_at is None


def write_one(folder: Path) -> Path:
    state, position = training(1, patches=500)
    write_state(folder / "one.state", state, position, IDENTITY)
    return folder / "one.state"


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        flip_a_byte,
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("version https://git-lfs"),
    ],
    ids=["flipped", "cut", "empty", "another file"],
)
def test_a_damaged_state_is_refused(damage: Any, tmp_path: Path) -> None:
    path = write_one(tmp_path)
    damage(path)
    with pytest.raises(TrainingError, match=r"one\.state: is damaged, or not the state of a training"):
        read_state(path, *training(2), IDENTITY)


def test_a_state_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"one\.state: cannot be read \(No such file"):
        read_state(tmp_path / "one.state", *training(2), IDENTITY)


def test_the_state_of_another_training_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    path, (there, position) = write_one(tmp_path), training(2)
    before = {name: value.copy() for name, value in unet_weights(there.network).items()}
    with pytest.raises(TrainingError, match=r"one\.state: holds the state of another network; give the --size"):
        read_state(path, there, position, replace(IDENTITY, network=TINY.residual))
    with pytest.raises(TrainingError, match=r"one\.state: belongs to a training with other settings \(seed\)"):
        read_state(path, there, position, replace(IDENTITY, settings={**IDENTITY.settings, "seed": 4}, recipe="other"))
    with pytest.raises(TrainingError, match=r"other settings \(parameters behind names\)"):
        read_state(path, there, position, replace(IDENTITY, recipe="other"))
    assert off(unet_weights(there.network), before) == 0
    assert position.patches == 0
