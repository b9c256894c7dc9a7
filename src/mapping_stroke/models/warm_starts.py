"""Warm starts: trained members from which those of a new model start."""

from collections.abc import Sequence
from dataclasses import replace

from mapping_stroke.errors import ConfigError
from mapping_stroke.networks.bundle import open_bundle
from mapping_stroke.networks.growth import can_grow
from mapping_stroke.networks.spec import NetworkSpec
from mapping_stroke.stages.warm_start import WarmStart, choose_warm_start
from mapping_stroke.training.schemes import SCHEMES, Size

FOLD = 0
"""There are no folds: people and masks are held out instead, see `dataset.sources`."""


def warm_starts(
    model: str, size: Size, people: Sequence[Sequence[str]] | None, schemes: Sequence[str] = ()
) -> dict[str, WarmStart]:
    """Warm starts of the members of a new model from those of a trained one, by scheme.

    Args:
        model: See `open_bundle`.
        size: Of the new members. If its networks differ from the model's only by wider stages and by cubes of voxels in
            place of voxels, the weights grow.
        people: Names of the brains that cases will be simulated in, grouped by person; None for the template.
        schemes: Names of the new members' schemes; empty for all.

    Raises:
        BundleError: There is no such model.
        ConfigError: It has no member for a scheme, has networks of another size, or was trained on some of these people
            together with others. The split then differs, so that it may have learned from people held out now.
    """
    bundle = open_bundle(model)
    wanted = [scheme for scheme in SCHEMES if not schemes or scheme.name in schemes]
    starts = {scheme.name: choose_warm_start(bundle, scheme, FOLD) for scheme in wanted}
    now = {name for person in people or () for name in person}
    for scheme in wanted:
        start = starts[scheme.name] = _grown(starts[scheme.name], size.network(scheme), size)
        card = start.member.card
        trained_on = (card.training.get("simulation") or {}).get("people") or []
        # splits depend on the set of all people, so a common person may be on another side now
        if now & {name for person in trained_on for name in person} and trained_on != people:
            raise ConfigError(
                f"{start.model.path}: was trained on some of these people together with others, so the splits "
                "differ; give the same --brains and --rescans, or none of these people"
            )
    return starts


def _grown(start: WarmStart, network: NetworkSpec, size: Size) -> WarmStart:
    """The warm start for this network, grown if needed; raises `ConfigError` if it does not fit."""
    card = start.member.card
    if (card.network, card.patch) == (network, size.patch):
        return start
    cube_mm = tuple(edge * network.unshuffle for edge in size.preprocess.edges_mm)
    if cube_mm != card.preprocess.edges_mm or not can_grow(card.network, network):
        raise ConfigError(
            f"{start.model.path}: its networks are not those of size {size.name}, nor can they grow to them; "
            "continue from a model that `mapping models train` made at this size, or give the size it was trained at"
        )
    return replace(start, grown=network)
