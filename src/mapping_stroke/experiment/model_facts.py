"""A model's card as lines that a person reads."""

from dataclasses import asdict

from mapping_stroke.console import aligned, counted
from mapping_stroke.errors import BundleError
from mapping_stroke.networks.bundle import Bundle
from mapping_stroke.networks.cards import MemberCard
from mapping_stroke.networks.parameters import count_parameters
from mapping_stroke.postprocess import PostprocessConfig

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
