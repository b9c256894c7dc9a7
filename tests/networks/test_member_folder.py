import json
import math
from pathlib import Path

import numpy as np
import pytest

from mapping_stroke.errors import BundleError
from mapping_stroke.networks.bundle import open_bundle
from mapping_stroke.networks.member_folder import find_members, has_member, read_card, write_member
from mapping_stroke.networks.unet import build_unet, load_unet, unet_weights
from small_models import PLAIN, RESIDUAL, member_card, random_weights

CARD = member_card("residual", 3)


@pytest.fixture
def member(tmp_path: Path) -> Path:
    write_member(tmp_path / "member", random_weights(RESIDUAL), CARD)
    return tmp_path / "member"


def change_card(member: Path, **changes: object) -> None:
    path = member / "member.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_member_comes_back_as_it_was(member: Path) -> None:
    bundle = open_bundle(member)
    assert [one.card for one in bundle.card.members] == [CARD]
    found, expected = bundle.read_weights(bundle.card.members[0]), random_weights(RESIDUAL)
    assert all(np.array_equal(found[name], value) for name, value in expected.items())


def test_the_weights_of_a_network_build_it_again(tmp_path: Path) -> None:
    write_member(tmp_path / "member", unet_weights(build_unet(RESIDUAL, seed=5)), CARD)
    bundle = open_bundle(tmp_path / "member")
    again = unet_weights(load_unet(RESIDUAL, bundle.read_weights(bundle.card.members[0])))
    assert all(np.array_equal(again[name], value) for name, value in unet_weights(build_unet(RESIDUAL, seed=5)).items())


def test_members_are_found_below_a_folder(member: Path, tmp_path: Path) -> None:
    assert find_members(tmp_path) == [member]
    assert find_members(tmp_path / "nowhere") == []
    assert has_member(member)
    assert not has_member(tmp_path)


def test_a_training_that_was_not_judged_has_nan_in_its_card(tmp_path: Path) -> None:
    write_member(tmp_path / "member", random_weights(PLAIN), member_card(training={"validation_dice": math.nan}))
    assert math.isnan(read_card(tmp_path / "member")[0].training["validation_dice"])


def test_weights_of_another_network_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"member: parameter encoder\.stem\.convs\.0\.conv\.weight is missing"):
        write_member(tmp_path / "member", random_weights(PLAIN), CARD)
    assert not has_member(tmp_path / "member")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 99}, "format 99, this version reads 1; update"),
        ({"network": {"features": [2]}}, "not a valid member card"),
        ({"network": {"features": [2.5, 4]}}, "not a valid member card"),
        ({"patch": [8, 8]}, "not a valid member card"),
        ({"colour": "red"}, "not a valid member card"),
    ],
)
def test_a_card_that_cannot_be_used_is_refused(member: Path, changes: dict[str, object], message: str) -> None:
    change_card(member, **changes)
    with pytest.raises(BundleError, match=message):
        read_card(member)


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000])
def test_a_damaged_card_is_refused(member: Path, text: str) -> None:
    (member / "member.json").write_text(text)
    with pytest.raises(BundleError, match="not a valid member card"):
        read_card(member)


def test_a_folder_without_card_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="not a valid member card"):
        read_card(tmp_path)
