"""A trained network of torch: to a member folder, and back ready to predict."""

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from mapping_stroke.errors import BundleError
from mapping_stroke.files import sha256, write_json, written_whole
from mapping_stroke.networks.cards import MemberCard
from mapping_stroke.networks.member_folder import CARD_FILE, FORMAT_VERSION, WEIGHTS_FILE, read_card
from mapping_stroke.networks.unet import load_unet
from mapping_stroke.networks.weights import weights_from_bytes


@dataclass(frozen=True, eq=False)
class Member:
    """A trained network ready to predict: evaluation mode, finest output only."""

    card: MemberCard
    network: nn.Module
    weights_sha256: str


def write_member(folder: Path, network: nn.Module, card: MemberCard) -> None:
    """Write weights, then the card that names their hash: a folder with a card is complete."""
    weights = {name: value.detach().cpu().contiguous() for name, value in network.named_parameters()}
    with written_whole(folder / WEIGHTS_FILE) as partial:
        save_file(weights, partial)
    write_json(
        folder / CARD_FILE,
        {"format": FORMAT_VERSION, "weights_sha256": sha256(folder / WEIGHTS_FILE), **asdict(card)},
    )


def read_member(folder: Path, device: torch.device | None = None) -> Member:
    """Build a member's network and load its weights; executes nothing from the files.

    Raises:
        BundleError: The card is invalid, the weights are missing, changed, or do not fit the network.
    """
    card, weights_sha256 = read_card(folder)
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise BundleError(f"{path}: missing; train or copy that member again")
    if sha256(path) != weights_sha256:
        raise BundleError(f"{path}: its SHA-256 is not the one in {CARD_FILE}; train or copy that member again")
    network = load_unet(card.network, weights_from_bytes(path.read_bytes(), card.network, str(path)))
    return Member(card, network.to(device or torch.device("cpu")), weights_sha256)
