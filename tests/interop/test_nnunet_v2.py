import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mapping_stroke.errors import BundleError, FileError
from mapping_stroke.interop.nnunet import read_nnunet

Edit = Callable[[dict[str, Any]], object]


@pytest.fixture
def folder(golden_models: Path) -> Path:
    (found,) = (golden_models / "Dataset100_plain").iterdir()
    return found


def edit(folder: Path, name: str, change: Edit) -> None:
    values = json.loads((folder / name).read_text())
    change(values)
    (folder / name).write_text(json.dumps(values))


def configuration(plans: dict[str, Any]) -> dict[str, Any]:
    return plans["configurations"]["3d_fullres"]


def kwargs(plans: dict[str, Any]) -> dict[str, Any]:
    return configuration(plans)["architecture"]["arch_kwargs"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda p: configuration(p).update(patch_size=[16, 16]), "configuration is 2D"),
        (lambda p: configuration(p).update(previous_stage="3d_lowres"), "second stage of a cascade"),
        (lambda p: configuration(p).update(normalization_schemes=["CTNormalization"]), "CTNormalization"),
        (lambda p: configuration(p).update(normalization_schemes=["NoNormalization"]), "NoNormalization"),
        (lambda p: configuration(p).update(preprocessor_name="Other"), "preprocessor_name is 'Other'"),
        (lambda p: configuration(p).update(resampling_fn_data="resample_torch_fornnunet"), "resample_torch_fornnunet"),
        (lambda p: configuration(p).update(spacing=[4.0, 1.0, 1.0]), "differ at most 3-fold"),
        (lambda p: configuration(p).update(spacing=[40.0, 30.0, 40.0]), "expected 0.1 to 20 mm"),
        (lambda p: configuration(p).update(spacing=[1.0, 1.0]), "expected one for each of 3 axes"),
        (lambda p: configuration(p).pop("use_mask_for_norm"), "no entry 'use_mask_for_norm'"),
        (lambda p: configuration(p)["architecture"].update(network_class_name="a.b.ResidualUNet"), "is ResidualUNet"),
        (lambda p: kwargs(p).update(norm_op="torch.nn.BatchNorm3d"), "norm_op is torch.nn.BatchNorm3d"),
        (lambda p: kwargs(p).update(norm_op_kwargs={"eps": 1e-3, "affine": True}), "expected eps 1e-5 and affine"),
        (lambda p: kwargs(p).update(norm_op_kwargs={"eps": 1e-5}), "expected eps 1e-5 and affine"),
        (lambda p: kwargs(p).update(nonlin="torch.nn.ReLU"), "nonlin is torch.nn.ReLU"),
        (lambda p: kwargs(p).update(nonlin_kwargs={"negative_slope": 0.2}), "negative_slope of 0.01"),
        (lambda p: kwargs(p).update(conv_op="torch.nn.Conv2d"), "conv_op is torch.nn.Conv2d"),
        (lambda p: kwargs(p).update(nonlin_first=True), "nonlin_first = True"),
        (lambda p: kwargs(p).update(squeeze_excitation=True), "squeeze_excitation = True"),
        (lambda p: kwargs(p).update(n_conv_per_stage_decoder=[1, 2]), r"n_conv_per_stage_decoder is \[1, 2\]"),
        (lambda p: kwargs(p).update(kernel_sizes=[[2, 3, 3]] * 3), "expected odd numbers"),
        (lambda p: kwargs(p).pop("norm_op"), "no entry 'norm_op'"),
        (lambda p: p.update(transpose_forward=[0, 0, 1]), "transpose_forward is"),
        (lambda p: p.update(configurations={}), "no usable configuration '3d_fullres'"),
        (lambda p: configuration(p).update(inherits_from="3d_fullres"), "no usable configuration"),
        (lambda p: configuration(p).update(spacing=["a", 1, 1]), "cannot be described"),
        (lambda p: configuration(p).update(patch_size=["a", 1, 1]), r"plans\.json: cannot be understood"),
        (lambda p: configuration(p).update(use_mask_for_norm=[]), r"plans\.json: cannot be understood"),
        (lambda p: kwargs(p).update(n_stages="many"), r"plans\.json: cannot be understood"),
        (lambda p: kwargs(p).update(features_per_stage=["a", 2, 3]), "cannot be described"),
        (lambda p: p.update(configurations=[]), r"no usable configuration"),
    ],
)
def test_what_a_bundle_cannot_hold_is_refused_by_name(folder: Path, change: Edit, reason: str) -> None:
    edit(folder, "plans.json", change)
    with pytest.raises(BundleError, match=reason):
        read_nnunet(folder)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: d.update(channel_names={"0": "T1w", "1": "FLAIR"}), r"reads 2 channels \['T1w', 'FLAIR'\]"),
        (lambda d: d.update(labels={"background": 0, "core": 1, "edge": 2}), "the labels are"),
        (lambda d: d.update(labels={"background": 0, "whole": [1, 2], "core": 2}), "trained on regions"),
        (lambda d: d.pop("labels"), "no entry 'labels'"),
    ],
)
def test_other_channels_and_labels_are_refused_by_name(folder: Path, change: Edit, reason: str) -> None:
    edit(folder, "dataset.json", change)
    with pytest.raises(BundleError, match=rf"dataset\.json: .*{reason}"):
        read_nnunet(folder)


def test_a_label_to_ignore_is_no_class(folder: Path) -> None:
    edit(folder, "dataset.json", lambda d: d.update(labels={"background": 0, "lesion": 1, "ignore": 2}))
    assert len(read_nnunet(folder).members) == 1


def test_all_folds_are_read_in_order_and_fold_all_only_alone(folder: Path) -> None:
    for fold in ("10", "2", "all"):
        shutil.copytree(folder / "fold_0", folder / f"fold_{fold}")
    assert [card.fold for card in read_nnunet(folder).members] == [0, 2, 10]
    for fold in ("0", "2", "10"):
        shutil.rmtree(folder / f"fold_{fold}")
    (card,) = read_nnunet(folder).members
    assert (card.fold, card.training["nnunet_fold"]) == (0, "all")
    assert read_nnunet(folder).weights(0)


def test_another_checkpoint_is_read_where_it_is_asked_for(folder: Path) -> None:
    with pytest.raises(BundleError, match=r"has no fold_\*/checkpoint_best.pth"):
        read_nnunet(folder, checkpoint="best")
    (folder / "fold_0" / "checkpoint_final.pth").rename(folder / "fold_0" / "checkpoint_best.pth")
    assert read_nnunet(folder, checkpoint="best").members[0].training["checkpoint"] == "best"
    with pytest.raises(BundleError, match="'first' is not known"):
        read_nnunet(folder, checkpoint="first")


def test_scheme_and_orientation_can_be_told(folder: Path) -> None:
    (card,) = read_nnunet(folder, scheme="mine", orientation="LPS").members
    assert (card.scheme, card.preprocess.orientation) == ("mine", "LPS")
    edit(folder, "plans.json", lambda p: p.update(image_reader_writer="NibabelIOWithReorient"))
    with pytest.raises(BundleError, match="its reader reorients scans to RAS"):
        read_nnunet(folder, orientation="LPS")


def test_the_scheme_is_told_by_the_trainer(folder: Path) -> None:
    renamed = folder.rename(folder.with_name("nnUNetTrainerDiceTopK10Loss__nnUNetPlans__3d_fullres"))
    assert read_nnunet(renamed).members[0].scheme == "dice-topk10"


def test_plans_of_older_versions_mean_the_same_network(folder: Path) -> None:
    new = read_nnunet(folder).members[0].network

    def make_old(plans: dict[str, Any]) -> None:
        values = kwargs(plans)
        configuration(plans).update(
            UNet_class_name="PlainConvUNet",
            UNet_base_num_features=1,
            unet_max_num_features=320,
            n_conv_per_stage_encoder=values["n_conv_per_stage"],
            n_conv_per_stage_decoder=values["n_conv_per_stage_decoder"],
            num_pool_per_axis=[2, 2, 2],
            pool_op_kernel_sizes=values["strides"],
            conv_kernel_sizes=values["kernel_sizes"],
        )
        del configuration(plans)["architecture"]

    edit(folder, "plans.json", make_old)
    assert read_nnunet(folder).members[0].network == new
    edit(folder, "plans.json", lambda p: configuration(p).update(UNet_class_name="Other"))
    with pytest.raises(BundleError, match="the network is Other"):
        read_nnunet(folder)


def test_a_configuration_may_inherit_from_another(folder: Path) -> None:
    def inherit(plans: dict[str, Any]) -> None:
        plans["configurations"]["3d_large"] = {"inherits_from": "3d_fullres", "patch_size": [32, 16, 16]}

    edit(folder, "plans.json", inherit)
    larger = folder.with_name(folder.name.replace("3d_fullres", "3d_large"))
    folder.rename(larger)
    model = read_nnunet(larger)
    assert model.members[0].patch == (16, 16, 32)
    with pytest.raises(BundleError, match=r"was written by .*3d_fullres.* but its folder says"):
        model.weights(0)


def test_an_orientation_that_is_none_is_refused(folder: Path) -> None:
    with pytest.raises(BundleError, match="orientation is 'up'"):
        read_nnunet(folder, orientation="up")


def test_incomplete_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"neither plans\.json nor plans\.pkl"):
        read_nnunet(tmp_path / "nowhere")
    other = folder.with_name("renamed")
    shutil.copytree(folder, other)
    with pytest.raises(BundleError, match="is named 'renamed', expected TRAINER__PLANS__CONFIGURATION"):
        read_nnunet(other)
    (folder / "dataset.json").write_text("[]")
    with pytest.raises(BundleError, match="holds a list"):
        read_nnunet(folder)
    (folder / "dataset.json").write_text("{")
    with pytest.raises(FileError, match="is damaged"):
        read_nnunet(folder)
    (folder / "dataset.json").unlink()
    with pytest.raises(BundleError, match=r"dataset\.json: missing"):
        read_nnunet(folder)


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("encoder.stages.0.0.convs.0.norm.running_mean", lambda _: torch.zeros(1), "is not part of the network"),
        ("encoder.stages.0.0.convs.0.norm.weight", lambda _: None, "is missing in the network"),
        ("decoder.transpconvs.0.weight", lambda _: None, "is missing in the network"),
        ("encoder.stages.0.0.convs.0.conv.weight", lambda t: t[..., :2], "has shape"),
    ],
)
def test_weights_of_another_network_are_refused_by_name(folder: Path, name: str, change: Any, reason: str) -> None:
    path = folder / "fold_0" / "checkpoint_final.pth"
    checkpoint = torch.load(path, weights_only=False)
    changed = change(checkpoint["network_weights"].pop(name, None))
    if changed is not None:
        checkpoint["network_weights"][name] = changed
    torch.save(checkpoint, path)
    with pytest.raises(BundleError, match=rf"checkpoint_final.pth: {name} {reason}"):
        read_nnunet(folder).weights(0)


@pytest.mark.parametrize(("theirs", "ours"), [((0, 1, 2), (0, 1, 2)), ((0,), (2,)), ((1, 2), (0, 1)), (None, ())])
def test_axes_that_its_training_mirrored_are_read(folder: Path, theirs: Any, ours: tuple[int, ...]) -> None:
    path = folder / "fold_0" / "checkpoint_final.pth"
    checkpoint = torch.load(path, weights_only=False)
    torch.save({**checkpoint, "inference_allowed_mirroring_axes": theirs}, path)
    assert read_nnunet(folder).members[0].mirror_axes == ours


def test_where_the_checkpoint_tells_no_axes_nothing_is_mirrored(folder: Path) -> None:
    path = folder / "fold_0" / "checkpoint_final.pth"
    checkpoint = torch.load(path, weights_only=False)
    del checkpoint["inference_allowed_mirroring_axes"]
    torch.save(checkpoint, path)
    assert read_nnunet(folder).members[0].mirror_axes == ()


def test_axes_that_there_are_not_are_refused(folder: Path) -> None:
    path = folder / "fold_0" / "checkpoint_final.pth"
    torch.save({**torch.load(path, weights_only=False), "inference_allowed_mirroring_axes": (0, 7)}, path)
    with pytest.raises(BundleError, match=r"inference_allowed_mirroring_axes is \(0, 7\), expected some of 0, 1 and 2"):
        read_nnunet(folder)


def test_prefixes_of_compiled_and_parallel_training_are_dropped(folder: Path) -> None:
    before = read_nnunet(folder).weights(0)
    path = folder / "fold_0" / "checkpoint_final.pth"
    checkpoint = torch.load(path, weights_only=False)
    weights = checkpoint["network_weights"]
    checkpoint["network_weights"] = {f"module._orig_mod.{name}": tensor for name, tensor in weights.items()}
    torch.save(checkpoint, path)
    after = read_nnunet(folder).weights(0)
    assert list(after) == list(before)
    for name, array in after.items():
        np.testing.assert_array_equal(array, before[name])
