"""Descriptions of a model: in one line, as facts, and as the model card for people."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mapping_stroke.console import aligned, counted, name_files
from mapping_stroke.errors import BundleError, CaseError, ConfigError
from mapping_stroke.files import read_json, write_text, written_whole
from mapping_stroke.networks.bundle import Bundle, is_packed, open_bundle, write_bundle
from mapping_stroke.networks.cards import MemberCard, started_from
from mapping_stroke.networks.spec import count_parameters
from mapping_stroke.rules import PostprocessConfig

VALUES_FILE, FAILURES_PICTURE = "evaluation.json", "failures.jpg"
"""Files of an evaluation that a card is made from."""
NOT_STATED = "not stated"
MEMBER_COLUMNS = ("scheme", "fold", "network", "voxels (mm)", "patch", "GFLOP per patch", "validation Dice")
COVERS = {"tiles": "overlapping tiles", "window": "one window as large as the brain"}
MIRRORS = {"asked": "with the preset paper", "always": "with every preset"}
RULE_NUMBERS = ("many_lesions", "wide_edge", "below_peak", "least_peak", "smallest_mm3")
AVERAGES = {"probability": "the mean of P(lesion)", "logit": "the mean of the logits"}


def summarise_model(bundle: Bundle) -> str:
    """A model in one line: name, members, schemes, size, licence and path."""
    members = bundle.card.members
    schemes = ", ".join(dict.fromkeys(member.card.scheme for member in members))
    return (
        f"{bundle.card.name}: {counted(len(members), 'member')} ({schemes}), {bundle.size_bytes / 1e6:.1f} MB, "
        f"licence {bundle.card.licence or NOT_STATED}, {bundle.path}"
    )


def describe_model(bundle: Bundle) -> list[str]:
    """All facts of a model's card and its hash, one per line."""
    card = bundle.card
    facts = {
        "Model": card.name,
        "Path": str(bundle.path),
        "Size": f"{bundle.size_bytes / 1e6:.1f} MB",
        "SHA-256": bundle.sha256,
        "Average": AVERAGES[card.average],
        "Fast": COVERS[card.fast_cover],
        "Mirroring": MIRRORS[card.mirror],
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
    lines = [f"{name}: {' '.join(fact.split()) or NOT_STATED}" for name, fact in facts.items()]
    rows = [member_row(member.card) for member in card.members]
    return [*lines, f"{counted(len(rows), 'member')}:", *(f"  {line}" for line in aligned([MEMBER_COLUMNS, *rows]))]


def read_page(bundle: Bundle) -> str:
    """The model card stored in a model; raises `BundleError` if there is none."""
    page = bundle.read_page()
    if not page:
        raise BundleError(f"{bundle.path}: holds no model card; add one with `mapping models card --embed`")
    return page.rstrip("\n")


def member_row(card: MemberCard) -> tuple[str, ...]:
    """A member's row under `MEMBER_COLUMNS`."""
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
        f"{dice:.3f}" if isinstance(dice, int | float) else NOT_STATED,
    )


def _millions(number: int) -> str:
    return f"{number / 1e6:.3g} M" if number >= 1e5 else f"{number / 1e6:.2g} M"


def describe_rule(rule: PostprocessConfig | None) -> str:
    """All settings of a rule in one line."""
    if rule is None:
        return "none of its own"
    small, large = rule.small, rule.large
    levels = f"core {small.core:g} and edge {small.edge:g}"
    if not rule.has_one_load:
        levels += (
            f" below {rule.small_load:g} {rule.load_unit}, core {large.core:g} and edge {large.edge:g} from there on"
        )
    others = {name: value for name, value in asdict(rule).items() if name in RULE_NUMBERS}
    return f"{rule.manner}; {levels}; " + ", ".join(f"{name} {value:g}" for name, value in others.items())


def write_card(model: str | Path, evaluation: Path, target: Path, about: Path | None, *, embed: bool = False) -> None:
    """Write the card of a model as Markdown, with the picture of its failures next to it.

    Args:
        model: See `open_bundle`.
        evaluation: Folder of `mapping models evaluate` of the same model.
        target: Page to write.
        about: Text with placeholders for the values; None for a plain one.
        embed: Also store the text, without the picture, in the model; its results and its hash stay the same.

    Raises:
        MappingError: There is no such model or evaluation, the evaluation is of another model, the text names an
            unknown value, or the model is a run folder, which cannot store a card.
    """
    from mapping_stroke.report.model_pages import PLAIN_CARD

    bundle, values = open_bundle(model), _read_values(evaluation)
    if values["model_sha256"] != bundle.sha256:
        raise CaseError(
            f"{evaluation}: belongs to another model (SHA-256 {str(values['model_sha256'])[:12]}…), expected "
            f"{bundle.sha256[:12]}…; run `mapping models evaluate` on this one"
        )
    if embed and not is_packed(bundle.path):
        raise ConfigError(
            f"{bundle.path}: is not a packed model, so it cannot store a card; pack it with `mapping models pack`"
        )
    source = about or PLAIN_CARD
    text, drawn = _read_text(source), evaluation / FAILURES_PICTURE
    picture = target.with_name(f"{target.stem}-{FAILURES_PICTURE}") if drawn.is_file() else None
    page = _fill(text, bundle, values, picture.name if picture else "", str(source))
    if picture:
        with written_whole(picture) as partial:
            shutil.copyfile(drawn, partial)
    write_text(target, page)
    if embed:
        kept = _fill(text, bundle, values, "", str(source))  # a model holds no pictures
        write_bundle(bundle.path, bundle.card, bundle.read_stored, page=kept, overwrite=True)
    name_files("Model card", target, *([picture] if picture else []), *([bundle.path] if embed else []))


def _read_values(evaluation: Path) -> dict[str, Any]:
    path = evaluation / VALUES_FILE
    if not path.is_file():
        raise CaseError(f"{path}: no such file; give a folder written by `mapping models evaluate`")
    values = read_json(path)
    if not isinstance(values, dict) or not {"model_sha256", "false_positives", "failures"} <= values.keys():
        raise CaseError(f"{path}: was written by another version; rerun `mapping models evaluate`")
    return values


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}), expected Markdown; check --about") from error


def _fill(text: str, bundle: Bundle, values: Mapping[str, Any], failures_png: str, what: str) -> str:
    from mapping_stroke.report.model_pages import evaluation_blocks, fill_card

    return fill_card(text, model_blocks(bundle) | evaluation_blocks(values, failures_png), what)


def model_blocks(bundle: Bundle) -> dict[str, str]:
    """Facts of a model as Markdown, by the placeholders of a card's text."""
    from mapping_stroke.report.tables import markdown_table

    card = bundle.card
    facts = [
        ["members", str(len(card.members))],
        ["size", f"{bundle.size_bytes / 1e6:.0f} MB"],
        ["SHA-256", f"`{bundle.sha256}`"],
        ["members are averaged as", AVERAGES[card.average]],
        ["rule `mapping`", describe_rule(card.postprocess)],
        ["how the rule came about", card.postprocess_origin or NOT_STATED],
    ]
    texts = {name: getattr(card, name) for name in ("description", "training_data", "licence", "citation")}
    return {
        "name": card.name,
        **{name: " ".join(text.split()) or NOT_STATED for name, text in texts.items()},
        "facts": "\n".join(f"- {name}: {fact}" for name, fact in facts),
        "members": markdown_table(
            [*MEMBER_COLUMNS, "epochs", "began with"],
            [[*member_row(member.card), *_training(member.card)] for member in card.members],
        ),
        "simulation": _simulation([member.card for member in card.members]),
    }


def _training(card: MemberCard) -> tuple[str, str]:
    """Number of epochs a member was trained for, and the weights it started from."""
    start = started_from(card.training)
    epochs = str(card.training.get("epochs", NOT_STATED))
    if not start:
        return epochs, "nothing"
    same_run = start["model"] == f"fold_{start['fold']}"  # the folder of a member
    return epochs, start["scheme"] if same_run else f"{start['scheme']} of {start['model']}"


def _simulation(cards: Sequence[MemberCard]) -> str:
    """Sources of the simulated training cases, and how many were drawn."""
    origin = next((card.training["simulation"] for card in cards if card.training.get("simulation")), None)
    if not origin:
        return NOT_STATED
    people = (
        counted(len(origin["people"]), "person").replace("persons", "people") if origin["people"] else "the template"
    )
    brains = f"{counted(origin['brains'], 'scan')} of {people}" if origin["people"] else people
    kept = origin.get("kept_cases")
    drawn = f"{kept} simulated cases, drawn once" if kept else "a new simulated case for every patch"
    return f"{brains}, {counted(origin['masks'], 'lesion mask')}; {drawn}"
