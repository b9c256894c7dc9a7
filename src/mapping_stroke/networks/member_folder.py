"""A trained network on disk: its weights and its card."""

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mapping_stroke.errors import BundleError, ConfigError
from mapping_stroke.files import read_json, write_json, written_whole
from mapping_stroke.networks.cards import MemberCard
from mapping_stroke.networks.spec import Weights
from mapping_stroke.networks.typed_json import read_typed
from mapping_stroke.networks.weights import weights_to_bytes

FORMAT_VERSION = 1
CARD_FILE = "member.json"
WEIGHTS_FILE = "weights.safetensors"
RECIPE_FILE = "recipe.json"
"""Settings and data of the training."""


def write_member(folder: Path, weights: Weights, card: MemberCard) -> None:
    """Write weights, then the card with their hash: a folder with a card is complete.

    Raises:
        BundleError: The weights are not those of the card's network, or hold NaN or infinity.
    """
    content = weights_to_bytes(weights, card.network, str(folder))
    with written_whole(folder / WEIGHTS_FILE) as partial:
        partial.write_bytes(content)
    weights_sha256 = hashlib.sha256(content).hexdigest()
    write_json(folder / CARD_FILE, {"format": FORMAT_VERSION, "weights_sha256": weights_sha256, **asdict(card)})


def has_member(folder: Path) -> bool:
    """Whether the folder holds a complete member."""
    return (folder / CARD_FILE).is_file()


def find_members(path: Path) -> list[Path]:
    """The member folders at or below a path (a member, a run folder, a collection), sorted; empty if there are none."""
    return sorted(card.parent for card in path.rglob(CARD_FILE))


def read_card(folder: Path) -> tuple[MemberCard, str]:
    """The card of a member and the expected hash of its weights; raises `BundleError` for an invalid card."""
    path = folder / CARD_FILE
    try:
        values: dict[str, Any] = read_json(path)
        found = values.pop("format")
        if found != FORMAT_VERSION:
            raise BundleError(f"{path}: format {found}, this version reads {FORMAT_VERSION}; update mapping-stroke")
        weights_sha256 = str(values.pop("weights_sha256"))
        card: MemberCard = read_typed(MemberCard, values, "card")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, ConfigError) as error:
        raise BundleError(f"{path}: is not a valid member card ({error}); train or copy that member again") from error
    return card, weights_sha256
