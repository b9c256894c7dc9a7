"""Make the golden files in `golden/` with the real nnU-Net, v1 and v2; `golden/README.md` has the command.

Each model in `models.zip` is tiny, made by the real program's trainer with random weights, and saved by that trainer.
`golden.npz` holds, for each, one patch (z, y, x, as nnU-Net reads it) and the logits that the real network gives.
"""

import inspect
import os
import pickle
import shutil
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

GOLDEN = Path(__file__).parent / "golden"
ISOTROPIC = [[3, 3, 3], [3, 3, 3], [3, 3, 3]]
ANISOTROPIC = [[1, 3, 3], [3, 3, 3], [3, 3, 3]]
"""Of a plan for thick slices: no kernel across them at the finest stage."""


def main() -> None:
    GOLDEN.mkdir(exist_ok=True)
    os.chdir(GOLDEN)  # the real programs write the paths that they are given into their files
    shutil.rmtree("models", ignore_errors=True)
    torch.manual_seed(20221128)
    arrays: dict[str, np.ndarray] = {}
    for name, (trainer, plans_name, resenc, kernels, transpose) in V1_MODELS.items():
        folder = Path("models") / name / f"{trainer}__{plans_name}"
        arrays |= golden(name, make_v1(folder, trainer, v1_plans(kernels, transpose, resenc=resenc)))
    for name, (trainer, plans_name, architecture, transpose) in V2_MODELS.items():
        folder = Path("models") / name / f"{trainer}__{plans_name}__3d_fullres"
        arrays |= golden(name, make_v2(folder, trainer, v2_plans(plans_name, architecture, transpose)))
    np.savez_compressed("golden.npz", **arrays)
    shutil.make_archive("models", "zip", "models")
    shutil.rmtree("models")


V1_MODELS = {
    "Task100_plain": ("nnUNetTrainerV2", "nnUNetPlansv2.1", False, ISOTROPIC, [0, 1, 2]),
    "Task101_thick": ("nnUNetTrainerV2_Loss_DiceTopK10", "nnUNetPlansv2.1", False, ANISOTROPIC, [1, 0, 2]),
    "Task102_residual": (
        "nnUNetTrainerV2_ResencUNet_DA3", "nnUNetPlans_FabiansResUNet_v2.1", True, ANISOTROPIC, [0, 1, 2],
    ),
}  # fmt: skip
V2_MODELS = {
    "Dataset100_plain": ("nnUNetTrainer", "nnUNetPlans", "PlainConvUNet", [0, 1, 2]),
    "Dataset101_residual": ("nnUNetTrainer", "nnUNetResEncUNetLPlans", "ResidualEncoderUNet", [2, 0, 1]),
}


def make_v1(folder: Path, trainer_name: str, plans: dict[str, Any]) -> nn.Module:
    """Write a folder as v1's trainer does; the network predicts its finest output."""
    network: nn.Module = make_v1_trainer(folder, trainer_name, plans).network
    return network


def make_v1_trainer(folder: Path, trainer_name: str, plans: dict[str, Any]) -> Any:
    from nnunet.training.model_restore import recursive_find_python_class
    from nnunet.training.network_training.nnUNetTrainer import nnUNetTrainer

    where = str(Path(inspect.getfile(nnUNetTrainer)).parent)
    trainer_class = recursive_find_python_class([where], trainer_name, "nnunet.training.network_training")
    folder.mkdir(parents=True)
    plans_file = folder / "plans.pkl"
    with plans_file.open("wb") as file:
        pickle.dump(plans, file)
    trainer = trainer_class(str(plans_file), 0, str(folder), None, True, 0, True, False, False)
    trainer.load_plans_file()
    trainer.process_plans(trainer.plans)
    trainer.initialize_network()
    trainer.initialize_optimizer_and_scheduler()
    randomise(trainer.network)
    trainer.epoch = 999
    trainer.all_tr_losses, trainer.all_val_eval_metrics = [np.float64(-0.5)], [np.float64(0.6)]
    trainer.best_val_eval_criterion_MA = np.float64(0.6)
    (folder / "fold_0").mkdir(exist_ok=True)
    trainer.print_to_log_file = print
    trainer.save_checkpoint(str(folder / "fold_0" / "model_final_checkpoint.model"))
    network = trainer.network
    network.do_ds = False
    if hasattr(network, "decoder"):
        network.decoder.deep_supervision = False
    return trainer


def v1_plans(
    kernels: list[list[int]], transpose: list[int], *, resenc: bool, patch: int = 16, features: int = 1
) -> dict[str, Any]:
    """What v1's planner writes, in its types."""
    pools = [[2, 2, 2]] * (len(kernels) - 1)
    if kernels is ANISOTROPIC:
        pools[0] = [1, 2, 2]
    stage = {
        "batch_size": 2,
        "num_pool_per_axis": [len(kernels) - 1] * 3,
        "patch_size": np.array([patch] * 3),
        "median_patient_size_in_voxels": np.array([18, 18, 18]),
        "current_spacing": np.array([1.0, 1.0, 1.0]),
        "original_spacing": np.array([1.0, 1.0, 1.0]),
        "do_dummy_2D_data_aug": np.bool_(False),
        "pool_op_kernel_sizes": [[1, 1, 1], *pools] if resenc else pools,
        "conv_kernel_sizes": kernels,
    }
    if resenc:
        blocks = (1, 2, 3, 4, 4, 4) if len(kernels) == 6 else (1, 1, 2)
        stage |= {"num_blocks_encoder": blocks, "num_blocks_decoder": (1,) * (len(kernels) - 1)}
    return {
        "num_stages": 1,
        "num_modalities": 1,
        "modalities": {0: "T1w"},
        "normalization_schemes": OrderedDict([(0, "nonCT")]),
        "dataset_properties": {"all_sizes": [np.array([18, 18, 18])], "intensityproperties": None, "all_classes": [1]},
        "list_of_npz_files": ["case.npz"],
        "original_spacings": [np.array([1.0, 1.0, 1.0])],
        "original_sizes": [np.array([18, 18, 18])],
        "preprocessed_data_folder": "nnUNet_preprocessed",
        "num_classes": 1,
        "all_classes": [1],
        "base_num_features": features,
        "use_mask_for_norm": OrderedDict([(0, np.bool_(True))]),
        "keep_only_largest_region": None,
        "min_region_size_per_class": None,
        "min_size_per_class": None,
        "transpose_forward": transpose,
        "transpose_backward": [transpose.index(axis) for axis in range(3)],
        "data_identifier": "nnUNetData_plans_v2.1",
        "plans_per_stage": {0: stage},
        "preprocessor_name": "GenericPreprocessor",
        "conv_per_stage": 2,
    }


def make_v2(folder: Path, trainer_name: str, plans: dict[str, Any]) -> nn.Module:
    """Write a folder as v2's trainer does; the network predicts its finest output."""
    from batchgenerators.utilities.file_and_folder_operations import save_json
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    assert trainer_name == nnUNetTrainer.__name__
    dataset = {
        "channel_names": {"0": "T1w"}, "labels": {"background": 0, "lesion": 1}, "numTraining": 2,
        "file_ending": ".nii.gz",
    }  # fmt: skip
    (folder / "fold_0").mkdir(parents=True)
    save_json(plans, str(folder / "plans.json"), sort_keys=False)
    save_json(dataset, str(folder / "dataset.json"))
    trainer = nnUNetTrainer({**plans, "continue_training": False}, "3d_fullres", 0, dataset, torch.device("cpu"))
    Path(trainer.preprocessed_dataset_folder).mkdir(parents=True, exist_ok=True)
    (Path(trainer.preprocessed_dataset_folder) / "case.b2nd").touch()  # it asks which kind of data there is
    trainer.initialize()
    randomise(trainer.network)
    for key in trainer.logger.local_logger.my_fantastic_logging:
        trainer.logger.log(key, [np.float32(0.5)] if key == "dice_per_class_or_region" else np.float64(0.5), 0)
    trainer._best_ema = np.float64(0.5)
    trainer.inference_allowed_mirroring_axes = (0, 1, 2)
    trainer.save_checkpoint(str(folder / "fold_0" / "checkpoint_final.pth"))
    network = trainer.network
    trainer.set_deep_supervision_enabled(False)
    return network


def v2_plans(plans_name: str, architecture: str, transpose: list[int]) -> dict[str, Any]:
    """What v2.8's planner writes."""
    residual = architecture.startswith("Residual")
    resample = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    configuration = {
        "data_identifier": f"{plans_name}_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [16, 16, 16],
        "median_image_size_in_voxels": [18.0, 18.0, 18.0],
        "spacing": [1.0, 1.0, 1.0],
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [True],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": resample,
        "resampling_fn_seg_kwargs": {**resample, "is_seg": True, "order": 1},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": {**resample, "order": 1},
        "architecture": {
            "network_class_name": f"dynamic_network_architectures.architectures.unet.{architecture}",
            "arch_kwargs": {
                "n_stages": 3,
                "features_per_stage": [1, 2, 4],
                "conv_op": "torch.nn.modules.conv.Conv3d",
                "kernel_sizes": ANISOTROPIC,
                "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
                **({"n_blocks_per_stage": [1, 1, 2]} if residual else {"n_conv_per_stage": [2, 2, 2]}),
                "n_conv_per_stage_decoder": [1, 1] if residual else [2, 2],
                "conv_bias": True,
                "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
                "norm_op_kwargs": {"eps": 1e-05, "affine": True},
                "dropout_op": None,
                "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
        "batch_dice": False,
    }
    return {
        "dataset_name": "Dataset100_plain",
        "plans_name": plans_name,
        "original_median_spacing_after_transp": [1.0, 1.0, 1.0],
        "original_median_shape_after_transp": [18, 18, 18],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": transpose,
        "transpose_backward": [transpose.index(axis) for axis in range(3)],
        "configurations": {"3d_fullres": configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {
            "0": {"max": 1.0, "mean": 0.5, "median": 0.5, "min": 0.0, "percentile_00_5": 0.0, "percentile_99_5": 1.0,
                  "std": 0.2}
        },
    }  # fmt: skip


def randomise(network: nn.Module) -> None:
    """Every number random, so that a parameter in the wrong place shows."""
    with torch.no_grad():
        for parameter in network.parameters():
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
            parameter.normal_(0.0, (2 / fan_in) ** 0.5 if parameter.ndim > 1 else 0.5)


def golden(name: str, network: nn.Module) -> dict[str, np.ndarray]:
    """A patch and the real program's logits for it."""
    patch = torch.randn(1, 1, 8, 12, 4)
    with torch.no_grad():
        logits = network.eval()(patch)
    return {f"{name}_patch": patch[0, 0].numpy(), f"{name}_logits": logits[0].numpy()}


if __name__ == "__main__":
    sys.exit(main())
