"""A training run on disk: stop at any time, go on with the same numbers."""

from dataclasses import asdict
from pathlib import Path
from pickle import UnpicklingError

import torch

from mapping_stroke.errors import TrainingError
from mapping_stroke.files import written_whole
from mapping_stroke.training.loop import Epoch, TrainingState


def write_checkpoint(path: Path, state: TrainingState, recipe: str) -> None:
    """Write weights, optimiser, random states and records, whole or not at all.

    Args:
        path: The checkpoint file.
        state: What to keep.
        recipe: Fingerprint of all that decides the training; only the same recipe can go on from here.
    """
    values = {
        "recipe": recipe,
        "network": state.network.state_dict(),
        "optimiser": state.optimiser.state_dict(),
        "numbers": state.random.numbers.bit_generator.state,
        "noise": state.random.noise.get_state(),
        "epochs": [asdict(epoch) for epoch in state.epochs],
    }
    with written_whole(path) as partial:
        torch.save(values, partial)


def resume_from(path: Path, state: TrainingState, recipe: str) -> bool:
    """Bring a fresh state to where a checkpoint stands; False where there is none, or one of another recipe.

    Raises:
        TrainingError: The checkpoint is damaged.
    """
    if not path.is_file():
        return False
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
        if values["recipe"] != recipe:
            return False
        state.network.load_state_dict(values["network"])
        state.optimiser.load_state_dict(values["optimiser"])
        state.random.numbers.bit_generator.state = values["numbers"]
        state.random.noise.set_state(values["noise"])
        state.epochs[:] = [Epoch(**epoch) for epoch in values["epochs"]]
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, EOFError, UnpicklingError) as error:
        raise TrainingError(
            f"{path}: the checkpoint is damaged ({type(error).__name__}); delete it to train this member anew"
        ) from error
    return True
