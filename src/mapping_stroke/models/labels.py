"""What a person says about a model when packing it, and a model's card as lines."""

from dataclasses import asdict, dataclass
from typing import Literal

from mapping_stroke.console import aligned, counted
from mapping_stroke.errors import BundleError
from mapping_stroke.networks.bundle import Bundle
from mapping_stroke.networks.cards import MemberCard
from mapping_stroke.networks.spec import count_parameters
from mapping_stroke.rules import PostprocessConfig


@dataclass(frozen=True)
class ModelLabels:
    """Facts for the card of a model; what is left out stays as the source has it."""

    name: str = ""
    """What to call the model, in one line."""
    description: str = ""
    """What it is for, and how it was made."""
    training_data: str = ""
    """The scans that it was trained on: data set, version, number, selection."""
    licence: str = ""
    """Under what terms others may use it, such as `CC-BY-4.0`."""
    citation: str = ""
    """What to cite."""
    contrast: Literal["keep", "unknown", "T1w", "other"] = "keep"
    """Of the training scans; `mapping segment` warns of a scan that does not look like a `T1w` where that is said."""
    space: Literal["keep", "unknown", "MNI152", "native"] = "keep"
    """Where the training scans lay; `mapping segment` registers a scan that lies elsewhere where `MNI152` is said."""
    shows: Literal["keep", "unknown", "head", "brain"] = "keep"
    """What they showed of people: where `brain` is said, `mapping segment` takes the rest of a head away."""
    rule: Literal["keep", "mapping", "challenge", "paper", "none"] = "keep"
    """Store the thresholds of this post-processing rule as the model's own; `keep` leaves them as they are."""
    fast_cover: Literal["keep", "tiles", "window"] = "keep"
    """How the preset `fast` covers a scan: `window`, if that costs under 0.005 Dice (benchmark `agreement`)."""


MEMBER_COLUMNS = ("scheme", "fold", "network", "voxels (mm)", "patch", "GFLOP per patch", "validation Dice")
COVERS = {"tiles": "overlapping tiles", "window": "one window as large as the brain"}
RULE_NUMBERS = ("many_lesions", "wide_edge", "below_peak", "least_peak", "smallest_mm3")
AVERAGES = {"probability": "the mean of P(lesion)", "logit": "the mean of the logits"}


def summarise_model(bundle: Bundle) -> str:
    """A model in one line: name, members, schemes, size, licence, where it is."""
    members = bundle.card.members
    schemes = ", ".join(dict.fromkeys(member.card.scheme for member in members))
    return (
        f"{bundle.card.name}: {counted(len(members), 'member')} ({schemes}), {bundle.size_bytes / 1e6:.1f} MB, "
        f"licence {bundle.card.licence or 'not told'}, {bundle.path}"
    )


def describe_model(bundle: Bundle) -> list[str]:
    """All that a card says, and the model's hash."""
    card = bundle.card
    facts = {
        "Model": card.name,
        "Path": str(bundle.path),
        "Size": f"{bundle.size_bytes / 1e6:.1f} MB",
        "SHA-256": bundle.sha256,
        "Average": AVERAGES[card.average],
        "Fast": COVERS[card.fast_cover],
        "Post-processing": "; ".join(filter(None, [describe_rule(card.postprocess), card.postprocess_origin])),
        "Description": card.description,
        "Contrast": card.contrast,
        "Space": card.space,
        "Shows": card.shows,
        "Training data": card.training_data,
        "Licence": card.licence,
        "Citation": card.citation,
        "Model card": "in the model; `mapping models show MODEL --card` prints it" if bundle.read_page() else "none",
    }
    lines = [f"{name}: {' '.join(fact.split()) or 'not told'}" for name, fact in facts.items()]
    rows = [member_row(member.card) for member in card.members]
    return [*lines, f"{counted(len(rows), 'member')}:", *(f"  {line}" for line in aligned([MEMBER_COLUMNS, *rows]))]


def read_page(bundle: Bundle) -> str:
    """The model card that a model holds; raises `BundleError` where it holds none."""
    page = bundle.read_page()
    if not page:
        raise BundleError(f"{bundle.path}: holds no model card; `mapping models card --embed` puts one in")
    return page.rstrip("\n")


def member_row(card: MemberCard) -> tuple[str, ...]:
    """A member's cells under `MEMBER_COLUMNS`."""
    dice = card.training.get("validation_dice")
    edges_mm = (
        card.preprocess.edges_mm if isinstance(card.preprocess.spacing_mm, tuple) else card.preprocess.edges_mm[:1]
    )
    return (
        card.scheme,
        str(card.fold),
        f"{card.network.encoder}, {card.network.stages} stages, {_millions(count_parameters(card.network))} parameters",
        " x ".join(f"{edge:g}" for edge in edges_mm),
        " x ".join(map(str, card.patch)),
        f"{card.network.forward_flop(card.patch) / 1e9:.3g}",
        f"{dice:.3f}" if isinstance(dice, int | float) else "not told",
    )


def _millions(number: int) -> str:
    return f"{number / 1e6:.3g} M" if number >= 1e5 else f"{number / 1e6:.2g} M"


def describe_rule(rule: PostprocessConfig | None) -> str:
    """All settings of a rule in one line."""
    if rule is None:
        return "none of its own"
    small, large = rule.small, rule.large
    others = {name: value for name, value in asdict(rule).items() if name in RULE_NUMBERS}
    return (
        f"{rule.manner}; core {small.core:g} and edge {small.edge:g} below {rule.small_load:g} {rule.load_unit}, "
        f"core {large.core:g} and edge {large.edge:g} from there on; "
        + ", ".join(f"{name} {value:g}" for name, value in others.items())
    )
