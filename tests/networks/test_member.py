import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.errors import BundleError
from mapping_stroke.files import sha256
from mapping_stroke.networks.cards import MemberCard
from mapping_stroke.networks.member import read_member, write_member
from mapping_stroke.networks.member_folder import find_members, has_member, read_card
from mapping_stroke.networks.spec import NetworkSpec
from mapping_stroke.networks.unet import build_unet, set_deep_supervision

SPEC = NetworkSpec("residual", (2, 4), (1, 1), 1)
CARD = MemberCard("residual", 3, SPEC, PreprocessSpec(2.0), (8, 8, 8), {"epochs": 2, "validation_dice": 0.5})


@pytest.fixture
def member(tmp_path: Path) -> Path:
    write_member(tmp_path / "member", build_unet(SPEC, seed=5), CARD)
    return tmp_path / "member"


def change_card(member: Path, **changes: object) -> None:
    path = member / "member.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_member_comes_back_as_it_was(member: Path) -> None:
    network = build_unet(SPEC, seed=5).eval()
    set_deep_supervision(network, enabled=False)
    patch = torch.randn(1, 1, 8, 8, 8)
    read = read_member(member)
    assert read.card == CARD
    assert not read.network.training
    assert torch.equal(read.network(patch), network(patch))


def test_every_weight_is_stored_once(member: Path) -> None:
    stored = sum(value.numel() for value in load_file(member / "weights.safetensors").values())
    assert stored == sum(value.numel() for value in build_unet(SPEC).parameters())


def test_members_are_found_below_a_folder(member: Path, tmp_path: Path) -> None:
    assert find_members(tmp_path) == [member]
    assert find_members(tmp_path / "nowhere") == []
    assert has_member(member)
    assert not has_member(tmp_path)


def test_changed_weights_are_refused(member: Path) -> None:
    path = member / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(BundleError, match=r"weights\.safetensors: its SHA-256 is not"):
        read_member(member)


def test_missing_weights_are_refused(member: Path) -> None:
    (member / "weights.safetensors").unlink()
    with pytest.raises(BundleError, match=r"weights\.safetensors: missing"):
        read_member(member)


@pytest.mark.parametrize("damage", ["drop", "add", "reshape"])
def test_weights_of_another_network_are_refused_by_name(member: Path, damage: str) -> None:
    path = member / "weights.safetensors"
    weights = load_file(path)
    name = sorted(weights)[0]
    if damage == "add":
        weights["surplus"] = torch.zeros(1)
        name = "surplus"
    elif damage == "drop":
        del weights[name]
    else:
        weights[name] = torch.zeros(7)
    save_file(weights, path)
    change_card(member, weights_sha256=sha256(path))
    with pytest.raises(BundleError, match=f"does not fit its network .*{name}"):
        read_member(member)


def test_bytes_that_are_no_safetensors_are_refused(member: Path) -> None:
    path = member / "weights.safetensors"
    path.write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")
    change_card(member, weights_sha256=sha256(path))
    with pytest.raises(BundleError, match="cannot be read"):
        read_member(member)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 99}, "format 99, this version reads 1; update"),
        ({"network": {"features": [2]}}, "no valid member card"),
        ({"patch": [8, 8]}, "no valid member card"),
        ({"colour": "red"}, "no valid member card"),
    ],
)
def test_a_card_that_cannot_be_used_is_refused(member: Path, changes: dict[str, object], message: str) -> None:
    change_card(member, **changes)
    with pytest.raises(BundleError, match=message):
        read_card(member)


def test_a_folder_without_card_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no valid member card"):
        read_card(tmp_path)
