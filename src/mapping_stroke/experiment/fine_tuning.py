"""How a trained model is fine-tuned on cases of one's own, where nothing else is asked for."""

from mapping_stroke.errors import ConfigError
from mapping_stroke.experiment.train_config import TrainConfig
from mapping_stroke.networks.bundle import Bundle, open_bundle
from mapping_stroke.training.schemes import EXTRA_SCHEMES, SCHEMES, SIZES, find_size

EPOCHS = 10
"""Short: on some twenty cases a network begins to know them by heart."""
RATE_SHARE = 1 / 30
"""Of the size's learning rate. With more, the first epochs undo what the network knows: of a small one that was trained
on good scans, on 20 simulated scans of a poor scanner, a third of the rate left a Dice of 0.08 of 0.20, a tenth 0.15, a
thirtieth 0.17 with a third of the falsely marked volume, a hundredth 0.18 with half of it."""


def fine_tuning_config(model: str, size: str | None = None) -> TrainConfig:
    """What to train where a model is fine-tuned: all schemes that it has, at its own size, shortly and gently.

    Args:
        model: See `open_bundle`.
        size: For models that do not tell their size, such as imported ones; `full` where left out. It decides steps
            and optimiser; network, patch and preparation of scans are always those of the model's members.

    Raises:
        BundleError: There is no such model.
        ConfigError: It is of another size, or has no scheme that can be trained.
    """
    bundle = open_bundle(model)
    chosen = find_size(_size_of(bundle, size))
    rate = round(chosen.learning_rate * RATE_SHARE, 6)
    return TrainConfig(_schemes_of(bundle), size=chosen.name, model=model, epochs=EPOCHS, learning_rate=rate)


def _size_of(bundle: Bundle, asked: str | None) -> str:
    told = [member.card.training.get("size") for member in bundle.card.members]
    known = [name for name in SIZES if name in told]
    if not known:
        return asked or "full"
    if asked is not None and asked not in known:
        raise ConfigError(f"{bundle.path}: its members are of size {known[0]}, not {asked}; leave --size out")
    return asked or known[0]


def _schemes_of(bundle: Bundle) -> tuple[str, ...]:
    told = {member.card.scheme: None for member in bundle.card.members}
    known = tuple(scheme.name for scheme in (*SCHEMES, *EXTRA_SCHEMES) if scheme.name in told)
    if not known:
        return _by_network(bundle)
    return known


def _by_network(bundle: Bundle) -> tuple[str, ...]:
    """The first scheme for each kind of network that a model of other schemes has."""
    encoders = {member.card.network.encoder: None for member in bundle.card.members}
    return tuple(next(scheme.name for scheme in SCHEMES if scheme.encoder == encoder) for encoder in encoders)
