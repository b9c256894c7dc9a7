"""A training in one small file that can be taken elsewhere: no moments of the optimiser, weights in 8 or 16 bits.

Like a checkpoint it is a line of text with a SHA-256, then the content: a safetensors file, which executes nothing.
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
from mapping_stroke.networks.unet import set_weights, unet_weights
from mapping_stroke.training.checkpoint import seal_of, write_sealed
from mapping_stroke.training.loop import Epoch, EpochSoFar, TrainingState
from mapping_stroke.training.scheduled import average_weights
from mapping_stroke.training.supply import Memory, Position

MOST_BYTES = 8 * 2**20
OTHER_BYTES = 300_000
"""Of a file, beside the weights: names, records, scales."""
SUFFIX = ".state"
_MAGIC = b"mapping state 1, sha256 "
_AGAIN = "copy it again, or begin without --state"
Parameter = Float32[np.ndarray, "..."]


@dataclass(frozen=True)
class Packing:
    """Bytes of a weight, of 0, 1 or 2: as it is on average, and how far from that it is just now."""

    average: int
    difference: int


PACKINGS = (Packing(2, 2), Packing(2, 1), Packing(1, 1), Packing(1, 0))
"""The first that fits is taken. Without differences a training goes on from the average."""


@dataclass(frozen=True)
class Identity:
    """Whose state a file holds.

    Attributes:
        network: What the weights are for.
        settings: All that decides the training, as plain values.
        recipe: Their fingerprint.
    """

    network: NetworkSpec
    settings: Mapping[str, Any]
    recipe: str


def choose_packing(network: NetworkSpec) -> Packing:
    """The most precise packing in which a network's state has at most `MOST_BYTES`; the smallest if none has."""
    room = MOST_BYTES - OTHER_BYTES
    fitting = [one for one in PACKINGS if (one.average + one.difference) * count_parameters(network) <= room]
    return fitting[0] if fitting else PACKINGS[-1]


def write_state(path: Path, state: TrainingState, position: Position, identity: Identity) -> None:
    """Write what is needed to go on elsewhere, whole or not at all.

    Args:
        path: Its file.
        state: Weights, random numbers, records.
        position: Average of the weights, patches done.
        identity: Who may go on from it.
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
    """Bring a training to where a small state stands, unless it has come farther already.

    The optimiser begins anew, so the learning rate will rise from 0 again; random numbers go on, and a period that was
    not over begins anew in its records.

    Args:
        path: From `write_state`.
        state: Changed in place, as is `position`.
        position: Where the training stands.
        identity: Of this training.

    Returns:
        Whether it was brought there.

    Raises:
        TrainingError: The file is missing, damaged, or that of another network or of other settings; nothing changed.
    """
    facts, arrays = _read(path)
    network = json.loads(json.dumps(asdict(identity.network)))
    if facts["network"] != network:
        raise TrainingError(f"{path}: is the state of another network; give the --size and --schemes that wrote it")
    if facts["recipe"] != identity.recipe:
        settings = json.loads(json.dumps(identity.settings))
        differ = ", ".join(sorted(_differences(facts["settings"], settings))) or "the numbers behind names"
        raise TrainingError(
            f"{path}: is of a training with other settings ({differ}); give the same, or begin without --state"
        )
    if facts["patches"] <= position.patches:
        return False
    weights, average = _unpack(arrays, unet_weights(state.network))
    set_weights(state.network, weights)
    for name, value in average.items():
        position.average[name].copy_(torch.from_numpy(value))
    position.patches = position.restarted_at = facts["patches"]
    position.seconds = facts.get("seconds", 0.0)  # absent from states that were written before there were any
    position.memory = Memory(made=max(facts["made"], position.memory.made))
    state.random.numbers.bit_generator.state = facts["numbers"]
    state.optimiser.state.clear()
    state.epochs[:] = [Epoch(**epoch) for epoch in facts["epochs"]]
    state.so_far = EpochSoFar()
    return True


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> set[str]:
    return {key for key in before.keys() | now.keys() if before.get(key) != now.get(key)}


def _pack(weights: Weights, average: Weights, packing: Packing) -> dict[str, np.ndarray]:
    """Both as they are stored; a difference is from the average as it will be read."""
    arrays: dict[str, np.ndarray] = {}
    for name, mean in average.items():
        arrays |= _stored(f"average/{name}", mean, packing.average)
        difference = weights[name] - _restored(arrays, f"average/{name}", mean.shape)
        arrays |= _stored(f"difference/{name}", difference, packing.difference)
    return arrays


def _unpack(arrays: Mapping[str, np.ndarray], average: Weights) -> tuple[Weights, Weights]:
    """The weights and their average, for a network whose weights have these names and shapes."""
    means = {name: _restored(arrays, f"average/{name}", value.shape) for name, value in average.items()}
    return {name: mean + _restored(arrays, f"difference/{name}", mean.shape) for name, mean in means.items()}, means


def _stored(name: str, values: Parameter, size: int) -> dict[str, np.ndarray]:
    """Values in so many bytes each; in one byte as 127 steps up to the largest along each place of the first axis."""
    values = np.ascontiguousarray(values)
    if size == 0:
        return {}
    if size == 2 or values.ndim == 1:  # biases and norms are few, and must be exact
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
    """What a whole file says, and its arrays."""
    try:
        head, end, content = path.read_bytes().partition(b"\n")
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    if head + end != seal_of(_MAGIC, content):
        raise TrainingError(f"{path}: is damaged, or no state of a training (its SHA-256 does not fit); {_AGAIN}")
    length = 8 + int.from_bytes(content[:8], "little")
    facts: dict[str, Any] = json.loads(json.loads(content[8:length])["__metadata__"]["facts"])
    return facts, load(content)
