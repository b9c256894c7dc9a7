"""Training schemes, and the sizes at which they can be trained, as rows of data."""

import zlib
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.errors import ConfigError
from mapping_stroke.networks.spec import Encoder, NetworkSpec

OptimiserName = Literal["sgd", "adamw"]
LossName = Literal["dice+ce", "dice+topk10"]
Range = tuple[float, float]


@dataclass(frozen=True)
class Augmentation:
    """Probability of each transformation of a patch, and the range of its (uniform) strength.

    Factors (brightness, contrast, gamma) are drawn below 1 in half of the patches and above 1 in the others.

    Source: nnU-Net v2's default set, and nnU-Net v1's set DA3 ("strong"), which the MAPPING authors used. Both follow
    the code of these programs rather than the names of their arguments.
    """

    name: str
    rotation_probability: float = 0.2
    rotation_degrees: Range = (-30, 30)
    """About each of the three axes."""
    scale_probability: float = 0.2
    scale: Range = (0.7, 1.4)
    """With a scale above 1, the patch shows more of the head, so lesions look smaller."""
    scale_balanced: bool = False
    """Below 1 in half of the patches and above 1 in the others, as in v1; else uniform over the range, as in v2."""
    scale_per_axis_share: float = 0.0
    """Share of the scaled patches whose three axes are scaled independently."""
    elastic_probability: float = 0.0
    elastic_scale: Range = (0.0, 0.25)
    """Correlation length of the deformation, as a share of the patch's edge."""
    noise_probability: float = 0.1
    noise_sigma: Range = (0.0, 0.1)
    """Standard deviation. nnU-Net calls this range a variance, and passes it on as a standard deviation."""
    blur_probability: float = 0.2 * 0.5
    """nnU-Net blurs 0.2 of the patches and half of their channels; here there is one channel."""
    blur_sigma_vox: Range = (0.5, 1.0)
    blur_per_axis: bool = True
    """Separate sigmas for the axes; otherwise one for all three."""
    brightness_probability: float = 0.15
    brightness_factor: Range = (0.75, 1.25)
    shift_probability: float = 0.0
    shift_sigma: float = 0.2
    """Standard deviation of a normal offset added to all voxels."""
    contrast_probability: float = 0.15
    contrast_factor: Range = (0.75, 1.25)
    low_resolution_probability: float = 0.25 * 0.5
    """Likewise: 0.25 of the patches, and half of their channels."""
    low_resolution_zoom: Range = (0.5, 1.0)
    inverted_gamma_probability: float = 0.1
    gamma_probability: float = 0.3
    gamma: Range = (0.7, 1.5)
    mirror_probability: float | tuple[float, float, float] = 0.5
    """Per axis, or one number for all three."""

    @property
    def mirror_probabilities(self) -> tuple[float, float, float]:
        """Probability of mirroring along each axis."""
        given = self.mirror_probability
        return given if isinstance(given, tuple) else (given, given, given)

    @property
    def mirror_axes(self) -> tuple[int, ...]:
        """Axes along which patches are mirrored."""
        return tuple(axis for axis, probability in enumerate(self.mirror_probabilities) if probability > 0)


NONE = Augmentation(
    "none",
    rotation_probability=0,
    scale_probability=0,
    noise_probability=0,
    blur_probability=0,
    brightness_probability=0,
    contrast_probability=0,
    low_resolution_probability=0,
    inverted_gamma_probability=0,
    gamma_probability=0,
    mirror_probability=0,
)
SIDES = replace(NONE, name="sides", mirror_probability=(0.5, 0, 0))
"""Left-right mirroring only: a mirrored case is as plausible as the case itself."""
DEFAULT = Augmentation("default")
STRONG = Augmentation(
    "strong",
    rotation_probability=0.3,
    scale_probability=0.3,
    scale=(0.65, 1.6),
    scale_balanced=True,
    scale_per_axis_share=0.3,
    elastic_probability=0.3,
    noise_probability=0.15,
    blur_sigma_vox=(0.5, 1.5),
    blur_per_axis=False,
    brightness_factor=(0.7, 1.3),
    shift_probability=0.3,
    contrast_factor=(0.65, 1.5),
    inverted_gamma_probability=0.15,
    gamma=(0.5, 1.6),
)
AUGMENTATIONS = {augmentation.name: augmentation for augmentation in (NONE, SIDES, DEFAULT, STRONG)}


@dataclass(frozen=True)
class Mixing:
    """Mixing of cases before patches are cut (carving), and of patches afterwards (blending).

    Source: Zhang et al. 2021, *CarveMix*, arXiv:2108.06883; Zhang et al. 2018, *mixup*, arXiv:1710.09412.
    """

    name: str
    carve_probability: float = 0.0
    """Share of the patches from a case into which lesions of another case were pasted."""
    blend_alpha: float = 0.0
    """Parameter of the distribution Beta(alpha, alpha) of blending shares; 0 for no blending."""

    def __post_init__(self) -> None:
        if not 0 <= self.carve_probability <= 1:
            raise ConfigError(f"mixing {self.name}: carve_probability is {self.carve_probability}, expected 0 to 1")
        if self.blend_alpha < 0:
            raise ConfigError(f"mixing {self.name}: blend_alpha is {self.blend_alpha}, expected 0 or more")


NO_MIXING = Mixing("none")
CARVEMIX = Mixing("carvemix", carve_probability=0.5)
MIXUP = Mixing("mixup", blend_alpha=0.2)
MIXINGS = {mixing.name: mixing for mixing in (NO_MIXING, CARVEMIX, MIXUP)}

TOPK_SHARE = 0.10
"""The paper's share of hardest voxels in the top-k cross-entropy."""


@dataclass(frozen=True)
class LossConfig:
    """Kind of cross-entropy and of Dice term."""

    topk_share: float | None = None
    """Share of the batch's hardest voxels in the cross-entropy; None for all voxels."""
    batch_dice: bool = False
    """One Dice for all voxels of the batch; otherwise the mean of one Dice per sample."""

    def __post_init__(self) -> None:
        if self.topk_share is not None and not 0 < self.topk_share <= 1:
            raise ConfigError(f"topk_share is {self.topk_share}, expected a share above 0 and at most 1")


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
