"""Export of a model as nnU-Net v2's result folders, for `nnUNetv2_predict`."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import torch

from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.errors import BundleError
from mapping_stroke.files import write_json, write_text, written_whole
from mapping_stroke.images.nifti import Shape
from mapping_stroke.interop.nnunet_common import Axes
from mapping_stroke.networks.cards import BundleCard, BundleMember, MemberCard
from mapping_stroke.networks.spec import NetworkSpec, Weights
from mapping_stroke.networks.unet import load_unet

CONFIGURATION = "3d_fullres"
AXES = Axes()
"""z, y, x: this order is its own inverse."""
_NETWORKS = {
    "plain": ("dynamic_network_architectures.architectures.unet.PlainConvUNet", "n_conv_per_stage"),
    "residual": ("dynamic_network_architectures.architectures.unet.ResidualEncoderUNet", "n_blocks_per_stage"),
}


def make_plans(card: MemberCard, dataset: str, plans_name: str) -> dict[str, Any]:
    """`plans.json` of a member, with its network and preprocessing in nnU-Net's terms."""
    spacing = list(AXES.ours(card.preprocess.edges_mm))
    order = 3 if card.preprocess.resampling == "cubic" else 1
    configuration = {
        "data_identifier": f"{plans_name}_{CONFIGURATION}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(AXES.ours(card.patch)),
        "median_image_size_in_voxels": list(map(float, AXES.ours(card.patch))),
        "spacing": spacing,
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [card.preprocess.normalise == "brain"],
        **_resampling("data", is_mask=False, order=order),
        **_resampling("seg", is_mask=True, order=1),
        **_resampling("probabilities", is_mask=False, order=1),
        "architecture": _architecture(card.network),
        "batch_dice": False,
    }
    # nnU-Net requires these statistics but uses them only for CT
    numbers = dict.fromkeys(("max", "mean", "median", "min", "percentile_00_5", "percentile_99_5", "std"), 0.0)
    return {
        "dataset_name": dataset,
        "plans_name": plans_name,
        "original_median_spacing_after_transp": spacing,
        "original_median_shape_after_transp": list(AXES.ours(card.patch)),
        "image_reader_writer": "NibabelIOWithReorient",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {CONFIGURATION: configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": numbers},
    }


def make_dataset() -> dict[str, Any]:
    """`dataset.json` of a model that reads a T1w scan and marks lesions."""
    return {
        "channel_names": {"0": "T1w"},
        "labels": {"background": 0, "lesion": 1},
        "numTraining": 0,
        "file_ending": ".nii.gz",
    }


def _architecture(network: NetworkSpec) -> dict[str, Any]:
    class_name, depths = _NETWORKS[network.encoder]
    return {
        "network_class_name": class_name,
        "arch_kwargs": {
            "n_stages": network.stages,
            "features_per_stage": list(network.features),
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": [list(AXES.ours(kernel)) for kernel in network.stage_kernels],
            "strides": [list(AXES.ours(stride)) for stride in network.stage_strides],
            depths: list(network.depths),
            "n_conv_per_stage_decoder": [network.decoder_convolutions] * (network.stages - 1),
            "conv_bias": network.conv_bias,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def _resampling(what: str, *, is_mask: bool, order: int) -> dict[str, Any]:
    kwargs = {"is_seg": is_mask, "order": order, "order_z": 0, "force_separate_z": None}
    return {f"resampling_fn_{what}": "resample_data_or_seg_to_shape", f"resampling_fn_{what}_kwargs": kwargs}


TRAINER = "nnUNetTrainer"
README_FILE = "README.txt"


def write_nnunet_v2(
    bundle_card: BundleCard, read_weights: Callable[[BundleMember], Weights], folder: Path
) -> list[Path]:
    """Write a model below a folder that nnU-Net can use as its `nnUNet_results`.

    A result folder of nnU-Net holds folds of one network, so each scheme gets its own. nnU-Net runs one such folder at
    a time (`nnUNetv2_ensemble` combines the results). `README.txt` in each has the command and the differences.

    Args:
        bundle_card: The model.
        read_weights: Returns the weights of a member; called once per member, in order.
        folder: Folder for `Dataset900_NAME`, which must not exist yet.

    Returns:
        The result folders, `Dataset900_NAME/nnUNetTrainer__PLANS__3d_fullres`.

    Raises:
        BundleError: nnU-Net v2 has no equivalent of a network or its preprocessing, or the folder exists.
    """
    for member in bundle_card.members:
        _require_expressible(member.card)
    dataset = f"Dataset900_{_letters(bundle_card.name) or 'Mapping'}"
    target = folder / dataset
    if target.exists():
        raise BundleError(f"{target}: exists already; remove it, or give another folder")
    groups = _group(bundle_card)
    with written_whole(target) as partial:
        for plans_name, members in groups.items():
            result = partial / f"{TRAINER}__{plans_name}__{CONFIGURATION}"
            plans = make_plans(members[0].card, dataset, plans_name)
            for name, content in (("plans.json", plans), ("dataset.json", make_dataset())):
                write_json(result / name, content)
            write_text(result / README_FILE, _readme(bundle_card, members[0].card, dataset, plans_name))
            for member in members:
                _write_checkpoint(result, member.card, read_weights(member), plans)
    return [target / f"{TRAINER}__{plans_name}__{CONFIGURATION}" for plans_name in groups]


def differences(bundle_card: BundleCard) -> list[str]:
    """Differences between an exported model in nnU-Net and here, one sentence each."""
    cards = [member.card for member in bundle_card.members]
    found = []
    if bundle_card.space == "MNI152":
        found.append("Scans are not registered: give scans in MNI152 space, like the training scans of the networks.")
    if bundle_card.shows == "brain":
        found.append("Scans are not skull-stripped: give scans that are 0 outside the brain.")
    if any(any(card.preprocess.shift) for card in cards):
        found.append(
            "All networks' grids begin at the edge of the brain, whereas mapping shifts some of them by a "
            "fraction of a voxel: together they see less detail."
        )
    if any(card.preprocess.resampling == "linear" for card in cards):
        edges = sorted({card.preprocess.edges_mm for card in cards if card.preprocess.resampling == "linear"})
        found.append(
            f"Scans whose voxels are not {' or '.join(map(str, edges))} mm are resampled by interpolation, whereas "
            "mapping averages voxels for a coarser grid: their results will differ."
        )
    if bundle_card.average == "probability":
        found.append("Overlapping tiles and folds are averaged as logits, whereas mapping averages P(lesion).")
    if bundle_card.postprocess is not None:
        found.append("The post-processing rule is not part of the folder: masks are P(lesion) > 0.5.")
    return found


def _require_expressible(card: MemberCard) -> None:
    if card.network.skip != "pooled" and card.network.encoder == "residual":
        raise BundleError(
            f"{card.name}: its residual blocks shorten their input by strided convolutions (as nnU-Net v1 does), "
            "for which nnU-Net v2 has no network; leave that member out"
        )
    if card.network.unshuffle > 1:
        raise BundleError(
            f"{card.name}: its first stage takes cubes of voxels as channels, for which nnU-Net v2 has no network; "
            "leave that member out, or export a model of another size than fine"
        )
    if card.preprocess.orientation != "RAS":
        raise BundleError(
            f"{card.name}: reads scans reoriented to {card.preprocess.orientation}, expected RAS, the only "
            "orientation that nnU-Net v2 reorients scans to; leave that member out"
        )


def _group(card: BundleCard) -> dict[str, list[BundleMember]]:
    """Group the members that share a plans file, by its name."""
    groups: dict[tuple[str, NetworkSpec, PreprocessSpec, Shape], list[BundleMember]] = {}
    for member in card.members:
        of = member.card
        groups.setdefault((of.scheme.casefold(), of.network, of.preprocess, of.patch), []).append(member)
    named: dict[str, list[BundleMember]] = {}
    for (scheme, *_), members in groups.items():
        name = next(name for name in _plans_names(scheme) if name not in named)
        named[name] = members
    return named


def _plans_names(scheme: str) -> Iterator[str]:
    name = f"Mapping{_letters(scheme.title())}Plans"
    yield name
    yield from (f"{name}{number}" for number in count(2))


def _letters(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "", text)


def _write_checkpoint(result: Path, card: MemberCard, weights: Weights, plans: dict[str, Any]) -> None:
    """Write the entries of nnU-Net's checkpoint that prediction reads, with each parameter under all of its names."""
    turned = replace(
        card.network,
        kernels=tuple(AXES.ours(kernel) for kernel in card.network.stage_kernels),
        strides=tuple(AXES.ours(stride) for stride in card.network.stage_strides),
    )
    # loaded into a network, because nnU-Net stores each parameter under several names
    network = load_unet(turned, {name: AXES.turn_kernel(array) for name, array in weights.items()})
    path = result / f"fold_{card.fold}" / "checkpoint_final.pth"
    path.parent.mkdir(parents=True)
    init = {"plans": plans, "configuration": CONFIGURATION, "fold": card.fold, "dataset_json": make_dataset()}
    torch.save(
        {
            "network_weights": network.state_dict(),
            "optimizer_state": None,
            "grad_scaler_state": None,
            "logging": {},
            "_best_ema": None,
            "current_epoch": 0,
            "init_args": {**init, "device": torch.device("cpu")},
            "trainer_name": TRAINER,
            "inference_allowed_mirroring_axes": AXES.theirs(card.mirror_axes) or None,
        },
        path,
    )


def _readme(bundle_card: BundleCard, card: MemberCard, dataset: str, plans_name: str) -> str:
    lines = [
        f"{bundle_card.name}, scheme {card.scheme}: exported by mapping-stroke for nnU-Net v2 (2.4 or newer).",
        "",
        f"  nnUNetv2_predict -d {dataset} -p {plans_name} -c {CONFIGURATION} -f FOLDS -i SCANS -o RESULTS",
        "",
        "Scans are NAME_0000.nii.gz; nnUNet_results is the folder above this one's parent.",
        *differences(bundle_card),
        *(f"{name}: {text}" for name, text in _provenance(bundle_card).items() if text),
    ]
    return "\n".join(lines) + "\n"


def _provenance(card: BundleCard) -> dict[str, str]:
    return {
        "Description": card.description,
        "Training data": card.training_data,
        "Licence": card.licence,
        "Citation": card.citation,
    }
