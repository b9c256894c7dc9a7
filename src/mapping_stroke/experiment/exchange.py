"""Models of other programs: into one bundle, and out again."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from mapping_stroke.console import say, warn
from mapping_stroke.errors import BundleError, ConfigError
from mapping_stroke.experiment.model_labels import ModelLabels
from mapping_stroke.experiment.models import ReadWeights, relabel, told, write_with_progress
from mapping_stroke.files import require_space
from mapping_stroke.interop.export_nnunet_v2 import differences, write_nnunet_v2
from mapping_stroke.interop.nnunet import ImportedModel, find_result, read_nnunet
from mapping_stroke.interop.nnunet_zip import unpacked
from mapping_stroke.networks.bundle import Bundle, BundleCard, BundleMember, open_bundle
from mapping_stroke.networks.nnunet_results import folds_without
from mapping_stroke.networks.spec import Weights


@dataclass(frozen=True)
class ImportConfig:
    """How folders of nnU-Net are read."""

    schemes: tuple[str, ...] = ()
    """What to call the members of each folder, one name for each; empty to guess."""
    orientation: str = "RAS"
    """Where the axes of the training scans pointed."""
    checkpoint: str = "final"
    """`final`, `best` or `latest`."""


def import_models(
    sources: Sequence[Path], target: Path, labels: ModelLabels, config: ImportConfig, *, overwrite: bool = False
) -> Bundle:
    """Read nnU-Net's result folders, all their folds, into one model; a fold without the checkpoint is told.

    Args:
        sources: Folders, see `read_nnunet`, or zips that nnU-Net exported; the members keep their order.
        target: See `write_bundle`.
        labels: What to say about the model; the name is that of `target` unless given.
        config: Names, orientation, checkpoint.
        overwrite: Replace a model that stands there.

    Raises:
        ConfigError: The names are not as many as the folders, or there is no folder.
        BundleError: A folder cannot be read, two have members of one name, or they are averaged in different ways.
    """
    names: list[str | None] = [*config.schemes] or [None] * len(sources)
    if not sources or len(names) != len(sources):
        raise ConfigError(
            f"got {len(sources)} folders and {len(config.schemes)} names; give --scheme one name for each folder"
        )
    with ExitStack() as stack:
        folders = [find_result(stack.enter_context(unpacked(source, target.parent))) for source in sources]
        models = [
            read_nnunet(folder, scheme=name, orientation=config.orientation, checkpoint=config.checkpoint)
            for folder, name in zip(folders, names, strict=True)
        ]
        for source, folder in zip(sources, folders, strict=True):
            for fold in folds_without(folder, config.checkpoint):
                warn(f"{source}: {fold} has no checkpoint {config.checkpoint!r}, and is left out")
        card, weights = _join(sources, models, target.stem)
        return write_with_progress(target, relabel(card, labels), weights, overwrite=overwrite)


def _join(sources: Sequence[Path], models: Sequence[ImportedModel], name: str) -> tuple[BundleCard, ReadWeights]:
    """One model of all members, and what reads their weights; raises `BundleError` where they do not go together."""
    _require_one_average(sources, models)
    _require_different_members(sources, models)
    places = [(model, number) for model in models for number in range(len(model.members))]
    members = tuple(BundleMember(model.members[number]) for model, number in places)
    by_name = {member.card.name: place for member, place in zip(members, places, strict=True)}
    description = "\n".join(dict.fromkeys(model.description for model in models))
    card = BundleCard(name, members, models[0].average, description=description)

    def weights(member: BundleMember) -> Weights:
        model, number = by_name[member.card.name]
        return model.weights(number)

    return card, weights


def export_model(model: str | Path, folder: Path) -> list[Path]:
    """Write a model as nnU-Net v2's result folders, telling what that program will do differently.

    Args:
        model: See `open_bundle`.
        folder: What nnU-Net may take as `nnUNet_results`; the model gets a folder of its own in there.

    Returns:
        The result folders.

    Raises:
        BundleError: There is no such model, it has no equivalent there, or its folder is there already.
    """
    bundle = open_bundle(model)
    require_space(folder, bundle.size_bytes)
    with told(bundle.read_weights, bundle.card, "Exporting") as weights:
        written = write_nnunet_v2(bundle.card, weights, folder)
    for difference in differences(bundle.card):
        say(f"Note: {difference}")
    return written


def _require_one_average(sources: Sequence[Path], models: Sequence[ImportedModel]) -> None:
    for source, model in zip(sources, models, strict=True):
        if model.average != models[0].average:
            raise BundleError(
                f"{source}: its members are averaged as {model.average}, those of {sources[0]} as {models[0].average}; "
                "import them into two models"
            )


def _require_different_members(sources: Sequence[Path], models: Sequence[ImportedModel]) -> None:
    first: dict[str, Path] = {}
    for source, model in zip(sources, models, strict=True):
        for card in model.members:
            if card.name in first:
                raise BundleError(
                    f"{source}: has a member {card.name}, as {first[card.name]} has; give --scheme a name for each "
                    "folder"
                )
            first[card.name] = source
