"""The same weights give the same logits as in the real nnU-Net, v1 and v2."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mapping_stroke.interop.nnunet import read_nnunet
from mapping_stroke.interop.nnunet_common import ImportedModel
from mapping_stroke.networks.unet import load_unet

GOLDEN = Path(__file__).parent / "golden"
TRANSPOSED = {"Task101_thick": (1, 0, 2), "Dataset101_residual": (2, 0, 1)}
"""Which of z, y, x the axes of a network are, where its plans reorder them."""


def read_golden(models: Path, name: str) -> ImportedModel:
    (folder,) = (models / name).iterdir()
    return read_nnunet(folder)


@pytest.mark.parametrize(
    "name", ["Task100_plain", "Task101_thick", "Task102_residual", "Dataset100_plain", "Dataset101_residual"]
)
def test_the_logits_are_those_of_the_real_program(golden_models: Path, name: str) -> None:
    model = read_golden(golden_models, name)
    network = load_unet(model.members[0].network, model.weights(0))
    with np.load(GOLDEN / "golden.npz") as arrays:
        patch, logits = arrays[f"{name}_patch"], arrays[f"{name}_logits"]
    to_zyx = np.argsort(TRANSPOSED.get(name, (0, 1, 2)))
    ours = patch.transpose(to_zyx).transpose(2, 1, 0)
    with torch.no_grad():
        found = network(torch.from_numpy(ours.copy())[None, None])[0].numpy()
    expected = logits.transpose(0, *(1 + axis for axis in to_zyx)).transpose(0, 3, 2, 1)
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(found, expected, atol=5e-5)  # processors round convolutions differently


def test_a_v1_folder_says_how_its_members_are_built_and_fed(golden_models: Path) -> None:
    model = read_golden(golden_models, "Task101_thick")
    (card,) = model.members
    assert (card.scheme, card.fold, card.patch) == ("dice-topk10", 0, (16, 16, 16))
    assert card.network.encoder == "plain"
    assert card.network.features == (1, 2, 4)
    assert card.network.strides == ((1, 1, 1), (2, 1, 2), (2, 2, 2))
    assert (card.preprocess.normalise, card.preprocess.resampling, card.preprocess.spacing_mm) == ("brain", "cubic", 1)
    assert model.average == "probability"
    assert "nnUNetTrainerV2_Loss_DiceTopK10" in model.description
    assert card.training["nnunet_fold"] == "0"


def test_a_v1_residual_network_has_strided_skips_and_no_bias(golden_models: Path) -> None:
    (card,) = read_golden(golden_models, "Task102_residual").members
    assert (card.scheme, card.network.encoder, card.network.skip) == ("residual", "residual", "strided")
    assert not card.network.conv_bias
    assert card.network.decoder_convolutions == 1
    assert card.network.depths == (1, 1, 2)
    assert card.network.stage_kernels[0] == (3, 3, 3)


def test_a_v2_folder_says_how_its_members_are_built_and_fed(golden_models: Path) -> None:
    model = read_golden(golden_models, "Dataset101_residual")
    (card,) = model.members
    assert (card.scheme, card.fold, card.network.encoder, card.network.skip) == ("residual", 0, "residual", "pooled")
    assert card.network.stage_kernels[0] == (1, 3, 3)  # its plans put x first
    assert card.network.strides[1] == (1, 2, 2)
    assert model.average == "logit"
    assert card.training["plans"] == "nnUNetResEncUNetLPlans"
    assert card.preprocess.orientation == "RAS"
