"""The terms of a model whose members began as those of another: it inherits them."""

from collections.abc import Iterable, Mapping
from typing import Any

STARTED_FROM = "started_from"
"""Where a member's `training` tells which network it began as: name, hashes and licence of its model."""


def started_from(training: Mapping[str, Any]) -> dict[str, Any]:
    """What the provenance of a member tells of the network it began as; empty where it began with fresh weights."""
    told = training.get(STARTED_FROM)
    return told if isinstance(told, dict) else {}


def inherit_licence(licence: str, trainings: Iterable[Mapping[str, Any]]) -> str:
    """A model's licence with those of the models that its members were fine-tuned from, where it does not name them.

    Args:
        licence: The model's own, which may be empty; it stays in front.
        trainings: Provenance of every member.
    """
    told = map(started_from, trainings)
    inherited = dict.fromkeys((str(one.get("model", "another model")), str(one.get("licence") or "")) for one in told)
    for model, its_licence in inherited:
        if its_licence not in licence:
            licence += f"{'; ' if licence else ''}{its_licence} (of {model}, which this was fine-tuned from)"
    return licence
