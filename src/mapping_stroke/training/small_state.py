"""The state of a training in one small file for moving to another machine: 8 or 16 bit weights, no optimiser moments.

Like a checkpoint, it starts with a line that holds a SHA-256. The content is a safetensors file, which runs no code.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from safetensors.numpy import load, save

from mapping_stroke.errors import TrainingError
from mapping_stroke.files import written_whole
from mapping_stroke.networks.spec import NetworkSpec, Weights, count_parameters
from mapping_stroke.networks.typed_json import read_typed
from mapping_stroke.networks.unet import build_unet, set_weights, unet_weights
from mapping_stroke.training.checkpoint import seal_of, write_sealed
from mapping_stroke.training.loop import Epoch, EpochSoFar, TrainingState
from mapping_stroke.training.scheduled import average_weights
from mapping_stroke.training.supply import Memory, Position

MOST_BYTES = 8 * 2**20
OTHER_BYTES = 300_000
"""Room in a file for names, records and scales."""
SUFFIX = ".state"
_MAGIC = b"mapping state 1, sha256 "
_AGAIN = "copy it again, or start without --state"
Parameter = Float32[np.ndarray, "..."]


@dataclass(frozen=True)
class Packing:
    """Bytes (0, 1 or 2) for the average of a weight, and for its current difference from the average."""

    average: int
    difference: int


PACKINGS = (Packing(2, 2), Packing(2, 1), Packing(1, 1), Packing(1, 0))
"""The first that fits is used. Without differences, training resumes from the average."""


@dataclass(frozen=True)
class Identity:
    """The training that a state belongs to.

    Attributes:
        network: Specification of the network.
        settings: All settings of the training, as plain values.
        recipe: Fingerprint of the settings.
    """

    network: NetworkSpec
    settings: Mapping[str, Any]
    recipe: str


def choose_packing(network: NetworkSpec) -> Packing:
    """The most precise packing that keeps a network's state within `MOST_BYTES`; the smallest if none does."""
    room = MOST_BYTES - OTHER_BYTES
    fitting = [one for one in PACKINGS if (one.average + one.difference) * count_parameters(network) <= room]
    return fitting[0] if fitting else PACKINGS[-1]


def write_state(path: Path, state: TrainingState, position: Position, identity: Identity) -> None:
    """Write the state for resuming on another machine, atomically.

    Args:
        path: File to write.
        state: Weights, random numbers, records.
        position: Average of the weights, patches done.
        identity: Identity of the training.
    """
    arrays = _pack(unet_weights(state.network), average_weights(position), choose_packing(identity.network))
    facts = {
        "network": asdict(identity.network),
        "settings": identity.settings,
        "recipe": identity.recipe,
        "patches": position.patches,
        "seconds": position.seconds,
        "made": position.memory.made,
        "numbers": state.random.numbers.bit_generator.state,
        "epochs": [asdict(epoch) for epoch in state.epochs],
    }
    content = save(arrays, {"facts": json.dumps(facts)})
    with written_whole(path) as partial:
        write_sealed(partial, _MAGIC, content)


def read_state(path: Path, state: TrainingState, position: Position, identity: Identity) -> bool:
    """Restore a training from a small state, unless it is already further on.

    The optimiser restarts, so the learning rate will warm up from 0 again. Random numbers continue, and the records of
    an unfinished period start afresh.

    Args:
        path: File of `write_state`.
        state: Changed in place, as is `position`.
        position: Position of the training.
        identity: Identity of this training.

    Returns:
        Whether the state was restored.

    Raises:
        TrainingError: The file is missing, damaged, or of another network or other settings; nothing is changed.
    """
    facts, arrays = _read(path)
    network = json.loads(json.dumps(asdict(identity.network)))  # tuples become lists, as in the file
    if facts["network"] != network:
        raise TrainingError(f"{path}: holds the state of another network; give the --size and --schemes that wrote it")
    if facts["recipe"] != identity.recipe:
        settings = json.loads(json.dumps(identity.settings))
        differ = ", ".join(sorted(_differences(facts["settings"], settings))) or "parameters behind names"
        raise TrainingError(
            f"{path}: belongs to a training with other settings ({differ}); give the same, or start without --state"
        )
    if facts["patches"] <= position.patches:
        return False
    weights, average = _unpack(arrays, unet_weights(state.network))
    set_weights(state.network, weights)
    for name, value in average.items():
        position.average[name].copy_(torch.from_numpy(value))
    position.patches = position.restarted_at = facts["patches"]  # the rate warms up again from here
    position.seconds = facts.get("seconds", 0.0)  # absent from older states
    position.memory = Memory(made=max(facts["made"], position.memory.made))
    state.random.numbers.bit_generator.state = facts["numbers"]
    state.optimiser.state.clear()
    state.epochs[:] = [Epoch(**epoch) for epoch in facts["epochs"]]
    state.so_far = EpochSoFar()
    return True


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A training as far as it has come.

    Attributes:
        weights: Average of the weights, as a finished training would keep it.
        network: Specification of the network.
        settings: All settings of the training, as plain values.
        recipe: Fingerprint of the settings.
        patches: Patches done.
        epochs: Records of the periods done.
    """

    weights: Weights
    network: NetworkSpec
    settings: Mapping[str, Any]
    recipe: str
    patches: int
    epochs: tuple[Epoch, ...]


def read_snapshot(path: Path) -> Snapshot:
    """The training of a small state as far as it has come; raises `TrainingError` if the file is damaged."""
    facts, arrays = _read(path)
    network = read_typed(NetworkSpec, facts["network"], "network")
    _, average = _unpack(arrays, unet_weights(build_unet(network)))
    epochs = tuple(Epoch(**epoch) for epoch in facts["epochs"])
    return Snapshot(average, network, facts["settings"], facts["recipe"], facts["patches"], epochs)


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> set[str]:
    return {key for key in before.keys() | now.keys() if before.get(key) != now.get(key)}


def _pack(weights: Weights, average: Weights, packing: Packing) -> dict[str, np.ndarray]:
    """Pack both; differences are relative to the average as it will be read back."""
    arrays: dict[str, np.ndarray] = {}
    for name, mean in average.items():
        arrays |= _stored(f"average/{name}", mean, packing.average)
        difference = weights[name] - _restored(arrays, f"average/{name}", mean.shape)
        arrays |= _stored(f"difference/{name}", difference, packing.difference)
    return arrays


def _unpack(arrays: Mapping[str, np.ndarray], average: Weights) -> tuple[Weights, Weights]:
    """Unpack weights and average, for a network with weights of these names and shapes."""
    means = {name: _restored(arrays, f"average/{name}", value.shape) for name, value in average.items()}
    return {name: mean + _restored(arrays, f"difference/{name}", mean.shape) for name, mean in means.items()}, means


def _stored(name: str, values: Parameter, size: int) -> dict[str, np.ndarray]:
    """Store values in 0, 1 or 2 bytes each; one byte has 127 steps up to the largest value of each output channel."""
    values = np.ascontiguousarray(values)
    if size == 0:
        return {}
    if size == 2 or values.ndim == 1:  # biases and norms are few and sensitive
        return {name: values.astype(np.float16)}
    rows = values.reshape(len(values), -1)
    scale = np.maximum(np.abs(rows).max(axis=1), np.float32(1e-12)) / np.float32(127)
    return {name: np.rint(rows / scale[:, None]).astype(np.int8), f"{name}/scale": scale}


def _restored(arrays: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...]) -> Parameter:
    if name not in arrays:
        return np.zeros(shape, np.float32)
    values = arrays[name].astype(np.float32)
    if arrays[name].dtype == np.int8:
        values *= arrays[f"{name}/scale"][:, None]
    return values.reshape(shape)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The facts and the arrays of an intact file."""
    try:
        head, end, content = path.read_bytes().partition(b"\n")
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    if head + end != seal_of(_MAGIC, content):
        raise TrainingError(
            f"{path}: is damaged, or not the state of a training (its SHA-256 does not match); {_AGAIN}"
        )
    # safetensors: eight bytes with the length of a JSON header, which `load` does not return
    length = 8 + int.from_bytes(content[:8], "little")
    facts: dict[str, Any] = json.loads(json.loads(content[8:length])["__metadata__"]["facts"])
    return facts, load(content)
