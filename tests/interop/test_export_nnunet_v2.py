import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.errors import BundleError
from mapping_stroke.interop.nnunet import read_nnunet
from mapping_stroke.interop.nnunet_export import differences, write_nnunet_v2
from mapping_stroke.networks.cards import BundleCard, BundleMember, MemberCard
from mapping_stroke.networks.spec import NetworkSpec, Weights
from mapping_stroke.networks.unet import build_unet
from mapping_stroke.rules import find_rule

NO_HASH = "0" * 64
PREPROCESS = PreprocessSpec((1.0, 1.5, 2.0), "box", "cubic")
PLAIN = NetworkSpec("plain", (2, 4), (2, 1), 1, True, ((1, 3, 5), (3, 3, 3)), ((1, 1, 1), (1, 2, 4)))
RESIDUAL = NetworkSpec("residual", (2, 4), (1, 2), 2, conv_bias=False)


def card_of(*members: tuple[str, int, NetworkSpec], **values: Any) -> BundleCard:
    cards = [
        MemberCard(scheme, fold, network, PREPROCESS, (8, 16, 32), {}, (0, 2)) for scheme, fold, network in members
    ]
    return BundleCard(
        values.pop("name", "My model, 2"),
        tuple(BundleMember(card, f"w{number}", NO_HASH) for number, card in enumerate(cards)),
        **{"average": "logit", **values},
    )


def weights_of(member: BundleMember) -> Weights:
    network = build_unet(member.card.network, seed=member.card.fold)
    return {name: value.detach().numpy() for name, value in network.named_parameters()}


def test_each_scheme_gets_a_result_folder_that_reads_back_the_same(tmp_path: Path) -> None:
    card = card_of(("default", 0, PLAIN), ("residual", 3, RESIDUAL), ("default", 4, PLAIN))
    folders = write_nnunet_v2(card, weights_of, tmp_path)
    assert [str(folder.relative_to(tmp_path)) for folder in folders] == [
        "Dataset900_Mymodel2/nnUNetTrainer__MappingDefaultPlans__3d_fullres",
        "Dataset900_Mymodel2/nnUNetTrainer__MappingResidualPlans__3d_fullres",
    ]
    assert sorted(path.name for path in folders[0].iterdir()) == [
        "README.txt", "dataset.json", "fold_0", "fold_4", "plans.json",
    ]  # fmt: skip
    again = read_nnunet(folders[0])
    assert [member.fold for member in again.members] == [0, 4]
    assert again.members[0].network == PLAIN
    assert again.members[0].preprocess == PREPROCESS
    assert again.members[0].patch == (8, 16, 32)
    for number, member in enumerate((card.members[0], card.members[2])):
        expected = weights_of(member)
        found = again.weights(number)
        assert list(found) == list(expected)
        for name, array in found.items():
            np.testing.assert_array_equal(array, expected[name])
    assert again.members[0].mirror_axes == (0, 2)
    back = read_nnunet(folders[1], scheme="residual").members[0]
    assert back.network == replace(RESIDUAL, kernels=RESIDUAL.stage_kernels, strides=RESIDUAL.stage_strides)


def test_plans_have_the_axes_of_nnunet(tmp_path: Path) -> None:
    (folder,) = write_nnunet_v2(card_of(("default", 0, PLAIN)), weights_of, tmp_path)
    plans = json.loads((folder / "plans.json").read_text())
    configuration = plans["configurations"]["3d_fullres"]
    assert configuration["patch_size"] == [32, 16, 8]
    assert configuration["spacing"] == [2.0, 1.5, 1.0]
    assert configuration["use_mask_for_norm"] == [False]
    assert configuration["architecture"]["arch_kwargs"]["kernel_sizes"] == [[5, 3, 1], [3, 3, 3]]
    assert configuration["architecture"]["arch_kwargs"]["strides"] == [[1, 1, 1], [4, 2, 1]]
    assert plans["image_reader_writer"] == "NibabelIOWithReorient"


def test_a_checkpoint_has_each_parameter_under_all_of_nnunets_names(tmp_path: Path) -> None:
    (folder,) = write_nnunet_v2(card_of(("default", 0, PLAIN)), weights_of, tmp_path)
    checkpoint = torch.load(folder / "fold_0" / "checkpoint_final.pth", weights_only=True)
    weights = checkpoint["network_weights"]
    same = ("encoder.stages.0.0.convs.0.conv.weight", "encoder.stages.0.0.convs.0.all_modules.0.weight",
            "decoder.encoder.stages.0.0.convs.0.conv.weight")  # fmt: skip
    assert len({tuple(weights[name].flatten().tolist()) for name in same}) == 1
    assert weights[same[0]].shape == (2, 1, 5, 3, 1)
    assert checkpoint["trainer_name"] == "nnUNetTrainer"
    assert checkpoint["init_args"]["configuration"] == "3d_fullres"


def test_members_of_one_scheme_with_different_networks_get_folders_of_their_own(tmp_path: Path) -> None:
    other = replace(PLAIN, decoder_convolutions=2)
    folders = write_nnunet_v2(card_of(("default", 0, PLAIN), ("default", 1, other)), weights_of, tmp_path)
    assert [folder.name.split("__")[1] for folder in folders] == ["MappingDefaultPlans", "MappingDefaultPlans2"]


def test_what_v2_has_no_equivalent_of_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"residual, fold 1: its residual blocks shorten .* strided"):
        write_nnunet_v2(
            card_of(("default", 0, PLAIN), ("residual", 1, replace(RESIDUAL, skip="strided"))), weights_of, tmp_path
        )
    with pytest.raises(BundleError, match="default, fold 2: its first stage takes cubes of voxels"):
        write_nnunet_v2(card_of(("default", 2, replace(PLAIN, unshuffle=2))), weights_of, tmp_path)
    card = card_of(("default", 0, PLAIN))
    turned = replace(card.members[0].card, preprocess=replace(PREPROCESS, orientation="LPS"))
    with pytest.raises(BundleError, match="default, fold 0: reads scans reoriented to LPS"):
        write_nnunet_v2(replace(card, members=(replace(card.members[0], card=turned),)), weights_of, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nothing_that_is_there_is_replaced_and_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def fail(_: BundleMember) -> Weights:
        raise BundleError("broken")

    card = card_of(("default", 0, PLAIN))
    with pytest.raises(BundleError, match="broken"):
        write_nnunet_v2(card, fail, tmp_path)
    assert list(tmp_path.iterdir()) == []
    write_nnunet_v2(card, weights_of, tmp_path)
    with pytest.raises(BundleError, match="Dataset900_Mymodel2: exists already"):
        write_nnunet_v2(card, weights_of, tmp_path)


def test_what_nnunet_does_otherwise_is_said_also_in_the_folder(tmp_path: Path) -> None:
    card = card_of(("default", 0, PLAIN))
    assert differences(card) == []
    linear = replace(card.members[0].card, preprocess=PreprocessSpec(1.0, shift=(0.5, 0.0, 0.0)))
    other = replace(
        card,
        members=(replace(card.members[0], card=linear),),
        average="probability",
        postprocess=find_rule("mapping"),
        space="MNI152",
        shows="brain",
        licence="CC-BY-4.0",
    )
    notes = differences(other)
    words = ("registered", "skull", "a fraction of a voxel", "resampled", "as logits", "post-processing")
    assert all(word in note for word, note in zip(words, notes, strict=True))
    (folder,) = write_nnunet_v2(other, weights_of, tmp_path)
    text = (folder / "README.txt").read_text()
    assert all(note in text for note in notes)
    assert "nnUNetv2_predict -d Dataset900_Mymodel2 -p MappingDefaultPlans -c 3d_fullres" in text
    assert "Licence: CC-BY-4.0" in text
