"""The terms of a model whose members began as those of another: it inherits them."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from mapping_stroke.networks.cards import BundleCard, MemberCard

STARTED_FROM = "started_from"
"""Where a member's `training` tells which network it began as; see `Start.provenance`."""


def started_from(card: MemberCard) -> dict[str, Any]:
    """What a member tells of the network it began as; empty where it was trained from the beginning."""
    told = card.training.get(STARTED_FROM)
    return told if isinstance(told, dict) else {}


def with_inherited_licence(card: BundleCard) -> BundleCard:
    """Add to a model's licence those of the models that its members were fine-tuned from, where it does not name them.

    Args:
        card: Of the model; its own licence, which may be empty, stays in front.
    """
    licence = card.licence
    for model, inherited in _inherited(member.card for member in card.members):
        if inherited not in licence:
            licence += f"{'; ' if licence else ''}{inherited} (of {model}, which this was fine-tuned from)"
    return replace(card, licence=licence)


def _inherited(cards: Iterable[MemberCard]) -> list[tuple[str, str]]:
    """Name and licence of every model that members began with, each once; those that tell no licence are left out."""
    told = [started_from(card) for card in cards]
    named = ((str(one.get("model", "another model")), one.get("licence")) for one in told)
    return list(dict.fromkeys((model, licence) for model, licence in named if licence and isinstance(licence, str)))
