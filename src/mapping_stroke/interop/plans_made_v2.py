"""nnU-Net v2's plans.json and dataset.json, made for a member."""

from typing import Any

from mapping_stroke.interop.axes import Axes
from mapping_stroke.networks.cards import MemberCard
from mapping_stroke.networks.spec import NetworkSpec

CONFIGURATION = "3d_fullres"
AXES = Axes()
"""z, y, x: its own inverse."""
_NETWORKS = {
    "plain": ("dynamic_network_architectures.architectures.unet.PlainConvUNet", "n_conv_per_stage"),
    "residual": ("dynamic_network_architectures.architectures.unet.ResidualEncoderUNet", "n_blocks_per_stage"),
}


def make_plans(card: MemberCard, dataset: str, plans_name: str) -> dict[str, Any]:
    """`plans.json` for a member: what nnU-Net's planner would say of its network and preprocessing."""
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
