"""Models on disk: find, verify and pack them; import and export them for nnU-Net."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import numpy as np

from mapping_stroke.console import say, track, warn
from mapping_stroke.errors import BundleError, ConfigError
from mapping_stroke.files import require_space
from mapping_stroke.interop.nnunet import find_result, read_nnunet, unpacked
from mapping_stroke.interop.nnunet_common import ImportedModel
from mapping_stroke.interop.nnunet_export import differences, write_nnunet_v2
from mapping_stroke.models.settings import ImportConfig, ModelLabels, Selection
from mapping_stroke.models.snapshot import write_snapshot
from mapping_stroke.networks.archive import SUFFIX
from mapping_stroke.networks.bundle import BUNDLE_FILE, Bundle, bundled_models, open_bundle, write_bundle
from mapping_stroke.networks.cards import BundleCard, BundleMember
from mapping_stroke.networks.member_folder import CARD_FILE, has_member
from mapping_stroke.networks.nnunet_results import folds_without
from mapping_stroke.networks.spec import Weights
from mapping_stroke.rules import find_rule
from mapping_stroke.training.small_state import SUFFIX as STATE_SUFFIX

ReadWeights = Callable[[BundleMember], Weights]


EVERYTHING = Selection()
SHIFTS = ((0.0, 0.0, 0.0), (1 / 3, 2 / 3, 1 / 3), (2 / 3, 1 / 3, 2 / 3), (1 / 3, 1 / 3, 0.0))
"""Grid shifts of successive members, in voxels, if they are spread."""


def find_models(folders: Sequence[Path]) -> Iterator[Bundle]:
    """The models of this installation, then those in folders; warns of each that cannot be opened.

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
    """Check the hash of every weight file, and every parameter's name, type, shape and values; print each problem.

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
    """Write the members of a run, or of another model, as a model for sharing.

    Args:
        model: See `open_bundle`; or the small state of a training in progress (`*.state`), which becomes a model of one
            member.
        target: See `write_bundle`.
        labels: Facts for its card.
        selection: Which members, and how their weights are stored. With `beside`, a member whose scheme and fold are
            taken gets the next fold, and a model without a rule takes that of the other.
        overwrite: Replace an existing model.

    Raises:
        BundleError: There is no such model, scheme, fold or member, or `write_bundle` raises.
        TrainingError: The small state is missing or damaged.
    """
    if Path(model).suffix == STATE_SUFFIX:
        with tempfile.TemporaryDirectory() as folder:
            member = write_snapshot(Path(model), Path(folder) / "member")
            return pack_model(member, target, labels, selection, overwrite=overwrite)
    bundle = open_bundle(model)
    chosen = _choose(bundle, selection.schemes, selection.folds)
    if selection.spread:
        chosen = tuple(_shift(member, SHIFTS[index % len(SHIFTS)]) for index, member in enumerate(chosen))
    former = open_bundle(selection.beside) if selection.beside else None
    sources = [(former, member) for member in former.card.members] if former else []
    sources += [(bundle, member) for member in chosen]
    members = _with_distinct_folds([member for _, member in sources])
    card = replace(bundle.card, members=_led_by(selection.first, members, bundle.path))
    if former is not None and card.postprocess is None:
        of_former = former.card.postprocess_origin and f"of {former.card.name}: {former.card.postprocess_origin}"
        card = replace(card, postprocess=former.card.postprocess, postprocess_origin=of_former)
    card = relabel(card, labels)
    if former is not None and former.card.licence not in card.licence:
        own = f"{card.licence}; " if card.licence else ""
        card = replace(card, licence=f"{own}{former.card.licence} (of {former.card.name}, whose members it holds)")
    readers = {
        joined.card.name: partial(_reader(of, half=selection.half), member)
        for joined, (of, member) in zip(members, sources, strict=True)
    }
    return write_with_progress(target, card, lambda member: readers[member.card.name](), overwrite=overwrite)


def _with_distinct_folds(members: Sequence[BundleMember]) -> tuple[BundleMember, ...]:
    """The members with distinct names: one whose scheme and fold are taken gets the next fold."""
    joined: list[BundleMember] = []
    for member in members:
        taken = [other.card.fold for other in joined if other.card.scheme == member.card.scheme]
        fold = member.card.fold if member.card.fold not in taken else max(taken) + 1
        joined.append(BundleMember(replace(member.card, fold=fold)))
    return tuple(joined)


def _led_by(first: str, members: tuple[BundleMember, ...], path: Path) -> tuple[BundleMember, ...]:
    """The members with the one of that name moved to the front; unchanged for an empty name."""
    if not first:
        return members
    names = [member.card.name for member in members]
    if first not in names:
        raise BundleError(f"{path}: has no member {first!r}; expected one of {', '.join(map(repr, names))}")
    # sorting is stable: all others keep their order
    return tuple(sorted(members, key=lambda member: member.card.name != first))


def _shift(member: BundleMember, shift: tuple[float, float, float]) -> BundleMember:
    preprocess = replace(member.card.preprocess, shift=shift)
    return replace(member, card=replace(member.card, preprocess=preprocess))


def _reader(bundle: Bundle, *, half: bool) -> ReadWeights:
    """A reader of weights as they are stored; in float16, values out of range become infinite and are refused later."""
    if not half:
        return bundle.read_stored

    def read(member: BundleMember) -> Weights:
        with np.errstate(over="ignore"):
            return {name: value.astype(np.float16) for name, value in bundle.read_weights(member).items()}

    return read


def write_with_progress(target: Path, card: BundleCard, weights: ReadWeights, *, overwrite: bool) -> Bundle:
    """`write_bundle` with a progress bar."""
    with progress_shown(weights, card, "Packing") as shown_weights:
        write_bundle(target, card, shown_weights, overwrite=overwrite)
    return open_bundle(target)


@contextmanager
def progress_shown(weights: ReadWeights, card: BundleCard, title: str) -> Iterator[ReadWeights]:
    """Yield a function that returns the same weights and advances a progress bar by one member per call."""
    progress = track(card.members, title, len(card.members))

    def read(member: BundleMember) -> Weights:
        next(progress)
        return weights(member)

    yield read
    list(progress)  # runs the bar to its end


def relabel(card: BundleCard, labels: ModelLabels) -> BundleCard:
    """The card updated with the labels; empty ones change nothing."""
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
        raise BundleError(f"{bundle.path}: has no member of these schemes and folds; leave out --schemes or --folds")
    return chosen


def _require_known(kind: str, wanted: Sequence[object], known: Sequence[object], path: Path) -> None:
    for one in wanted:
        if one not in known:
            raise BundleError(f"{path}: has no {kind} {one}; expected some of {', '.join(map(str, known))}")


def _models_in(folder: Path) -> list[Path]:
    """The folder itself if it is a model, otherwise the models directly inside it, sorted."""
    if not folder.exists():
        raise BundleError(f"{folder}: no such folder; give a folder that holds models")
    if _is_model(folder):
        return [folder]
    if not folder.is_dir():
        raise BundleError(f"{folder}: is not a model, expected a {SUFFIX} file or a folder that holds models")
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and _is_model(path))


def _is_model(path: Path) -> bool:
    if not path.is_dir():
        return path.suffix == SUFFIX
    trained = path / "train"
    has_trained = trained.is_dir() and any(trained.rglob(CARD_FILE))
    return (path / BUNDLE_FILE).is_file() or has_member(path) or has_trained


def import_models(
    sources: Sequence[Path], target: Path, labels: ModelLabels, config: ImportConfig, *, overwrite: bool = False
) -> Bundle:
    """Read all folds of nnU-Net's result folders into one model; warns of folds without the checkpoint.

    Args:
        sources: Folders, see `read_nnunet`, or zips exported by nnU-Net; the members keep their order.
        target: See `write_bundle`.
        labels: Facts for its card; the name defaults to that of `target`.
        config: Names, orientation, checkpoint.
        overwrite: Replace an existing model.

    Raises:
        ConfigError: There is no folder, or their number differs from that of the names.
        BundleError: A folder cannot be read, two have members of the same name, or they are averaged differently.
    """
    names: list[str | None] = [*config.scheme] or [None] * len(sources)
    if not sources or len(names) != len(sources):
        raise ConfigError(
            f"got {len(sources)} folders and {len(config.scheme)} names; give --scheme one name per folder"
        )
    with ExitStack() as stack:
        folders = [find_result(stack.enter_context(unpacked(source, target.parent))) for source in sources]
        models = [
            read_nnunet(folder, scheme=name, orientation=config.orientation, checkpoint=config.checkpoint)
            for folder, name in zip(folders, names, strict=True)
        ]
        for source, folder in zip(sources, folders, strict=True):
            for fold in folds_without(folder, config.checkpoint):
                warn(f"{source}: {fold} has no checkpoint {config.checkpoint!r} and is left out")
        card, weights = _join(sources, models, target.stem)
        return write_with_progress(target, relabel(card, labels), weights, overwrite=overwrite)


def _join(sources: Sequence[Path], models: Sequence[ImportedModel], name: str) -> tuple[BundleCard, ReadWeights]:
    """One model of all members, and a reader of their weights; raises `BundleError` if they do not go together."""
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
    """Write a model as result folders of nnU-Net v2, and print how its results will differ there.

    Args:
        model: See `open_bundle`.
        folder: A folder for nnU-Net to use as `nnUNet_results`; the model gets a folder of its own inside.

    Returns:
        The result folders.

    Raises:
        BundleError: There is no such model, nnU-Net has no equivalent, or its folder exists already.
    """
    bundle = open_bundle(model)
    require_space(folder, bundle.size_bytes)
    with progress_shown(bundle.read_weights, bundle.card, "Exporting") as weights:
        written = write_nnunet_v2(bundle.card, weights, folder)
    for difference in differences(bundle.card):
        say(f"Note: {difference}")
    return written


def _require_one_average(sources: Sequence[Path], models: Sequence[ImportedModel]) -> None:
    for source, model in zip(sources, models, strict=True):
        if model.average != models[0].average:
            raise BundleError(
                f"{source}: its members are averaged by {model.average}, those of {sources[0]} by {models[0].average}; "
                "import them into two models"
            )


def _require_different_members(sources: Sequence[Path], models: Sequence[ImportedModel]) -> None:
    first: dict[str, Path] = {}
    for source, model in zip(sources, models, strict=True):
        for card in model.members:
            if card.name in first:
                raise BundleError(
                    f"{source}: has a member {card.name}, and so has {first[card.name]}; give --scheme one name per "
                    "folder"
                )
            first[card.name] = source
