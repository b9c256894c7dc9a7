"""Import of nnU-Net v1's result folders."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.errors import BundleError, ConfigError
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
from mapping_stroke.interop.nnunet_v2 import preprocess_spec
from mapping_stroke.interop.pickles import read_pickle
from mapping_stroke.networks.cards import MemberCard
from mapping_stroke.networks.nnunet_results import CHECKPOINTS_V1, PLANS_V1
from mapping_stroke.networks.spec import NetworkSpec, Weights

_PLAIN = (
    (r"conv_blocks_context\.(\d+)\.blocks\.(\d+)\.", r"encoder.stages.\1.0.convs.\2."),
    (r"tu\.", "decoder.transpconvs."),
    (r"seg_outputs\.", "decoder.seg_layers."),
)
_PLAIN_HALVES = re.compile(r"conv_blocks_(context|localization)\.(\d+)\.([01])\.blocks\.(\d+)\.(.+)")
"""The deepest stage and those of the decoder store their last convolution separately."""
_RESIDUAL = (
    (r"encoder\.initial_(conv|norm)\.", r"encoder.stem.convs.0.\1."),
    (r"decoder\.tus\.", "decoder.transpconvs."),
    (r"decoder\.deep_supervision_outputs\.", "decoder.seg_layers."),
)
_BLOCK = re.compile(r"encoder\.stages\.(\d+)\.convs\.(\d+)\.(conv|norm)(\d)\.(.+)")
_SKIP = re.compile(r"encoder\.stages\.(\d+)\.convs\.(\d+)\.downsample_skip\.([01])\.(.+)")


def rename_plain(weights: Weights) -> Weights:
    """Rename the parameters of `Generic_UNet`. Unknown names stay."""
    return {_plain_name(name, weights).replace(".instnorm.", ".norm."): array for name, array in weights.items()}


def rename_residual(weights: Weights) -> Weights:
    """Rename the parameters of `FabiansUNet`, each once. Unknown names stay."""
    outputs = {name.split(".")[2] for name in weights if name.startswith("decoder.tus.")}
    finest = f"decoder.seg_layers.{len(outputs) - 1}."
    return {
        _residual_name(name).replace("decoder.segmentation_output.", finest): array
        for name, array in weights.items()
        if ".all." not in name  # second names of the same parameters
    }


def _plain_name(name: str, weights: Weights) -> str:
    halves = _PLAIN_HALVES.fullmatch(name)
    if halves is None:
        return _replace(name, _PLAIN)
    path, stage, half, number, rest = halves.groups()
    # the separate last convolution is numbered after those of the first half
    before = f"conv_blocks_{path}.{stage}.0.blocks."
    first = len({other.split(".")[4] for other in weights if other.startswith(before)}) if half == "1" else 0
    place = f"encoder.stages.{stage}.0" if path == "context" else f"decoder.stages.{stage}"
    return f"{place}.convs.{first + int(number)}.{rest}"


def _residual_name(name: str) -> str:
    block, skip = _BLOCK.fullmatch(name), _SKIP.fullmatch(name)
    if block:
        stage, number, kind, which, rest = block.groups()
        return f"encoder.stages.{stage}.blocks.{number}.conv{which}.{kind}.{rest}"
    if skip:
        stage, number, part, rest = skip.groups()
        return f"encoder.stages.{stage}.blocks.{number}.skip.0.{'norm' if part == '1' else 'conv'}.{rest}"
    return _replace(name, _RESIDUAL)


def _replace(name: str, patterns: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in patterns:
        name, count = re.subn(rf"^{pattern}", replacement, name)
        if count:
            break
    return name


LARGEST_FEATURES = 320
OTHER_NETWORKS = ("_BN", "_GN", "_FRN", "GeLU", "Mish", "ReLU", "NoNormalization", "Cascade")
"""Parts of trainer names in v1 whose networks differ in ways that plans and weights do not show."""
UNMIRRORED = ("nomirroring", "nodataaugmentation")
"""Parts of lower-case trainer names in v1 that do not mirror patches."""


def read_v1(folder: Path, scheme: str | None, orientation: str, checkpoint: str) -> ImportedModel:
    """Read a result folder of nnU-Net v1: `Generic_UNet`, or `FabiansUNet` (trainers named `...ResencUNet...`).

    Raises:
        BundleError: The folder is incomplete, holds a pickle that asks to call something, or a model that is not
            supported: 2D, cascade, several channels or classes, another network, normalisation or resampling.
    """
    path = folder / PLANS_V1
    plans, trainer = read_pickle(path), folder.resolve().name.split("__")[0]
    other = next((part for part in OTHER_NETWORKS if part in trainer), None)
    if other is not None:
        raise refusal(
            folder, f"the trainer {trainer} builds another network ({other})", "nnUNetTrainerV2 or a similar one"
        )
    stage = _read_stage(plans, path, coarse=folder.resolve().parent.parent.name == "3d_lowres")
    residual = "resenc" in trainer.lower()
    try:
        axes = Axes.from_transpose(plans.get("transpose_forward") or (0, 1, 2))
        network = (_residual_network if residual else _plain_network)(plans, stage, axes, path)
        x, y, z = axes.ours([int(edge) for edge in require(stage, "patch_size", path)])
    except (ConfigError, ValueError, TypeError) as error:
        raise refusal(path, f"the network cannot be described ({error})", "a U-Net of nnU-Net's planner") from error
    preprocess = _read_preprocess(plans, stage, axes, orientation, path)
    name, folds = CHECKPOINTS_V1[checkpoint], _find_folds(folder, checkpoint)
    source = {"source": "nnU-Net v1", "trainer": trainer, "plans": _plans_name(folder), "checkpoint": checkpoint}
    source["dataset"] = folder.resolve().parent.name
    members = tuple(
        MemberCard(
            scheme or _guess_scheme(folder.resolve(), trainer), 0 if fold == "all" else int(fold[5:]), network,
            preprocess, (x, y, z), {**source, "nnunet_fold": fold.removeprefix("fold_")},
            () if any(part in trainer.lower() for part in UNMIRRORED) else (0, 1, 2),
        )
        for fold in folds
    )  # fmt: skip

    def read(number: int) -> Weights:
        return _read_weights(folder / folds[number] / name, network, axes)

    description = f"nnU-Net v1, {trainer}, {source['plans']}, trained on {source['dataset']}"
    return ImportedModel(members, "probability", description, read)


def _read_stage(plans: Any, path: Path, *, coarse: bool) -> dict[str, Any]:
    """The plans of the finest resolution, which `3d_fullres` uses, or of the coarsest (`3d_lowres`)."""
    classes, channels = require(plans, "num_classes", path), require(plans, "num_modalities", path)
    if classes != 1:
        raise refusal(path, f"the network distinguishes {classes} classes from the background", "one, the lesion")
    if channels != 1:
        raise refusal(path, f"the network reads {channels} channels", "one, the T1w scan")
    stages = require(plans, "plans_per_stage", path)
    if not isinstance(stages, dict) or not stages:
        raise BundleError(f"{path}: describes no stage; copy that file again")
    stage = stages[min(stages) if coarse else max(stages)]
    if len(require(stage, "patch_size", path)) != 3:
        raise refusal(path, "the network is 2D", "a 3D one")
    return dict(stage)


def _plain_network(plans: dict[str, Any], stage: dict[str, Any], axes: Axes, path: Path) -> NetworkSpec:
    """`Generic_UNet`. A stage of its decoder has the kernel of the next coarser stage of its encoder."""
    pools, kernels = _read_edges(stage, path)
    if len(kernels) != len(pools) + 1:
        raise refusal(path, f"has {len(kernels)} kernels for {len(pools)} poolings", "one kernel more")
    # one kernel per stage: the larger one holds both, padded with zeros
    widest = [_wider(own, coarser) for own, coarser in pairwise(kernels)]
    count = len(kernels)
    convolutions = int(plans.get("conv_per_stage", 2))
    return NetworkSpec(
        "plain",
        features=_features(plans, count, path),
        depths=(convolutions,) * count,
        decoder_convolutions=convolutions,
        conv_bias=True,
        kernels=tuple(axes.ours(kernel) for kernel in (*widest, kernels[-1])),
        strides=((1, 1, 1), *(axes.ours(pool) for pool in pools)),
    )


def _residual_network(plans: dict[str, Any], stage: dict[str, Any], axes: Axes, path: Path) -> NetworkSpec:
    """`FabiansUNet`. Its first convolution has a kernel of 3, whatever the plans say."""
    pools, kernels = _read_edges(stage, path)
    if len(kernels) != len(pools):
        raise refusal(path, f"has {len(kernels)} kernels and {len(pools)} poolings", "plans for FabiansUNet")
    decoder = set(require(stage, "num_blocks_decoder", path))
    if len(decoder) != 1:
        raise refusal(path, f"num_blocks_decoder is {sorted(decoder)}", "one number for all stages")
    kernels[0] = _wider(kernels[0], [3, 3, 3])
    return NetworkSpec(
        "residual",
        features=_features(plans, len(kernels), path),
        depths=tuple(int(blocks) for blocks in require(stage, "num_blocks_encoder", path)),
        decoder_convolutions=int(decoder.pop()),
        conv_bias=False,
        kernels=tuple(axes.ours(kernel) for kernel in kernels),
        strides=tuple(axes.ours(pool) for pool in pools),
        skip="strided",
    )


def _read_edges(stage: dict[str, Any], path: Path) -> tuple[list[list[int]], list[list[int]]]:
    """Poolings and kernels along nnU-Net's axes."""
    pools, kernels = ([[int(edge) for edge in entry] for entry in require(stage, name, path)]
                      for name in ("pool_op_kernel_sizes", "conv_kernel_sizes"))  # fmt: skip
    if any(edge not in (1, 3) for kernel in kernels for edge in kernel):
        raise refusal(path, f"conv_kernel_sizes is {kernels}", "edges of 1 or 3")
    return pools, kernels


def _wider(kernel: list[int], other: list[int]) -> list[int]:
    return [max(edges) for edges in zip(kernel, other, strict=True)]


def _features(plans: dict[str, Any], stages: int, path: Path) -> Shape | tuple[int, ...]:
    base = int(require(plans, "base_num_features", path))
    return tuple(min(base * 2**stage, LARGEST_FEATURES) for stage in range(stages))


def _read_preprocess(
    plans: dict[str, Any], stage: dict[str, Any], axes: Axes, orientation: str, path: Path
) -> PreprocessSpec:
    """The preprocessing. v1 normalises after resampling, v2 and we before it: the same at the network's spacing."""
    scheme, masked = (require(plans, name, path) for name in ("normalization_schemes", "use_mask_for_norm"))
    if scheme.get(0) != "nonCT":
        raise refusal(path, f"the normalisation is {scheme.get(0)!r}", "'nonCT' (z-scores)")
    if plans.get("preprocessor_name", "GenericPreprocessor") != "GenericPreprocessor":
        raise refusal(path, f"preprocessor_name is {plans['preprocessor_name']!r}", "'GenericPreprocessor'")
    normalise: Literal["brain", "box"] = "brain" if masked.get(0) else "box"
    return preprocess_spec(require(stage, "current_spacing", path), normalise, axes, orientation, path)


def _find_folds(folder: Path, checkpoint: str) -> list[str]:
    """The folders of the folds that have the checkpoint, in order, or `all` if there is no numbered one."""
    name = CHECKPOINTS_V1[checkpoint]
    found = [path.parent.name for path in folder.glob(f"fold_*/{name}") if path.parent.name[5:].isdecimal()]
    if not found and not (folder / "all" / name).is_file():
        raise missing_checkpoint(folder, CHECKPOINTS_V1, checkpoint)
    return sorted(found, key=lambda fold: int(fold[5:])) or ["all"]


def _plans_name(folder: Path) -> str:
    return folder.resolve().name.partition("__")[2] or "nnUNetPlansv2.1"


def _guess_scheme(folder: Path, trainer: str) -> str:
    """Guess the paper's scheme of one of the authors' folders. Their Task103 includes pseudo-labels."""
    if "resenc" in trainer.lower():
        return "residual"
    if "topk10" in trainer.lower():
        return "dice-topk10"
    return "self-training" if "_DA3" in trainer or folder.parent.name.startswith("Task103") else "default"


def _read_weights(path: Path, network: NetworkSpec, axes: Axes) -> Weights:
    tensors = read_tensors(read_checkpoint(path), "state_dict", path)
    renamed = (rename_residual if network.encoder == "residual" else rename_plain)(tensors)
    return fit_weights({name: axes.turn_kernel(array) for name, array in renamed.items()}, network, path)
