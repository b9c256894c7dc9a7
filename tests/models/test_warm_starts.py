from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.errors import ConfigError
from mapping_stroke.models.warm_starts import warm_starts
from mapping_stroke.networks.bundle import write_bundle
from mapping_stroke.networks.cards import BundleCard, BundleMember
from mapping_stroke.networks.unet import load_unet
from mapping_stroke.training.schemes import SCHEMES, SIZES, find_scheme
from small_models import PLAIN, RESIDUAL, TRAINING, member_card, weights_of

SIZE = replace(SIZES["tiny"], plain=PLAIN, residual=RESIDUAL, patch=(8, 8, 8))
FINER_SIZE = replace(
    SIZE,
    preprocess=PreprocessSpec(1.0),
    patch=(16, 16, 16),
    plain=replace(PLAIN, features=(2, 4), unshuffle=2),
    residual=replace(RESIDUAL, features=(2, 4), unshuffle=2),
)
PEOPLE = [["anna", "anna-again"], ["bert"]]


def model(folder: Path, people: list[list[str]]) -> str:
    training = {**TRAINING, "simulation": {"people": people}}
    cards = [member_card(scheme.name, training=training) for scheme in SCHEMES]
    card = BundleCard("model", tuple(BundleMember(card) for card in cards))
    return str(write_bundle(folder / "model.mapping", card, weights_of))


def test_every_scheme_begins_with_its_own_member(tmp_path: Path) -> None:
    starts = warm_starts(model(tmp_path, PEOPLE), SIZE, PEOPLE)
    assert {name: start.member.card.scheme for name, start in starts.items()} == {s.name: s.name for s in SCHEMES}


def test_members_of_half_the_voxels_grow_and_say_the_same(tmp_path: Path) -> None:
    path = model(tmp_path, PEOPLE)
    assert {start.grown for start in warm_starts(path, SIZE, PEOPLE).values()} == {None}
    for scheme, start in warm_starts(path, FINER_SIZE, PEOPLE).items():
        network = FINER_SIZE.network(find_scheme(scheme))
        assert start.network == network
        voxels = torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            found = load_unet(network, start.read_weights())(voxels)
            former = load_unet(start.member.card.network, weights_of(start.member))(functional.avg_pool3d(voxels, 2))
        torch.testing.assert_close(found[..., ::2, 1::2, ::2], former, rtol=1e-3, atol=1e-3)


def test_members_whose_voxels_are_no_cubes_of_the_new_ones_do_not_grow(tmp_path: Path) -> None:
    path = model(tmp_path, PEOPLE)
    for size in (replace(FINER_SIZE, preprocess=PreprocessSpec(1.5)), replace(FINER_SIZE, plain=PLAIN)):
        with pytest.raises(ConfigError, match=r"model\.mapping: its networks are not those of size tiny, nor can they"):
            warm_starts(path, size, PEOPLE)


@pytest.mark.parametrize("people", [None, [["carl"]], PEOPLE])
def test_the_same_people_judge_or_others(tmp_path: Path, people: list[list[str]] | None) -> None:
    assert warm_starts(model(tmp_path, PEOPLE), SIZE, people)


@pytest.mark.parametrize("people", [[["anna"]], [["anna"], ["anna-again"], ["bert"]], [*PEOPLE, ["carl"]]])
def test_people_who_are_dealt_otherwise_are_refused(tmp_path: Path, people: list[list[str]]) -> None:
    with pytest.raises(ConfigError, match=r"model\.mapping: was trained on some of these people"):
        warm_starts(model(tmp_path, PEOPLE), SIZE, people)
