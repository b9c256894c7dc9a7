"""Models on disk: find, check and pack members; exchange with other programs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

import numpy as np

from mapping_stroke.console import say, track, warn
from mapping_stroke.errors import BundleError, ConfigError
from mapping_stroke.files import require_space
from mapping_stroke.interop.nnunet import find_result, read_nnunet, unpacked
from mapping_stroke.interop.nnunet_common import ImportedModel
from mapping_stroke.interop.nnunet_export import differences, write_nnunet_v2
from mapping_stroke.models.labels import ModelLabels
from mapping_stroke.networks.archive import SUFFIX
from mapping_stroke.networks.bundle import BUNDLE_FILE, Bundle, bundled_models, open_bundle, write_bundle
from mapping_stroke.networks.cards import BundleCard, BundleMember
from mapping_stroke.networks.member_folder import CARD_FILE, has_member
from mapping_stroke.networks.nnunet_results import folds_without
from mapping_stroke.networks.spec import Weights
from mapping_stroke.rules import find_rule

ReadWeights = Callable[[BundleMember], Weights]


@dataclass(frozen=True)
class Selection:
    """What of a model is packed.

    Attributes:
        schemes: Members of these schemes; empty for all.
        folds: Members of these folds; empty for all.
        half: Store weights in float16: half the bytes.
        spread: Lay the members' grids differently, so that together they see between the voxels of one.
        beside: A model whose members all come first, as they are: those that see other voxels err otherwise. A member
            whose scheme and fold is there already gets the next fold, and a model without a rule takes that model's;
            empty for none.
        first: Name of the member that comes first, such as `residual, fold 0`: that of the preset `fast`; empty leaves
            the order as it is.
    """

    schemes: tuple[str, ...] = ()
    folds: tuple[int, ...] = ()
    half: bool = False
    spread: bool = False
    beside: str = ""
    first: str = ""


EVERYTHING = Selection()
SHIFTS = ((0.0, 0.0, 0.0), (1 / 3, 2 / 3, 1 / 3), (2 / 3, 1 / 3, 2 / 3), (1 / 3, 1 / 3, 0.0))
"""Of the grids of one member after another, where they are spread."""


def find_models(folders: Sequence[Path]) -> Iterator[Bundle]:
    """The models that came with the installation, then those in folders; one that cannot be opened is told.

    Args:
        folders: Models themselves, or folders that hold models: zips, model folders, and runs with trained members.
    """
    found = [*bundled_models(), *(path for folder in folders for path in _models_in(folder))]
    for path in dict.fromkeys(found):
        try:
            yield open_bundle(path)
        except BundleError as error:
            warn(str(error))


def verify_model(model: str | Path) -> Bundle:
    """Check the hash of every weight file, and every parameter's name, type, shape and values; problems are told.

    Raises:
        BundleError: The first problem, and how many there are.
    """
    bundle = open_bundle(model)
    members = bundle.card.members
    problems = []
    for member in track(members, "Verifying", len(members)):
        problems += bundle.find_problems(member)
    for problem in problems:
        say(problem)
    if problems:
        raise BundleError(problems[0] if len(problems) == 1 else f"{problems[0]} (and {len(problems) - 1} more)")
    return bundle


def pack_model(
    model: str | Path,
    target: Path,
    labels: ModelLabels,
    selection: Selection = EVERYTHING,
    *,
    overwrite: bool = False,
) -> Bundle:
    """Write the members of a run, or of another model, as a model that can be shared.

    Args:
        model: See `open_bundle`.
        target: See `write_bundle`.
        labels: What to say about it.
        selection: Which members, and how their weights are stored.
        overwrite: Replace a model that stands there.

    Raises:
        BundleError: There is no such model, scheme, fold or member, or what `write_bundle` raises.
    """
    bundle = open_bundle(model)
    chosen = _choose(bundle, selection.schemes, selection.folds)
    if selection.spread:
        chosen = tuple(_shift(member, SHIFTS[index % len(SHIFTS)]) for index, member in enumerate(chosen))
    former = open_bundle(selection.beside) if selection.beside else None
    sources = [(former, member) for member in former.card.members] if former else []
    sources += [(bundle, member) for member in chosen]
    members = _told_apart([member for _, member in sources])
    card = replace(bundle.card, members=_led_by(selection.first, members, bundle.path))
    if former is not None and card.postprocess is None:
        of_former = former.card.postprocess_origin and f"of {former.card.name}: {former.card.postprocess_origin}"
        card = replace(card, postprocess=former.card.postprocess, postprocess_origin=of_former)
    card = relabel(card, labels)
    if former is not None and former.card.licence not in card.licence:
        own = f"{card.licence}; " if card.licence else ""
        card = replace(card, licence=f"{own}{former.card.licence} (of {former.card.name}, whose members it holds)")
    readers = {
        joined.card.name: partial(_reader(of, selection), member)
        for joined, (of, member) in zip(members, sources, strict=True)
    }
    return write_with_progress(target, card, lambda member: readers[member.card.name](), overwrite=overwrite)


def _told_apart(members: Sequence[BundleMember]) -> tuple[BundleMember, ...]:
    """Members of one model: one whose scheme and fold is there already gets the next fold."""
    joined: list[BundleMember] = []
    for member in members:
        taken = [other.card.fold for other in joined if other.card.scheme == member.card.scheme]
        fold = member.card.fold if member.card.fold not in taken else max(taken) + 1
        joined.append(BundleMember(replace(member.card, fold=fold)))
    return tuple(joined)


def _led_by(first: str, members: tuple[BundleMember, ...], path: Path) -> tuple[BundleMember, ...]:
    """The members with the one of that name before the others; as they are where there is no name."""
    if not first:
        return members
    names = [member.card.name for member in members]
    if first not in names:
        raise BundleError(f"{path}: has no member {first!r}; expected one of {', '.join(map(repr, names))}")
    return tuple(sorted(members, key=lambda member: member.card.name != first))


def _shift(member: BundleMember, shift: tuple[float, float, float]) -> BundleMember:
    preprocess = replace(member.card.preprocess, shift=shift)
    return replace(member, card=replace(member.card, preprocess=preprocess))


def _reader(bundle: Bundle, selection: Selection) -> ReadWeights:
    """Reads the weights of a model as they are to be stored; what is too large becomes infinite, which is refused."""
    if not selection.half:
        return bundle.read_stored

    def read(member: BundleMember) -> Weights:
        with np.errstate(over="ignore"):
            return {name: value.astype(np.float16) for name, value in bundle.read_weights(member).items()}

    return read


def write_with_progress(target: Path, card: BundleCard, weights: ReadWeights, *, overwrite: bool) -> Bundle:
    """`write_bundle`, showing how far it is."""
    with told(weights, card, "Packing") as weights_told:
        write_bundle(target, card, weights_told, overwrite=overwrite)
    return open_bundle(target)


@contextmanager
def told(weights: ReadWeights, card: BundleCard, what: str) -> Iterator[ReadWeights]:
    """Yield a function that gives the same weights, and shows for how many members it was asked."""
    progress = track(card.members, what, len(card.members))

    def read(member: BundleMember) -> Weights:
        next(progress)
        return weights(member)

    yield read
    list(progress)  # all are done: this ends the bar


def relabel(card: BundleCard, labels: ModelLabels) -> BundleCard:
    """The card with what the labels say; what they leave out stays."""
    given = {field.name: getattr(labels, field.name) for field in fields(labels) if field.name != "rule"}
    card = replace(card, **{name: value for name, value in given.items() if value not in ("", "keep")})
    return card if labels.rule == "keep" else replace(card, postprocess=find_rule(labels.rule), postprocess_origin="")


def _choose(bundle: Bundle, schemes: Sequence[str], folds: Sequence[int]) -> tuple[BundleMember, ...]:
    cards = [member.card for member in bundle.card.members]
    _require_known("scheme", schemes, list(dict.fromkeys(card.scheme for card in cards)), bundle.path)
    _require_known("fold", folds, sorted({card.fold for card in cards}), bundle.path)
    chosen = tuple(
        member
        for member in bundle.card.members
        if (not schemes or member.card.scheme in schemes) and (not folds or member.card.fold in folds)
    )
    if not chosen:
        raise BundleError(f"{bundle.path}: has no member of these schemes and folds; leave --schemes or --folds out")
    return chosen


def _require_known(what: str, wanted: Sequence[object], known: Sequence[object], path: Path) -> None:
    for one in wanted:
        if one not in known:
            raise BundleError(f"{path}: has no {what} {one}; expected some of {', '.join(map(str, known))}")


def _models_in(folder: Path) -> list[Path]:
    """The folder itself where it is a model, otherwise the models right inside it, sorted."""
    if not folder.exists():
        raise BundleError(f"{folder}: no such folder; name a folder that holds models")
    if _is_model(folder):
        return [folder]
    if not folder.is_dir():
        raise BundleError(f"{folder}: is no model, expected a {SUFFIX} file or a folder that holds models")
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and _is_model(path))


def _is_model(path: Path) -> bool:
    if not path.is_dir():
        return path.suffix == SUFFIX
    trained = path / "train"
    has_trained = trained.is_dir() and any(trained.rglob(CARD_FILE))
    return (path / BUNDLE_FILE).is_file() or has_member(path) or has_trained


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
