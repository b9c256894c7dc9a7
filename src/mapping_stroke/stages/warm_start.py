"""Weights that members start from: those of a trained model."""

from dataclasses import dataclass, replace
from typing import Any

from mapping_stroke.errors import ConfigError
from mapping_stroke.networks.bundle import Bundle
from mapping_stroke.networks.cards import BundleMember
from mapping_stroke.networks.growth import grow_weights
from mapping_stroke.networks.spec import NetworkSpec, Weights
from mapping_stroke.training.schemes import Scheme, Size

GROWTH_SEED = 7
"""Of the weights of new channels."""


@dataclass(frozen=True, eq=False)
class WarmStart:
    """A trained member of a model, whose weights another one begins with."""

    model: Bundle
    member: BundleMember
    grown: NetworkSpec | None = None
    """The network that the weights grow to; None where they stay as they are."""

    @property
    def network(self) -> NetworkSpec:
        """What `read_weights` are the weights of."""
        return self.grown or self.member.card.network

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the weights come from and under which terms, for the card of the member that begins with them."""
        card, member = self.model.card, self.member
        return {
            "model": card.name,
            "model_sha256": self.model.sha256,
            "scheme": member.card.scheme,
            "fold": member.card.fold,
            "weights_sha256": member.weights_sha256,
            "licence": card.licence,
            "training_data": card.training_data,
            "citation": card.citation,
        }

    def fit(self, size: Size) -> Size:
        """The size, but with the network, the patch and the preparation of scans that the weights are for."""
        card = self.member.card
        return replace(size, preprocess=card.preprocess, patch=card.patch, plain=card.network, residual=card.network)

    def read_weights(self) -> Weights:
        """The weights, checked, and grown; raises `BundleError` where they are damaged."""
        weights, card = self.model.read_weights(self.member), self.member.card
        return weights if self.grown is None else grow_weights(weights, card.network, self.grown, GROWTH_SEED)


def choose_warm_start(model: Bundle, scheme: Scheme, fold: int) -> WarmStart:
    """The member of a model that a new one begins with.

    It is the one of the same scheme, else the first one with the same kind of network. Of several folds it is the same
    one: where the model was trained on the same cases and folds, it has not seen those that will judge the new member;
    where there is no such fold, the first. Of several sizes it is that of the first member. Means of weights of several
    members are of no use: each counts its channels in an order of its own.

    Args:
        model: To begin with.
        scheme: What will be trained.
        fold: On which fold.

    Raises:
        ConfigError: The model has neither.
    """
    fitting = [
        member
        for member in model.card.members
        if member.card.scheme == scheme.name or member.card.network.encoder == scheme.encoder
    ]
    if not fitting:
        schemes = ", ".join(dict.fromkeys(member.card.scheme for member in model.card.members))
        raise ConfigError(
            f"{model.path}: has no member to begin {scheme.name} with, neither of this scheme nor with a "
            f"{scheme.encoder} network; it has {schemes}: train those alone, or take a model that has one"
        )
    size = fitting[0].card.training.get("size")
    chosen = min(
        fitting,
        key=lambda member: (
            member.card.scheme != scheme.name,
            member.card.training.get("size") != size,
            member.card.fold != fold,
        ),
    )
    return WarmStart(model, chosen)
