"""Warm start: members that start from the weights of a trained model, and the settings for fine-tuning it."""

from dataclasses import dataclass, replace
from typing import Any, get_args

from mapping_stroke.errors import ConfigError
from mapping_stroke.names import SizeName
from mapping_stroke.networks.bundle import Bundle, open_bundle
from mapping_stroke.networks.cards import BundleMember
from mapping_stroke.networks.growth import grow_weights
from mapping_stroke.networks.spec import NetworkSpec, Weights
from mapping_stroke.stages.settings import TrainConfig
from mapping_stroke.training.schemes import EXTRA_SCHEMES, SCHEMES, Scheme, Size, find_size

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


EPOCHS = 10
"""Short: on some twenty cases a network soon overfits."""
RATE_SHARE = 1 / 30
"""Share of the size's learning rate. With more, the first epochs destroy what the network has learned: a small network
trained on good scans had a Dice of 0.20 on a poor scanner; fine-tuned on 20 simulated scans of it, a third of the rate
left 0.08, a tenth 0.15, a thirtieth 0.17 with a third of the false volume, a hundredth 0.18 with half of it."""


def fine_tuning_config(config: TrainConfig) -> TrainConfig:
    """Settings for fine-tuning `from_`: by default all of its schemes, at its own size, for few epochs at a low rate.

    Args:
        config: Names the model. The size is for models without a recorded size, such as imported ones; `full` if left
            out. It decides steps and optimiser; network, patch and preprocessing are always those of the members.

    Raises:
        BundleError: There is no such model.
        ConfigError: It is of another size.
    """
    bundle = open_bundle(config.from_)
    size = _size_of(bundle, config.size)
    rate = round(find_size(size).learning_rate * RATE_SHARE, 6)
    return replace(
        config,
        schemes=config.schemes or _schemes_of(bundle),
        size=size,
        epochs=EPOCHS if config.epochs is None else config.epochs,
        learning_rate=rate if config.learning_rate is None else config.learning_rate,
    )


def _size_of(bundle: Bundle, asked: SizeName | None) -> SizeName:
    recorded = [member.card.training.get("size") for member in bundle.card.members]
    known = [name for name in get_args(SizeName) if name in recorded]
    if not known:
        return asked or "full"
    if asked is not None and asked not in known:
        raise ConfigError(f"{bundle.path}: its members are of size {known[0]}, not {asked}; leave --size out")
    return asked or known[0]


def _schemes_of(bundle: Bundle) -> tuple[str, ...]:
    """The schemes of a model's members; for other names, the first scheme of each kind of encoder."""
    found = {member.card.scheme for member in bundle.card.members}
    known = tuple(scheme.name for scheme in (*SCHEMES, *EXTRA_SCHEMES) if scheme.name in found)
    if known:
        return known
    encoders = {member.card.network.encoder: None for member in bundle.card.members}
    return tuple(next(scheme.name for scheme in SCHEMES if scheme.encoder == encoder) for encoder in encoders)
