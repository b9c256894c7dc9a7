"""Training schemes, and the sizes at which they can be trained, as rows of data."""

import zlib
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.errors import ConfigError
from mapping_stroke.networks.spec import Encoder, NetworkSpec
from mapping_stroke.training.augment import AUGMENTATIONS, Augmentation
from mapping_stroke.training.losses import TOPK_SHARE, LossConfig, LossName
from mapping_stroke.training.mixing import MIXINGS, Mixing

OptimiserName = Literal["sgd", "adamw"]


@dataclass(frozen=True)
class Scheme:
    """Training of one kind of member."""

    name: str
    encoder: Encoder = "plain"
    loss: LossName = "dice+ce"
    augmentation: str = "default"
    pseudo_labels: bool = False
    """Add the unlabelled scans, labelled by the best scheme, to the training cases."""
    full_epochs: int = 1000
    """Epochs at the full size; smaller sizes have their own."""
    mixing: str = "none"

    def __post_init__(self) -> None:
        for kind, name, known in (
            ("augmentation", self.augmentation, AUGMENTATIONS),
            ("mixing", self.mixing, MIXINGS),
        ):
            if name not in known:
                raise ConfigError(f"scheme {self.name}: no {kind} {name!r}; expected one of {', '.join(known)}")


SCHEMES = (
    Scheme("default"),
    Scheme("dice-topk10", loss="dice+topk10"),
    Scheme("residual", encoder="residual", augmentation="strong"),
    Scheme("self-training", pseudo_labels=True),
)
"""As in the paper. Source: Huo et al. 2022, arXiv:2211.15486, section 2.2."""

CONTAINER_SCHEMES = (
    SCHEMES[0],
    replace(SCHEMES[1], full_epochs=800),
    SCHEMES[2],
    replace(SCHEMES[3], augmentation="strong"),
)
"""As in the authors' submitted container, which differs from the paper."""

EXTRA_SCHEMES = (
    Scheme("carvemix", mixing="carvemix"),
    Scheme("mixup", mixing="mixup"),
)
"""Not in the paper: trained only on request. A new scheme is a row here."""

VARIANTS = {"paper": SCHEMES, "container": CONTAINER_SCHEMES}


@dataclass(frozen=True)
class Size:
    """Size of the networks and of their training. `full` is the paper's; the others run on a CPU."""

    name: str
    preprocess: PreprocessSpec
    patch: tuple[int, int, int]
    plain: NetworkSpec
    residual: NetworkSpec
    steps_per_epoch: int
    validation_steps: int
    epochs: int | None = None
    """Epochs of every scheme; None takes the scheme's own."""
    batch: int = 2
    optimiser: OptimiserName = "sgd"
    """`sgd` (Nesterov) is nnU-Net's; `adamw` makes progress within the few steps of the small sizes."""
    learning_rate: float = 0.01
    momentum: float = 0.99
    """Momentum of `sgd`."""
    rare_logit: float = 0.0
    """Initial bias of a fresh network towards background, in logits; 0 is nnU-Net's. A larger bias saves the first
    hundreds of steps, in which the network would learn that lesions are rare."""
    batch_dice: bool = False
    """One Dice for all voxels of a batch; otherwise one per patch. Pooling keeps a patch with an invisible lesion from
    teaching a weak network to guess."""
    topk_share: float = TOPK_SHARE
    """Share of the hardest voxels in the loss `dice+topk10`. With a tenth, weak networks mark nothing, so the small
    sizes take the harder half."""

    def __post_init__(self) -> None:
        for network in (self.plain, self.residual):
            network.require_patch(self.patch)

    @property
    def grids(self) -> tuple[tuple[int, int, int], ...]:
        """Grids on which the networks' convolutions are computed in training."""
        return (*self.plain.shapes(self.patch), *self.residual.shapes(self.patch))

    def network(self, scheme: Scheme) -> NetworkSpec:
        """The network that a scheme trains at this size."""
        return self.residual if scheme.encoder == "residual" else self.plain

    def loss_of(self, scheme: Scheme) -> LossConfig:
        """The loss of a scheme at this size."""
        return LossConfig(self.topk_share if scheme.loss == "dice+topk10" else None, self.batch_dice)

    def epochs_of(self, scheme: Scheme) -> int:
        """Number of epochs of a scheme at this size."""
        return scheme.full_epochs if self.epochs is None else self.epochs


_COMPACT = Size(
    "compact",
    PreprocessSpec(spacing_mm=3.0),
    patch=(48, 64, 48),
    plain=NetworkSpec("plain", (8, 32, 64, 96, 128), (1, 2, 2, 2, 2), 1),
    residual=NetworkSpec("residual", (8, 32, 64, 96, 128), (1, 1, 2, 2, 2), 1, conv_bias=False),
    steps_per_epoch=100,
    validation_steps=12,
    epochs=90,
    optimiser="adamw",
    learning_rate=0.002,
    topk_share=0.5,
    batch_dice=True,
    rare_logit=4.0,
)
SIZES = {
    size.name: size
    for size in (
        Size(
            "full",
            PreprocessSpec(spacing_mm=1.0),
            patch=(128, 128, 128),
            plain=NetworkSpec(),
            residual=NetworkSpec("residual", (24, 48, 96, 192, 320, 320), (1, 2, 3, 4, 4, 4), 1, conv_bias=False),
            steps_per_epoch=250,
            validation_steps=50,
        ),
        _COMPACT,
        replace(
            _COMPACT,
            name="fine",
            preprocess=PreprocessSpec(spacing_mm=1.5),
            patch=(96, 96, 64),
            plain=replace(_COMPACT.plain, features=(32, 64, 96, 112, 128), unshuffle=2),
            residual=replace(_COMPACT.residual, features=(32, 64, 96, 112, 128), unshuffle=2),
            epochs=60,
        ),
        Size(
            "small",
            PreprocessSpec(spacing_mm=2.0),
            patch=(48, 48, 48),
            plain=NetworkSpec("plain", (12, 24, 48, 96), (2, 2, 2, 2)),
            residual=NetworkSpec("residual", (12, 24, 48, 96), (1, 2, 2, 2), 1, conv_bias=False),
            steps_per_epoch=50,
            validation_steps=4,
            epochs=10,
            optimiser="adamw",
            learning_rate=0.005,
            topk_share=0.5,
        ),
        Size(
            "tiny",
            PreprocessSpec(spacing_mm=3.0),
            patch=(32, 32, 32),
            plain=NetworkSpec("plain", (8, 16, 32, 64), (2, 2, 2, 2)),
            residual=NetworkSpec("residual", (8, 16, 32, 64), (1, 2, 2, 2), 1, conv_bias=False),
            steps_per_epoch=50,
            validation_steps=4,
            epochs=16,
            optimiser="adamw",
            learning_rate=0.005,
            topk_share=0.5,
        ),
    )
}


def with_batch(size: Size, batch: int) -> Size:
    """A size with another batch, the same number of validation patches, and a square-root scaled learning rate.

    Source: Malladi et al. 2022, arXiv:2205.10287, for optimisers such as AdamW.
    """
    times = batch / size.batch
    steps = max(round(size.validation_steps / times), 1)
    return replace(size, batch=batch, learning_rate=size.learning_rate * times**0.5, validation_steps=steps)


def find_scheme(name: str, variant: str = "paper") -> Scheme:
    """Find a scheme by name, including the extra ones; raises `ConfigError` that lists the known ones."""
    schemes = {scheme.name: scheme for scheme in (*find_variant(variant), *EXTRA_SCHEMES)}
    if name not in schemes:
        raise ConfigError(f"no training scheme {name!r}; expected one of {', '.join(schemes)}")
    return schemes[name]


def find_variant(variant: str) -> tuple[Scheme, ...]:
    """All schemes as in the `paper` or the authors' `container`; raises `ConfigError` for another name."""
    if variant not in VARIANTS:
        raise ConfigError(f"no variant {variant!r} of the schemes; expected one of {', '.join(VARIANTS)}")
    return VARIANTS[variant]


def seed_number(scheme: Scheme) -> int:
    """Seed number of a scheme: its position among the paper's schemes, or a checksum of its name.

    Adding, removing or moving extra schemes therefore does not change the weights of other schemes.
    """
    places = {row.name: place for place, row in enumerate(SCHEMES)}
    return places.get(scheme.name, zlib.crc32(scheme.name.encode()))


def find_size(name: str) -> Size:
    """Find a size by name; raises `ConfigError` that lists the known ones."""
    if name not in SIZES:
        raise ConfigError(f"no size {name!r}; expected one of {', '.join(SIZES)}")
    return SIZES[name]


def augmentation_of(scheme: Scheme) -> Augmentation:
    """The augmentation set of a scheme."""
    return AUGMENTATIONS[scheme.augmentation]


def mixing_of(scheme: Scheme) -> Mixing:
    """The mixing of a scheme."""
    return MIXINGS[scheme.mixing]


def rows_of(scheme: Scheme) -> dict[str, dict[str, Any]]:
    """The parameters behind the names in a scheme, so that a recipe changes with them."""
    return {"augmentation": asdict(augmentation_of(scheme)), "mixing": asdict(mixing_of(scheme))}
