"""Warm start: members that start from the weights of a trained model."""

from dataclasses import dataclass, replace
from typing import Any

from mapping_stroke.errors import ConfigError
from mapping_stroke.networks.bundle import Bundle
from mapping_stroke.networks.cards import BundleMember
from mapping_stroke.networks.growth import grow_weights
from mapping_stroke.networks.spec import NetworkSpec, Weights
from mapping_stroke.training.schemes import Scheme, Size

GROWTH_SEED = 7
"""Seed of the weights of new channels."""


@dataclass(frozen=True, eq=False)
class WarmStart:
    """A trained member of a model, whose weights another member starts from."""

    model: Bundle
    member: BundleMember
    grown: NetworkSpec | None = None
    """The larger network that the weights are grown to; None to use them unchanged."""

    @property
    def network(self) -> NetworkSpec:
        """The network of the weights that `read_weights` returns."""
        return self.grown or self.member.card.network

    @property
    def provenance(self) -> dict[str, Any]:
        """Origin and terms of the weights, for the card of the member that starts from them."""
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
        """The size with the network, patch and preprocessing of the weights."""
        card = self.member.card
        return replace(size, preprocess=card.preprocess, patch=card.patch, plain=card.network, residual=card.network)

    def read_weights(self) -> Weights:
        """The weights, checked and grown; raises `BundleError` if they are damaged."""
        weights, card = self.model.read_weights(self.member), self.member.card
        return weights if self.grown is None else grow_weights(weights, card.network, self.grown, GROWTH_SEED)


def choose_warm_start(model: Bundle, scheme: Scheme, fold: int) -> WarmStart:
    """The member of a model that a new one starts from.

    It has the same scheme, or else the same kind of network. Of several folds, the same fold is used: if the model was
    trained on the same cases and folds, that member has not seen the validation cases of the new one. If there is no
    such fold, the first one is used. Of several sizes, the size of the first member is used. Weights of several members
    cannot be averaged, because their channels are in different orders.

    Args:
        model: The trained model.
        scheme: Scheme of the new member.
        fold: Fold of the new member.

    Raises:
        ConfigError: The model has no such member.
    """
    fitting = [
        member
        for member in model.card.members
        if member.card.scheme == scheme.name or member.card.network.encoder == scheme.encoder
    ]
    if not fitting:
        schemes = ", ".join(dict.fromkeys(member.card.scheme for member in model.card.members))
        raise ConfigError(
            f"{model.path}: has no member to start {scheme.name} from, neither of this scheme nor with a "
            f"{scheme.encoder} network; it has {schemes}: train only those, or use a model that has one"
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
