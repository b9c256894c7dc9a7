"""A member from the small state of a training that has not ended, to see what it has learned so far."""

from pathlib import Path

from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.networks.cards import MemberCard
from mapping_stroke.networks.member_folder import write_member
from mapping_stroke.networks.typed_json import read_typed
from mapping_stroke.training.schemes import Scheme, augmentation_of
from mapping_stroke.training.small_state import Snapshot, read_snapshot


def write_snapshot(state: Path, folder: Path) -> Path:
    """Write the average of the weights in a small state as a trained member.

    Args:
        state: A file that `train_by_schedule` wrote.
        folder: Folder of the member to write.

    Returns:
        The folder.

    Raises:
        TrainingError: The state is missing or damaged.
    """
    snapshot = read_snapshot(state)
    write_member(folder, snapshot.weights, _card(snapshot))
    return folder


def _card(snapshot: Snapshot) -> MemberCard:
    settings = snapshot.settings
    size, schedule = settings["size"], settings["schedule"]
    scheme = Scheme(**settings["scheme"])
    dice = snapshot.epochs[-1].foreground_dice if snapshot.epochs else float("nan")
    return MemberCard(
        scheme=scheme.name,
        fold=settings["fold"],
        network=snapshot.network,
        preprocess=read_typed(PreprocessSpec, size["preprocess"], "preprocess"),
        patch=tuple(size["patch"]),
        mirror_axes=augmentation_of(scheme).mirror_axes,
        training={
            "recipe": snapshot.recipe,
            "size": size["name"],
            "seed": settings["seed"],
            "epochs": len(snapshot.epochs),
            "patches": snapshot.patches,
            "schedule": schedule,
            "validation_dice": dice,
            "simulation": settings["simulation"],
        },
    )
