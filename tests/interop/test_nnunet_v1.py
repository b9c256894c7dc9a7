import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mapping_stroke.errors import BundleError
from mapping_stroke.interop.nnunet import read_nnunet

Edit = Callable[[dict[str, Any]], object]


@pytest.fixture
def folder(golden_models: Path) -> Path:
    (found,) = (golden_models / "Task100_plain").iterdir()
    return found


def edit(folder: Path, change: Edit) -> None:
    plans = pickle.loads((folder / "plans.pkl").read_bytes())
    change(plans)
    (folder / "plans.pkl").write_bytes(pickle.dumps(plans))


def stage(plans: dict[str, Any]) -> dict[str, Any]:
    return plans["plans_per_stage"][0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda p: p.update(num_classes=2), "distinguishes 2 classes"),
        (lambda p: p.update(num_modalities=3), "reads 3 channels"),
        (lambda p: p.update(normalization_schemes={0: "CT"}), "normalisation is 'CT'"),
        (lambda p: p.update(normalization_schemes={0: "noNorm"}), "normalisation is 'noNorm'"),
        (lambda p: p.update(preprocessor_name="PreprocessorFor2D"), "preprocessor_name is 'PreprocessorFor2D'"),
        (lambda p: p.update(transpose_forward=[0, 1]), "transpose_forward is"),
        (lambda p: p.update(plans_per_stage={}), "describes no stage"),
        (lambda p: p.pop("base_num_features"), "no entry 'base_num_features'"),
        (lambda p: stage(p).update(patch_size=np.array([16, 16])), "network is 2D"),
        (lambda p: stage(p).update(conv_kernel_sizes=[[3, 3, 3]] * 2), "2 kernels for 2 poolings"),
        (lambda p: stage(p).update(conv_kernel_sizes=[[5, 5, 5]] * 3), "expected edges of 1 or 3"),
        (lambda p: stage(p).update(current_spacing=np.array([5.0, 1.0, 1.0])), "differ at most 3-fold"),
        (lambda p: stage(p).update(pool_op_kernel_sizes=[[2, 2], [2, 2]]), "one for each of 3 axes"),
    ],
)
def test_what_a_bundle_cannot_hold_is_refused_by_name(folder: Path, change: Edit, reason: str) -> None:
    edit(folder, change)
    with pytest.raises(BundleError, match=rf"plans\.pkl: .*{reason}"):
        read_nnunet(folder)


@pytest.mark.parametrize("trainer", ["nnUNetTrainerV2_BN", "nnUNetTrainerV2CascadeFullRes", "nnUNetTrainerV2_ReLU"])
def test_trainers_that_build_another_network_are_refused_by_name(folder: Path, trainer: str) -> None:
    renamed = folder.rename(folder.with_name(f"{trainer}__nnUNetPlansv2.1"))
    with pytest.raises(BundleError, match=f"the trainer {trainer} builds another network"):
        read_nnunet(renamed)


def test_plain_plans_under_a_residual_trainer_are_refused(folder: Path) -> None:
    renamed = folder.rename(folder.with_name("nnUNetTrainerV2_ResencUNet__nnUNetPlansv2.1"))
    with pytest.raises(BundleError, match="3 kernels and 2 poolings, expected plans for FabiansUNet"):
        read_nnunet(renamed)


@pytest.mark.parametrize(
    ("task", "trainer", "scheme"),
    [
        ("Task102_ATLAS", "nnUNetTrainerV2", "default"),
        ("Task102_ATLAS", "nnUNetTrainerV2_800epochs_Loss_DiceTopK10", "dice-topk10"),
        ("Task103_ATLAS", "nnUNetTrainerV2", "self-training"),
        ("Task103_ATLAS", "nnUNetTrainerV2_DA3", "self-training"),
    ],
)
def test_the_scheme_is_told_by_the_names_that_the_authors_gave(
    folder: Path, task: str, trainer: str, scheme: str
) -> None:
    place = folder.parents[1] / task / f"{trainer}__nnUNetPlansv2.1"
    place.parent.mkdir()
    folder.rename(place)
    assert read_nnunet(place).members[0].scheme == scheme
    assert read_nnunet(place, scheme="other").members[0].scheme == "other"


@pytest.mark.parametrize(
    ("trainer", "axes"),
    [
        ("nnUNetTrainerV2_DA3", (0, 1, 2)),
        ("nnUNetTrainerV2_noMirroring", ()),
        ("nnUNetTrainerV2_noDataAugmentation", ()),
    ],
)
def test_the_trainer_tells_whether_patches_were_mirrored(folder: Path, trainer: str, axes: tuple[int, ...]) -> None:
    renamed = folder.rename(folder.with_name(f"{trainer}__nnUNetPlansv2.1"))
    assert read_nnunet(renamed).members[0].mirror_axes == axes


def test_all_folds_are_read_in_order_and_all_only_alone(folder: Path) -> None:
    for fold in ("fold_10", "fold_2", "all"):
        shutil.copytree(folder / "fold_0", folder / fold)
    assert [card.fold for card in read_nnunet(folder).members] == [0, 2, 10]
    for fold in ("fold_0", "fold_2", "fold_10"):
        shutil.rmtree(folder / fold)
    model = read_nnunet(folder)
    assert (model.members[0].fold, model.members[0].training["nnunet_fold"]) == (0, "all")
    assert model.weights(0)
    shutil.rmtree(folder / "all")
    with pytest.raises(BundleError, match="has no fold_"):
        read_nnunet(folder)


def test_of_two_stages_the_folder_decides(folder: Path) -> None:
    def add(plans: dict[str, Any]) -> None:
        coarse = {**stage(plans), "current_spacing": np.array([2.0, 2.0, 2.0])}
        plans["plans_per_stage"] = {0: coarse, 1: stage(plans)}

    edit(folder, add)
    assert read_nnunet(folder).members[0].preprocess.spacing_mm == 1.0
    place = folder.parents[1] / "3d_lowres" / "Task100" / folder.name
    place.parent.mkdir(parents=True)
    folder.rename(place)
    assert read_nnunet(place).members[0].preprocess.spacing_mm == 2.0


def test_missing_biases_and_coarse_outputs_are_zeros_but_nothing_else_may_miss(folder: Path) -> None:
    weights = read_nnunet(folder).weights(0)
    assert not weights["decoder.transpconvs.0.bias"].any()
    assert not weights["decoder.seg_layers.1.bias"].any()
    path = folder / "fold_0" / "model_final_checkpoint.model"
    checkpoint = torch.load(path, weights_only=False)
    del checkpoint["state_dict"]["seg_outputs.0.weight"]  # as where there is no deep supervision
    torch.save(checkpoint, path)
    assert not read_nnunet(folder).weights(0)["decoder.seg_layers.0.weight"].any()
    del checkpoint["state_dict"]["seg_outputs.1.weight"]
    torch.save(checkpoint, path)
    with pytest.raises(BundleError, match=r"decoder.seg_layers.1.weight is missing"):
        read_nnunet(folder).weights(0)


def test_normalisation_over_the_box_is_told(folder: Path) -> None:
    edit(folder, lambda p: p.update(use_mask_for_norm={0: np.bool_(False)}))
    assert read_nnunet(folder).members[0].preprocess.normalise == "box"


def test_decoder_stages_of_different_depth_are_refused(golden_models: Path) -> None:
    (folder,) = (golden_models / "Task102_residual").iterdir()
    edit(folder, lambda p: stage(p).update(num_blocks_decoder=(1, 2)))
    with pytest.raises(BundleError, match=r"num_blocks_decoder is \[1, 2\]"):
        read_nnunet(folder)
