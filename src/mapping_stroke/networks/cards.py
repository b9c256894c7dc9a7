"""A model as data: members, preprocessing, averaging, provenance and terms of use."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.errors import BundleError, ConfigError
from mapping_stroke.networks.spec import NetworkSpec, count_parameters
from mapping_stroke.networks.typed_json import TypedJsonError, parse_json, plain_json, read_typed
from mapping_stroke.rules import PostprocessConfig

STARTED_FROM = "started_from"
"""Key in a member's `training` for its warm start: name, hashes and licence of the other model."""


def started_from(training: Mapping[str, Any]) -> dict[str, Any]:
    """The provenance of a member's warm start; empty for fresh weights."""
    start = training.get(STARTED_FROM)
    return start if isinstance(start, dict) else {}


def inherit_licence(licence: str, trainings: Iterable[Mapping[str, Any]]) -> str:
    """Add to a model's licence those of the models that its members were fine-tuned from, unless it contains them.

    Args:
        licence: The model's own licence, which may be empty; it stays in front.
        trainings: Provenance of every member.
    """
    starts = map(started_from, trainings)
    inherited = dict.fromkeys((str(s.get("model", "another model")), str(s.get("licence") or "")) for s in starts)
    for model, its_licence in inherited:
        if its_licence not in licence:
            licence += f"{'; ' if licence else ''}{its_licence} (of {model}, which this was fine-tuned from)"
    return licence


FORMAT_VERSION = 1
MOST_MEMBERS = 1000
HIGHEST_FOLD = 9999
MOST_CONVOLUTIONS = 1000
MOST_PARAMETERS = 2**31
LONGEST_EDGE_VOX = 1024
"""Far above any real network; larger values would exhaust the memory of the machine that reads the card."""

Averaging = Literal["probability", "logit"]
Cover = Literal["tiles", "window"]
Mirror = Literal["asked", "always"]
Contrast = Literal["unknown", "T1w", "other"]
Space = Literal["unknown", "MNI152", "native"]
Shows = Literal["unknown", "head", "brain"]
_SCHEME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class MemberCard:
    """A trained network, with everything that prediction needs to know about it."""

    scheme: str
    fold: int
    network: NetworkSpec
    preprocess: PreprocessSpec
    patch: tuple[int, int, int]
    training: dict[str, Any]
    """Provenance: size, variant, epochs, seed, validation Dice, number of cases, pseudo-label source."""
    mirror_axes: tuple[int, ...] = (0, 1, 2)
    """Axes of the network's grid along which its training mirrored patches; it has never seen brains mirrored along
    others."""

    @property
    def name(self) -> str:
        """Name of the member, such as `residual, fold 2`."""
        return f"{self.scheme}, fold {self.fold}"


def weights_path(card: MemberCard) -> str:
    """Path of a member's weights in a bundle."""
    return f"weights/{card.scheme}_fold_{card.fold}.safetensors"


@dataclass(frozen=True)
class BundleMember:
    """One network of a model, and the file that holds its weights."""

    card: MemberCard
    weights: str = ""
    """Relative path inside the model, with `/`; if empty, the usual path in a bundle."""
    weights_sha256: str = ""
    """In hexadecimal; empty before the weights are written."""

    def __post_init__(self) -> None:
        if not self.weights:
            object.__setattr__(self, "weights", weights_path(self.card))
        require_inside(self.weights)
        if self.weights_sha256 and not _SHA256.fullmatch(self.weights_sha256):
            raise BundleError(
                f"{self.card.name}: weights_sha256 is not a SHA-256 (64 digits 0-9a-f); pack the model again"
            )
        if not _SCHEME.fullmatch(self.card.scheme):
            raise BundleError(
                f"{self.card.scheme!r} is not a valid name of a scheme; use at most 100 letters, digits and . _ + -"
            )
        _require_buildable(self.card)


@dataclass(frozen=True)
class BundleCard:
    """Everything about a model except its weights."""

    name: str
    members: tuple[BundleMember, ...]
    average: Averaging = "probability"
    """Quantity that is averaged over members and over the tiles of a scan: P(lesion) (the paper, nnU-Net v1) or logits
    (nnU-Net v2)."""
    fast_cover: Cover = "tiles"
    """How the preset `fast` covers a scan: `window`, a single brain-sized window, if that costs less than 0.005 Dice on
    this model's held-out cases; otherwise `tiles`."""
    mirror: Mirror = "asked"
    """Which presets average over the mirrorings that each member was trained with: `paper`, which asks for it, or
    `always` all of them, if that is worth the time on this model's held-out cases and healthy scans."""
    postprocess: PostprocessConfig | None = None
    """The rule fitted for this model; None if there is none."""
    postprocess_origin: str = ""
    """Provenance of that rule: the cases it was fitted on, and its scores."""
    contrast: Contrast = "unknown"
    """Contrast of the training scans; if known, `mapping segment` warns of scans that differ."""
    space: Space = "unknown"
    """Space of the training scans. For `MNI152`, `mapping segment` registers scans that lie elsewhere."""
    shows: Shows = "unknown"
    """Anatomy in the training scans, a `head` or only the `brain`; then `mapping segment` removes the rest."""
    description: str = ""
    training_data: str = ""
    licence: str = ""
    """Licences of models that members were fine-tuned from are added at construction, so that none can be lost."""
    citation: str = ""

    def __post_init__(self) -> None:
        if not self.name.strip() or len(self.name) > 200 or not self.name.isprintable():
            raise BundleError(
                f"{self.name[:200]!r} is not a valid name of a model; expected one line of 1 to 200 characters"
            )
        if not 1 <= len(self.members) <= MOST_MEMBERS:
            raise BundleError(f"{self.name}: has {len(self.members)} members, expected 1 to {MOST_MEMBERS} networks")
        for what, values in (
            ("two members", [member.card.name for member in self.members]),
            ("two members with the weights", [member.weights for member in self.members]),
        ):
            for value, times in Counter(value.casefold() for value in values).items():
                if times > 1:
                    raise BundleError(f"{self.name}: has {what} {value}, expected each once; rename a scheme")
        trainings = [member.card.training for member in self.members]
        # frozen, but the licences must be part of every card
        object.__setattr__(self, "licence", inherit_licence(self.licence, trainings))

    def to_json(self) -> dict[str, object]:
        """The card as plain JSON values, as `bundle.json` holds them."""
        members = [
            {**asdict(member.card), "weights": member.weights, "weights_sha256": member.weights_sha256}
            for member in self.members
        ]
        card: dict[str, object] = plain_json({"format": FORMAT_VERSION, **asdict(self), "members": members})
        return card

    @classmethod
    def from_bytes(cls, text: bytes) -> "BundleCard":
        """The inverse of `to_json`, from the bytes of a file.

        Raises:
            BundleError: The text is damaged, of another format version, or an entry is missing, unknown, ill-typed or
                out of range.
        """
        try:
            values = parse_json(text)
            if not isinstance(values, dict) or "format" not in values:
                raise TypedJsonError("has no entry 'format'")
            found = values.pop("format")
            if type(found) is not int or found != FORMAT_VERSION:  # True would equal 1
                raise BundleError(
                    f"has format version {ascii(found)[:60]}, this version reads {FORMAT_VERSION}; "
                    "update mapping-stroke"
                )
            members = read_typed(tuple[dict, ...], values.get("members"), "members")
            values["members"] = [_split_member(member) for member in members]
            card: BundleCard = read_typed(cls, values, "card")
        except (TypedJsonError, ConfigError) as error:
            raise BundleError(f"{error}; copy or pack the model again") from error
        return card


def require_inside(name: str) -> None:
    """Raise `BundleError` unless a name in a model is a plain relative path that stays inside it on every system."""
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts) or re.search(r'[\\:*?"<>|]', name) or not name.isprintable():
        raise BundleError(f"the entry {ascii(name)[:200]} would lie outside the model; do not use this model")
    if PurePosixPath(name).is_absolute() or len(name) > 500:
        raise BundleError(f"the entry {ascii(name)[:200]} is not a relative path; do not use this model")


def _split_member(values: dict[str, Any]) -> dict[str, Any]:
    own: dict[str, Any] = {name: values.get(name) for name in ("weights", "weights_sha256")}
    for name in own:
        if not own[name]:
            raise TypedJsonError(f"a member has no entry {name!r}")
    return {"card": {name: value for name, value in values.items() if name not in own}, **own}


def _require_buildable(card: MemberCard) -> None:
    """Raise if a network does not fit its patch, or is so large that the card must be wrong."""
    spec = card.network
    convolutions = 3 * sum(spec.depths) + (spec.stages - 1) * (spec.decoder_convolutions + 2)
    if convolutions > MOST_CONVOLUTIONS or count_parameters(spec) > MOST_PARAMETERS:
        raise BundleError(f"{card.name}: its network is impossibly large; do not use this model")
    if not 0 <= card.fold <= HIGHEST_FOLD:
        raise BundleError(f"{card.scheme}: its fold is {card.fold}, expected 0 to {HIGHEST_FOLD}")
    if not all(1 <= edge <= LONGEST_EDGE_VOX for edge in card.patch):
        raise BundleError(
            f"{card.name}: patch is {card.patch}, expected 1 to {LONGEST_EDGE_VOX} voxels along each axis"
        )
    if not (set(card.mirror_axes) <= {0, 1, 2} and len(set(card.mirror_axes)) == len(card.mirror_axes)):
        raise BundleError(f"{card.name}: mirror_axes is {card.mirror_axes}, expected some of 0, 1 and 2, each once")
    try:
        spec.require_patch(card.patch)
    except ConfigError as error:
        raise BundleError(f"{card.name}: {error}") from error
