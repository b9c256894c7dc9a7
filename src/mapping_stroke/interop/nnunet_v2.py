"""Import of nnU-Net v2's result folders and plans."""

from pathlib import Path
from typing import Any, Literal

from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.errors import BundleError, ConfigError
from mapping_stroke.files import read_json
from mapping_stroke.images.nifti import Shape
from mapping_stroke.interop.nnunet_common import (
    Axes,
    ImportedModel,
    fit_weights,
    missing_checkpoint,
    read_checkpoint,
    read_tensors,
    refusal,
    require,
)
from mapping_stroke.networks.cards import MemberCard
from mapping_stroke.networks.nnunet_results import CHECKPOINTS_V2, PLANS_V2
from mapping_stroke.networks.spec import Encoder, NetworkSpec, Weights

ENCODERS: dict[str, Encoder] = {"PlainConvUNet": "plain", "ResidualEncoderUNet": "residual"}
_DEPTHS = {"plain": "n_conv_per_stage", "residual": "n_blocks_per_stage"}
_KNOWN = {
    "n_stages", "features_per_stage", "kernel_sizes", "strides", "n_conv_per_stage_decoder", "conv_bias",
    "dropout_op", "dropout_op_kwargs", "deep_supervision",
}  # fmt: skip
"""Options that are read below, or have no effect on prediction."""
LARGEST_ANISOTROPY = 3.0
"""Beyond this ratio of voxel edges nnU-Net resamples the long axis separately, by nearest neighbour."""


def resolve_configuration(plans: dict[str, Any], name: str, path: Path) -> dict[str, Any]:
    """A configuration with everything it inherits."""
    configurations = require(plans, "configurations", path)
    chain: list[dict[str, Any]] = []  # from the configuration to its oldest ancestor
    while name is not None:
        if name not in configurations or len(chain) > len(configurations):  # inherits from itself
            raise refusal(path, f"has no usable configuration {name!r}", f"one of {', '.join(configurations)}")
        chain.append(configurations[name])
        name = configurations[name].get("inherits_from")
    return {key: value for configuration in reversed(chain) for key, value in configuration.items()}


def read_network(configuration: dict[str, Any], axes: Axes, path: Path) -> NetworkSpec:
    """The network of a configuration. Raises `BundleError` for anything that a specification cannot express."""
    architecture = configuration.get("architecture") or _old_architecture(configuration, path)
    class_name = str(require(architecture, "network_class_name", path)).rsplit(".", 1)[-1]
    if class_name not in ENCODERS:
        raise refusal(path, f"the network is {class_name}", " or ".join(ENCODERS))
    kwargs, encoder = require(architecture, "arch_kwargs", path), ENCODERS[class_name]
    _require_usual_parts(kwargs, encoder, path)
    stages = int(require(kwargs, "n_stages", path))
    decoder = set(_per_stage(require(kwargs, "n_conv_per_stage_decoder", path), stages - 1))
    if len(decoder) != 1:
        raise refusal(path, f"n_conv_per_stage_decoder is {sorted(decoder)}", "one number for all stages")
    try:
        return NetworkSpec(
            encoder,
            features=tuple(map(int, _per_stage(require(kwargs, "features_per_stage", path), stages))),
            depths=tuple(map(int, _per_stage(require(kwargs, _DEPTHS[encoder], path), stages))),
            decoder_convolutions=int(decoder.pop()),
            conv_bias=bool(kwargs.get("conv_bias", False)),
            kernels=_edges(require(kwargs, "kernel_sizes", path), stages, axes),
            strides=_edges(require(kwargs, "strides", path), stages, axes),
        )
    except (ConfigError, ValueError, TypeError) as error:
        raise refusal(path, f"the network cannot be described ({error})", "a U-Net of nnU-Net's planner") from error


def read_preprocess(configuration: dict[str, Any], axes: Axes, orientation: str, path: Path) -> PreprocessSpec:
    """The preprocessing of a configuration. Raises `BundleError` if we have no equivalent."""
    schemes = require(configuration, "normalization_schemes", path)
    if schemes != ["ZScoreNormalization"]:
        raise refusal(path, f"normalization_schemes is {schemes}", "['ZScoreNormalization']")
    if configuration.get("preprocessor_name", "DefaultPreprocessor") != "DefaultPreprocessor":
        raise refusal(path, f"preprocessor_name is {configuration['preprocessor_name']!r}", "'DefaultPreprocessor'")
    resampling = configuration.get("resampling_fn_data", "resample_data_or_seg_to_shape")
    order = configuration.get("resampling_fn_data_kwargs", {}).get("order", 3)
    if (resampling, order) != ("resample_data_or_seg_to_shape", 3):
        raise refusal(path, f"scans are resampled by {resampling} of order {order}", "nnU-Net's cubic spline")
    normalise: Literal["brain", "box"] = "brain" if require(configuration, "use_mask_for_norm", path)[0] else "box"
    return preprocess_spec(require(configuration, "spacing", path), normalise, axes, orientation, path)


def preprocess_spec(
    spacing: Any, normalise: Literal["brain", "box"], axes: Axes, orientation: str, path: Path
) -> PreprocessSpec:
    """A specification with nnU-Net's spacing along our axes, as a single edge for cubic voxels."""
    try:
        x, y, z = (float(edge) for edge in axes.ours(spacing))
        if max(x, y, z) > LARGEST_ANISOTROPY * min(x, y, z):
            raise refusal(path, f"spacing is {x, y, z} mm", f"edges that differ at most {LARGEST_ANISOTROPY:g}-fold")
        return PreprocessSpec(x if x == y == z else (x, y, z), normalise, "cubic", orientation)
    except (ConfigError, ValueError, TypeError) as error:
        raise refusal(path, f"the preprocessing cannot be described ({error})", "three edges in mm") from error


def _require_usual_parts(kwargs: dict[str, Any], encoder: Encoder, path: Path) -> None:
    """Refuse operations and options that change the network without changing the names of its weights."""
    usual = {
        "conv_op": ("Conv3d",),
        "norm_op": ("InstanceNorm3d",),
        "nonlin": ("LeakyReLU",),
        "block": ("BasicBlockD",),
    }
    for name, value in kwargs.items():
        if name in usual:
            if str(value).rsplit(".", 1)[-1] not in usual[name] and not (name == "block" and value is None):
                raise refusal(path, f"{name} is {value}", usual[name][0])
        elif name == "norm_op_kwargs":
            if value.get("eps", 1e-5) != 1e-5 or not value.get("affine", False):
                raise refusal(path, f"norm_op_kwargs is {value}", "eps 1e-5 and affine")
        elif name == "nonlin_kwargs":
            if (value or {}).get("negative_slope", 0.01) != 0.01:
                raise refusal(path, f"nonlin_kwargs is {value}", "a negative_slope of 0.01")
        elif name not in _KNOWN and name != _DEPTHS[encoder] and value not in (None, False):
            raise refusal(path, f"the network has {name} = {value}", "an option of nnU-Net's planner")
    for name in ("conv_op", "norm_op", "norm_op_kwargs", "nonlin"):
        require(kwargs, name, path)


def _old_architecture(configuration: dict[str, Any], path: Path) -> dict[str, Any]:
    """Convert plans from before nnU-Net 2.4 to the current form."""
    name = str(require(configuration, "UNet_class_name", path))
    depths = require(configuration, "n_conv_per_stage_encoder", path)
    base, largest = (
        int(require(configuration, f"{key}", path)) for key in ("UNet_base_num_features", "unet_max_num_features")
    )
    dimensions = len(require(configuration, "patch_size", path))
    return {
        "network_class_name": name,
        "arch_kwargs": {
            "n_stages": len(depths),
            "features_per_stage": [min(base * 2**stage, largest) for stage in range(len(depths))],
            "conv_op": f"Conv{dimensions}d",
            "kernel_sizes": require(configuration, "conv_kernel_sizes", path),
            "strides": require(configuration, "pool_op_kernel_sizes", path),
            _DEPTHS[ENCODERS.get(name, "plain")]: depths,
            "n_conv_per_stage_decoder": require(configuration, "n_conv_per_stage_decoder", path),
            "conv_bias": True,
            "norm_op": f"InstanceNorm{dimensions}d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "nonlin": "LeakyReLU",
        },
    }  # fmt: skip


def _per_stage(value: Any, stages: int) -> list[Any]:
    """One entry per stage, even if plans have one for all."""
    return list(value) if isinstance(value, list | tuple) else [value] * stages


def _edges(value: Any, stages: int, axes: Axes) -> tuple[Shape, ...]:
    return tuple(axes.ours([int(edge) for edge in _per_stage(entry, 3)]) for entry in _per_stage(value, stages))


DATASET_FILE = "dataset.json"
_ONE_ORIENTATION = "NibabelIOWithReorient"
"""The reader that reorients every scan to RAS; the others keep the file's own axes."""
_COPIES = (".all_modules.", "decoder.encoder.")
"""Second names of the same parameters in nnU-Net's checkpoints."""


def read_v2(folder: Path, scheme: str | None, orientation: str, checkpoint: str) -> ImportedModel:
    """Read a result folder: every `fold_N`, or `fold_all` if there is no other.

    Raises:
        BundleError: The folder is incomplete, or its model is not supported: a 2D or cascade configuration, several
            channels or lesion classes, another network, normalisation or resampling.
    """
    path = folder / PLANS_V2
    plans, dataset = _read_object(path), _read_object(folder / DATASET_FILE)
    trainer, configuration_name = _names(folder, plans)
    configuration = resolve_configuration(plans, configuration_name, path)
    _require_one_scan_and_lesion(configuration, dataset, folder)
    axes = _read_axes(plans, path)
    if plans.get("image_reader_writer") == _ONE_ORIENTATION and orientation != "RAS":
        raise refusal(path, f"its reader reorients scans to RAS, but orientation {orientation} is given", "RAS")
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
    """Trainer and configuration, from the folder's name."""
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
        raise refusal(folder, "the configuration is the second stage of a cascade", "one that needs only the scan")
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
    """The folds that have the checkpoint, in order, or `all` if there is no numbered one."""
    name = CHECKPOINTS_V2[checkpoint]
    found = {path.parent.name.removeprefix("fold_") for path in folder.glob(f"fold_*/{name}")}
    numbered = sorted((fold for fold in found if fold.isdecimal()), key=int)
    if not numbered and "all" not in found:
        raise missing_checkpoint(folder, CHECKPOINTS_V2, checkpoint)
    return numbered or ["all"]


def _read_mirror_axes(path: Path, axes: Axes) -> tuple[int, ...]:
    """Axes along which its training mirrored patches, or none if the checkpoint does not record them, as in nnU-Net."""
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
