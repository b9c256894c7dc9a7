"""Models of a few hundred numbers, for tests of bundles and of the commands that read them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.files import sha256, write_json
from mapping_stroke.networks.bundle import Bundle, open_bundle, write_bundle
from mapping_stroke.networks.cards import BundleCard, BundleMember, MemberCard
from mapping_stroke.networks.spec import NetworkSpec, Weights, parameter_shapes
from mapping_stroke.networks.weights import weights_to_bytes
from mapping_stroke.rules import RULES

PLAIN = NetworkSpec("plain", (1, 2), (1, 1), 1)
RESIDUAL = NetworkSpec("residual", (1, 2), (1, 1), 1, conv_bias=False)
TRAINING = {"size": "tiny", "epochs": 8, "validation_dice": 0.625}


def member_card(scheme: str = "default", fold: int = 0, **changes: Any) -> MemberCard:
    spec = RESIDUAL if scheme == "residual" else PLAIN
    given = {"network": spec, "preprocess": PreprocessSpec(2.0), "patch": (8, 8, 8), "training": TRAINING} | changes
    return MemberCard(scheme, fold, **given)


def random_weights(spec: NetworkSpec, seed: int = 0) -> Weights:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in parameter_shapes(spec).items()}


def weights_of(member: BundleMember) -> Weights:
    return random_weights(member.card.network, seed=member.card.fold)


def model_card(*cards: MemberCard, **changes: Any) -> BundleCard:
    members = tuple(BundleMember(card) for card in cards or (member_card(), member_card("residual", 1)))
    given = {"name": "small", "postprocess": RULES["mapping"], "licence": "CC0-1.0", "citation": "Doe 2020"} | changes
    return BundleCard(members=members, **given)


def write_model(target: Path, *cards: MemberCard, **changes: Any) -> Bundle:
    return open_bundle(write_bundle(target, model_card(*cards, **changes), weights_of))


def write_trained_member(folder: Path, card: MemberCard) -> None:
    """A member folder as the training leaves it."""
    folder.mkdir(parents=True)
    weights = random_weights(card.network, seed=card.fold)
    (folder / "weights.safetensors").write_bytes(weights_to_bytes(weights, card.network, card.name))
    values = BundleCard("x", (BundleMember(card),)).to_json()["members"][0]  # type: ignore[index]
    values["weights_sha256"] = sha256(folder / "weights.safetensors")
    del values["weights"]
    write_json(folder / "member.json", {"format": 1, **values})


def write_trained_run(path: Path, *cards: MemberCard) -> Path:
    for card in cards or (member_card(), member_card("residual", 1)):
        write_trained_member(path / "train" / card.scheme / f"fold_{card.fold}", card)
    return path


def change_json(path: Path, change: Callable[[Any], object]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


SEEING = {"preprocess": PreprocessSpec(3.0), "patch": (24, 24, 24)}
"""How a member of `write_seeing_model` is fed: a phantom fits into its patch."""


def dark_weights(member: BundleMember) -> Weights:
    """Marks what is far darker than the rest of a phantom: lesions, and no noise; the fold shifts the level."""
    weights = {name: np.zeros(shape, np.float32) for name, shape in parameter_shapes(PLAIN).items()}
    for name in weights:
        if name.endswith("norm.weight"):
            weights[name][:] = 1
    weights["encoder.stages.0.0.convs.0.conv.weight"][..., 1, 1, 1] = -1
    weights["decoder.stages.0.convs.0.conv.weight"][0, 1, 1, 1, 1] = 1  # channel 0 comes from below
    weights["decoder.seg_layers.0.weight"][1] = 1
    weights["decoder.seg_layers.0.bias"][1] = -5 - member.card.fold
    return weights


def write_seeing_model(target: Path, folds: int = 2, **changes: Any) -> Bundle:
    """A model that finds the lesions of phantoms."""
    card = model_card(*(member_card("default", fold, **SEEING) for fold in range(folds)), **changes)
    return open_bundle(write_bundle(target, card, dark_weights))
