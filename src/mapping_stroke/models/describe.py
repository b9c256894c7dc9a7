"""Write a model's card from the model, its evaluation and what its makers say; and keep it in the model, if asked."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mapping_stroke.console import counted, name_files
from mapping_stroke.errors import CaseError, ConfigError
from mapping_stroke.files import read_json, write_text, written_whole
from mapping_stroke.models.evaluate import FAILURES_PICTURE, VALUES_FILE
from mapping_stroke.models.labels import AVERAGES, MEMBER_COLUMNS, describe_rule, member_row
from mapping_stroke.networks.bundle import Bundle, is_packed, open_bundle, write_bundle
from mapping_stroke.networks.cards import MemberCard, started_from

NOT_TOLD = "not told"


def write_card(model: str | Path, evaluation: Path, target: Path, about: Path | None, *, embed: bool = False) -> None:
    """Write the card of a model as Markdown, the picture of its failures beside it.

    Args:
        model: See `open_bundle`.
        evaluation: Folder of `mapping models evaluate` of the same model.
        target: Page to write.
        about: Text with places for the values; None for a plain one.
        embed: Keep the text, without the picture, in the model too; what the model computes, and its hash, stay.

    Raises:
        MappingError: There is no model or evaluation, the evaluation is of another model, the text asks for a value
            that there is not, or the model is a run folder, into which no card is put.
    """
    from mapping_stroke.report.model_pages import PLAIN_CARD

    bundle, values = open_bundle(model), _read_values(evaluation)
    if values["model_sha256"] != bundle.sha256:
        raise CaseError(
            f"{evaluation}: is of another model (SHA-256 {str(values['model_sha256'])[:12]}…), expected "
            f"{bundle.sha256[:12]}…; run `mapping models evaluate` on this one"
        )
    if embed and not is_packed(bundle.path):
        raise ConfigError(f"{bundle.path}: is no packed model, so no card can be kept in it; `mapping models pack` it")
    source = about or PLAIN_CARD
    text, drawn = _read_text(source), evaluation / FAILURES_PICTURE
    picture = target.with_name(f"{target.stem}-{FAILURES_PICTURE}") if drawn.is_file() else None
    page = _fill(text, bundle, values, picture.name if picture else "", str(source))
    if picture:
        with written_whole(picture) as partial:
            shutil.copyfile(drawn, partial)
    write_text(target, page)
    if embed:
        kept = _fill(text, bundle, values, "", str(source))
        write_bundle(bundle.path, bundle.card, bundle.read_stored, page=kept, overwrite=True)
    name_files("Model card", target, *([picture] if picture else []), *([bundle.path] if embed else []))


def _read_values(evaluation: Path) -> dict[str, Any]:
    path = evaluation / VALUES_FILE
    if not path.is_file():
        raise CaseError(f"{path}: no such file; name a folder that `mapping models evaluate` has written")
    values = read_json(path)
    if not isinstance(values, dict) or not {"model_sha256", "false_positives", "failures"} <= values.keys():
        raise CaseError(f"{path}: was not written by this version; run `mapping models evaluate` again")
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
    """What a model's own card says as Markdown, by the names of the places in a text."""
    from mapping_stroke.report.tables import markdown_table

    card = bundle.card
    facts = [
        ["members", str(len(card.members))],
        ["size", f"{bundle.size_bytes / 1e6:.0f} MB"],
        ["SHA-256", f"`{bundle.sha256}`"],
        ["members are averaged as", AVERAGES[card.average]],
        ["rule `mapping`", describe_rule(card.postprocess)],
        ["how the rule came about", card.postprocess_origin or NOT_TOLD],
    ]
    told = {name: getattr(card, name) for name in ("description", "training_data", "licence", "citation")}
    return {
        "name": card.name,
        **{name: " ".join(text.split()) or NOT_TOLD for name, text in told.items()},
        "facts": "\n".join(f"- {name}: {fact}" for name, fact in facts),
        "members": markdown_table(
            [*MEMBER_COLUMNS, "epochs", "began with"],
            [[*member_row(member.card), *_training(member.card)] for member in card.members],
        ),
        "simulation": _simulation([member.card for member in card.members]),
    }


def _training(card: MemberCard) -> tuple[str, str]:
    """How long a member was trained, and from what."""
    start = started_from(card.training)
    epochs = str(card.training.get("epochs", NOT_TOLD))
    if not start:
        return epochs, "nothing"
    same_run = start["model"] == f"fold_{start['fold']}"  # the folder of a member
    return epochs, start["scheme"] if same_run else f"{start['scheme']} of {start['model']}"


def _simulation(cards: Sequence[MemberCard]) -> str:
    """What the cases of training were simulated from, and how many were drawn."""
    told = next((card.training["simulation"] for card in cards if card.training.get("simulation")), None)
    if not told:
        return NOT_TOLD
    people = counted(len(told["people"]), "person").replace("persons", "people") if told["people"] else "the template"
    brains = f"{counted(told['brains'], 'scan')} of {people}" if told["people"] else people
    kept = told.get("kept_cases")
    drawn = f"{kept} simulated cases, drawn once" if kept else "a new simulated case for every patch"
    return f"{brains}, {counted(told['masks'], 'lesion mask')}; {drawn}"
