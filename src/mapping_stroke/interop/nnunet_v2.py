"""nnU-Net v2's result folders, `Dataset.../TRAINER__PLANS__CONFIGURATION`, read as members."""

from pathlib import Path
from typing import Any

from mapping_stroke.errors import BundleError
from mapping_stroke.files import read_json
from mapping_stroke.interop.axes import Axes
from mapping_stroke.interop.checkpoints import read_checkpoint, read_tensors
from mapping_stroke.interop.fitting import fit_weights
from mapping_stroke.interop.imported import ImportedModel, missing_checkpoint, refusal, require
from mapping_stroke.interop.plans_v2 import read_network, read_preprocess, resolve_configuration
from mapping_stroke.networks.cards import MemberCard
from mapping_stroke.networks.nnunet_results import CHECKPOINTS_V2, PLANS_V2
from mapping_stroke.networks.spec import NetworkSpec, Weights

DATASET_FILE = "dataset.json"
_ONE_ORIENTATION = "NibabelIOWithReorient"
"""The reader that turns every scan to RAS; the others keep the file's own axes."""
_COPIES = (".all_modules.", "decoder.encoder.")
"""Second names of the same parameters in nnU-Net's checkpoints."""


def read_v2(folder: Path, scheme: str | None, orientation: str, checkpoint: str) -> ImportedModel:
    """Read a result folder: every `fold_N`, or `fold_all` where there is no other.

    Raises:
        BundleError: The folder is incomplete, or holds what a bundle cannot: a 2D or cascade configuration, several
            channels or lesion classes, another network, normalisation or resampling.
    """
    path = folder / PLANS_V2
    plans, dataset = _read_object(path), _read_object(folder / DATASET_FILE)
    trainer, configuration_name = _names(folder, plans)
    configuration = resolve_configuration(plans, configuration_name, path)
    _require_one_scan_and_lesion(configuration, dataset, folder)
    axes = _read_axes(plans, path)
    if plans.get("image_reader_writer") == _ONE_ORIENTATION and orientation != "RAS":
        raise refusal(path, f"its reader turns scans to RAS, but orientation {orientation} is asked for", "RAS")
    network = read_network(configuration, axes, path)
    preprocess = read_preprocess(configuration, axes, orientation, path)
    x, y, z = axes.ours([int(edge) for edge in require(configuration, "patch_size", path)])
    name, folds = CHECKPOINTS_V2[checkpoint], _find_folds(folder, checkpoint)
    source = {
        "source": "nnU-Net v2", "trainer": trainer, "plans": plans.get("plans_name", "nnUNetPlans"),
        "configuration": configuration_name, "dataset": plans.get("dataset_name", folder.parent.name),
        "checkpoint": checkpoint,
    }  # fmt: skip
    members = tuple(
        MemberCard(
            scheme or _guess_scheme(trainer, network), 0 if fold == "all" else int(fold), network, preprocess,
            (x, y, z), {**source, "nnunet_fold": fold}, _read_mirror_axes(folder / f"fold_{fold}" / name, axes),
        )
        for fold in folds
    )  # fmt: skip

    def read(number: int) -> Weights:
        file = folder / f"fold_{folds[number]}" / name
        return _read_weights(file, network, axes, (trainer, configuration_name))

    description = f"nnU-Net v2, {trainer}, {source['plans']}, {configuration_name}, trained on {source['dataset']}"
    return ImportedModel(members, "logit", description, read)


def _read_object(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise BundleError(f"{path}: missing; copy nnU-Net's whole result folder, TRAINER__PLANS__CONFIGURATION")
    values = read_json(path)
    if not isinstance(values, dict):
        raise BundleError(f"{path}: holds a {type(values).__name__}, expected an object; copy that file again")
    return values


def _names(folder: Path, plans: dict[str, Any]) -> tuple[str, str]:
    """Trainer and configuration, as the folder's name says."""
    parts = folder.resolve().name.split("__")
    if len(parts) != 3:
        configurations = ", ".join(plans.get("configurations", {}))
        raise BundleError(
            f"{folder}: is named {folder.resolve().name!r}, expected TRAINER__PLANS__CONFIGURATION as nnU-Net names "
            f"it (its plans know the configurations {configurations}); rename the folder"
        )
    return parts[0], parts[2]


def _read_axes(plans: dict[str, Any], path: Path) -> Axes:
    try:
        return Axes.from_transpose(require(plans, "transpose_forward", path))
    except (ValueError, TypeError) as error:
        raise BundleError(f"{path}: {error}; copy that file again") from error


def _require_one_scan_and_lesion(configuration: dict[str, Any], dataset: dict[str, Any], folder: Path) -> None:
    if len(require(configuration, "patch_size", folder / PLANS_V2)) != 3:
        raise refusal(folder, "the configuration is 2D", "a 3D one")
    if configuration.get("previous_stage"):
        raise refusal(folder, "the configuration is the second stage of a cascade", "one that needs the scan alone")
    path = folder / DATASET_FILE
    channels = dataset.get("channel_names") or dataset.get("modality") or {}
    if len(channels) != 1:
        raise refusal(
            path, f"the network reads {len(channels)} channels {list(channels.values())}", "one, the T1w scan"
        )
    labels = {name: value for name, value in require(dataset, "labels", path).items() if name != "ignore"}
    if any(isinstance(value, list) for value in labels.values()):
        raise refusal(path, "the network is trained on regions", "the labels background 0 and lesion 1")
    if sorted(labels.values(), key=str) != [0, 1]:
        raise refusal(path, f"the labels are {labels}", "background 0 and lesion 1")


def _find_folds(folder: Path, checkpoint: str) -> list[str]:
    """The folds that have the checkpoint, in order; `all` only where there is no numbered one."""
    name = CHECKPOINTS_V2[checkpoint]
    found = {path.parent.name.removeprefix("fold_") for path in folder.glob(f"fold_*/{name}")}
    numbered = sorted((fold for fold in found if fold.isdecimal()), key=int)
    if not numbered and "all" not in found:
        raise missing_checkpoint(folder, CHECKPOINTS_V2, checkpoint)
    return numbered or ["all"]


def _read_mirror_axes(path: Path, axes: Axes) -> tuple[int, ...]:
    """Those along which its training mirrored patches; none where the checkpoint does not say, as nnU-Net has it."""
    entry = "inference_allowed_mirroring_axes"
    allowed = read_checkpoint(path).get(entry)
    try:
        return axes.ours_of([int(axis) for axis in allowed or ()])
    except (ValueError, TypeError) as error:
        raise BundleError(
            f"{path}: {entry} is {allowed!r}, expected some of 0, 1 and 2; copy that file again"
        ) from error


def _guess_scheme(trainer: str, network: NetworkSpec) -> str:
    if "topk10" in trainer.lower():
        return "dice-topk10"
    return "residual" if network.encoder == "residual" else "default"


def _read_weights(path: Path, network: NetworkSpec, axes: Axes, names: tuple[str, str]) -> Weights:
    checkpoint = read_checkpoint(path)
    found = (checkpoint.get("trainer_name"), (checkpoint.get("init_args") or {}).get("configuration"))
    if any(inside is not None and inside != outside for inside, outside in zip(found, names, strict=True)):
        raise BundleError(f"{path}: was written by {found}, but its folder says {names}; copy the right checkpoint")
    tensors = read_tensors(checkpoint, "network_weights", path)
    once = {name: axes.turn_kernel(array) for name, array in tensors.items() if not any(c in name for c in _COPIES)}
    return fit_weights(once, network, path)
