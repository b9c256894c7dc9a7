"""A trained network on disk: its weights (safetensors) beside a card that says how to build and feed it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.errors import BundleError, ConfigError
from mapping_stroke.files import read_json, sha256, write_json, written_whole
from mapping_stroke.networks.spec import NetworkSpec
from mapping_stroke.networks.unet import build_unet, set_deep_supervision

FORMAT_VERSION = 1
CARD_FILE = "member.json"
WEIGHTS_FILE = "weights.safetensors"


@dataclass(frozen=True)
class MemberCard:
    """What a trained network is, and all that prediction must know about it."""

    scheme: str
    fold: int
    network: NetworkSpec
    preprocess: PreprocessSpec
    patch: tuple[int, int, int]
    training: dict[str, Any]
    """Provenance: size, variant, epochs, seed, validation Dice, number of cases, pseudo-label source."""

    @property
    def name(self) -> str:
        """What to call it, such as `residual, fold 2`."""
        return f"{self.scheme}, fold {self.fold}"


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


def has_member(folder: Path) -> bool:
    """Whether `write_member` finished there."""
    return (folder / CARD_FILE).is_file()


def find_members(path: Path) -> list[Path]:
    """The member folders at or below a path (a member, a run folder, a collection), sorted; empty if there are none."""
    return sorted(card.parent for card in path.rglob(CARD_FILE))


def read_card(folder: Path) -> tuple[MemberCard, str]:
    """The card of a member and the hash its weights must have; raises `BundleError` where it is no valid card."""
    path = folder / CARD_FILE
    try:
        values = read_json(path)
        found = values.pop("format")
        if found != FORMAT_VERSION:
            raise BundleError(f"{path}: format {found}, this version reads {FORMAT_VERSION}; update mapping-stroke")
        weights_sha256 = str(values.pop("weights_sha256"))
        network, preprocess = (
            NetworkSpec.from_json(values.pop("network")),
            PreprocessSpec.from_json(values.pop("preprocess")),
        )
        x, y, z = (int(edge) for edge in values.pop("patch"))
        return MemberCard(network=network, preprocess=preprocess, patch=(x, y, z), **values), weights_sha256
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        raise BundleError(f"{path}: is no valid member card ({error}); train or copy that member again") from error


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
    network = build_unet(card.network, seed=0)
    _load_weights(network, path)
    set_deep_supervision(network, enabled=False)
    return Member(card, network.eval().to(device or torch.device("cpu")), weights_sha256)


def _load_weights(network: nn.Module, path: Path) -> None:
    """Fill every parameter of the network; a missing, surplus or ill-shaped one is refused by name."""
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise BundleError(f"{path}: cannot be read ({error}); train or copy that member again") from error
    parameters = dict(network.named_parameters())  # each once, though the library holds some under two names
    for name in sorted(parameters.keys() | weights.keys()):
        if name not in weights or name not in parameters or weights[name].shape != parameters[name].shape:
            raise BundleError(f"{path}: does not fit the network of {CARD_FILE} (at {name}); copy that member again")
        parameters[name].data.copy_(weights[name])
