"""What a report says about a run besides scores and pictures, gathered from the run's files."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from mapping_stroke.config import read_sections
from mapping_stroke.dataset.cases import Case
from mapping_stroke.dataset.folds import largest_fold_distance
from mapping_stroke.dataset.problems import read_problems
from mapping_stroke.errors import FoldsError
from mapping_stroke.evaluation.tables import FIRST_METHODS, CaseScore, order_methods
from mapping_stroke.files import given_name, read_csv, read_json, read_object
from mapping_stroke.networks.member_folder import CARD_FILE
from mapping_stroke.report.exploration import SMALL_LOAD_ML
from mapping_stroke.report.names import load_words, method_label
from mapping_stroke.report.page import About, Provenance
from mapping_stroke.run_folder import RunFolder

DESCRIPTION_FILE = "dataset_description.json"
LEVELS_UP = 7
"""How far above a scan its data set's description is looked for."""
NAMED = 5
"""Cases named in one line; the rest are counted."""


def describe_run(run: RunFolder, cases: Sequence[Case], scores: Sequence[CaseScore], failures: Sequence[str]) -> About:
    """Gather what was run and with what; parts that the run does not hold are empty."""
    description = describe_data(cases)
    return About(
        name=given_name(run.path),
        simulated=says_simulated(description),
        facts=list_facts(run, cases, scores, description),
        provenance=list_provenance(run),
        failures=failures,
        settings=run.config_toml.read_text(encoding="utf-8") if run.config_toml.is_file() else "",
        environment=read_object(run.environment_json),
        version=version("mapping-stroke"),
    )


def describe_data(cases: Sequence[Case]) -> dict[str, Any]:
    """The data set's own description (BIDS), found above its scans; empty where there is none that can be read."""
    for folder in (parent for case in cases[:1] for parent in case.scan.parents[:LEVELS_UP]):
        path = folder / DESCRIPTION_FILE
        if path.is_file():
            try:
                found = read_json(path)
            except ValueError:
                return {}
            return found if isinstance(found, dict) else {}
    return {}


def says_simulated(description: Mapping[str, Any]) -> bool | None:
    """Whether a data set's description says that it is simulated; None without a description."""
    if not description:
        return None
    return description.get("Simulated") is True or "simulated" in str(description.get("Name", "")).lower()


def list_facts(
    run: RunFolder, cases: Sequence[Case], scores: Sequence[CaseScore], description: Mapping[str, Any]
) -> list[tuple[str, str]]:
    """What was run, as names and values; what the run's files do not tell is left out."""
    settings = read_sections(run.config_toml)
    facts = {
        "Data set": str(description.get("Name", "not described (it has no dataset_description.json)")),
        "Made from": "; ".join(_source(source) for source in description.get("SourceDatasets", [])),
        "Cases": _case_words(cases),
        "Lesion load": _load_words([case.load_ml for case in cases if case.load_ml is not None]),
        "Grid": _grid_words(cases),
        "Folds": _fold_words(run, cases),
        "Networks": _member_words(run, settings.get("train", {})),
        "Post-processing": settings.get("postprocess", {}).get("rule", ""),
        "Scoring profile": settings.get("evaluate", {}).get("profile", ""),
        "Scored": f"{len({score.case_id for score in scores})} cases, "
        f"{datetime.fromtimestamp(run.scores_csv.stat().st_mtime, UTC):%Y-%m-%d %H:%M} UTC",
    }
    return [(name, str(value)) for name, value in facts.items() if value]


def list_failures(run: RunFolder, cases: Sequence[Case], scores: Sequence[CaseScore]) -> list[str]:
    """Problems of the data, and for every method the labelled cases that have no score; empty if all went well."""
    problems = read_problems(run.problems_csv) if run.problems_csv.is_file() else []
    lines = [f"{problem.severity}: {problem.line}" for problem in problems]
    labelled = {case.case_id for case in cases if case.mask is not None}
    for method in order_methods(score.method for score in scores):
        missing = sorted(labelled - {score.case_id for score in scores if score.method == method})
        if missing:
            rest = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
            names = ", ".join(missing[:NAMED])
            lines.append(f"{method_label(method)}: no score for {len(missing)} of {len(labelled)} cases: {names}{rest}")
    return lines


def list_provenance(run: RunFolder) -> list[Provenance]:
    """Where the pseudo-labels came from that each member was trained with; empty without self-training."""
    cards = sorted(run.members.glob(f"*/fold_*/{CARD_FILE}"), key=lambda path: (path.parent.parent, _fold_number(path)))
    stored = {path: read_object(path).get("training", {}).get("pseudo_labels") for path in cards}
    return [_provenance(path, pseudo) for path, pseudo in stored.items() if pseudo]


def find_epochs(run: RunFolder) -> dict[tuple[str, int], Path]:
    """The `epochs.csv` of every member, by scheme and fold."""
    found = sorted(run.members.glob("*/fold_*/epochs.csv"))
    return {(path.parent.parent.name, _fold_number(path)): path for path in found}


def _fold_number(path: Path) -> int:
    return int(path.parent.name.removeprefix("fold_"))


def _provenance(card: Path, stored: Mapping[str, Any]) -> Provenance:
    confidence = stored.get("confidence", {})
    known = [value for value in confidence.values() if value is not None]
    words = f"{np.mean(known):.2f} ({min(known):.2f} to {max(known):.2f})" if known else ""
    floor = stored.get("confidence_floor")
    return Provenance(
        member=card.parent.parent.name,
        fold=str(_fold_number(card)),
        scheme=str(stored.get("scheme", "")),
        weights_sha256=str(stored.get("weights_sha256", "")),
        labels=len(confidence),
        empty=len(confidence) - len(known),
        left_out=len(stored.get("left_out", ())),
        floor="" if floor is None else f"{floor:g}",
        confidence=words,
    )


def _source(source: Mapping[str, Any]) -> str:
    name = str(source.get("Name") or source.get("URL") or "not named")
    what = f"{source['What']}: " if source.get("What") else ""
    licence = source.get("Licence") or source.get("License")
    return f"{what}{name}" + (f" ({licence})" if licence else "")


def _case_words(cases: Sequence[Case]) -> str:
    labelled = [case for case in cases if case.mask is not None]
    sites = len({case.site for case in cases if case.site})
    where = f"; {sites} site{'s' * (sites > 1)}" if sites else ""
    people = len({case.subject for case in labelled})
    return f"{len(labelled)} labelled ({people} people), {len(cases) - len(labelled)} unlabelled{where}"


def _load_words(loads_ml: Sequence[float]) -> str:
    if not loads_ml:
        return ""
    small = float(np.mean([load <= SMALL_LOAD_ML for load in loads_ml]))
    ends = f"{load_words(min(loads_ml))} to {load_words(max(loads_ml))}"
    return f"median {load_words(float(np.median(loads_ml)))} ({ends}), {small:.0%} up to {SMALL_LOAD_ML:g} mL"


def _grid_words(cases: Sequence[Case]) -> str:
    grids = Counter((case.shape, case.spacing_mm, case.orientation) for case in cases)
    (shape, spacing_mm, orientation), count = grids.most_common(1)[0]
    words = f"{'x'.join(map(str, shape))} at {' x '.join(f'{edge:.3g}' for edge in spacing_mm)} mm, {orientation}"
    return words if count == len(cases) else f"{len(grids)} different; most often {words}"


def _fold_words(run: RunFolder, cases: Sequence[Case]) -> str:
    if not run.folds_csv.is_file():
        return ""
    try:
        assignment = {row["case_id"]: int(row["fold"]) for row in read_csv(run.folds_csv)}
    except (KeyError, TypeError, ValueError):
        return "their table is damaged"
    loads = {case.case_id: case.load_vox for case in cases if case.load_vox is not None}
    words = f"{len(set(assignment.values()))}"
    try:
        distance = largest_fold_distance(loads, assignment)
    except FoldsError:
        return words
    return f"{words}; largest Kolmogorov-Smirnov distance of a fold's loads to the rest {distance:.3f}"


def _member_words(run: RunFolder, training: Mapping[str, Any]) -> str:
    members = find_epochs(run)
    if not members:
        return ""
    schemes = order_methods(scheme for scheme, _ in members)
    names = ", ".join(map(method_label, schemes))
    size = f", size {training['size']}" if "size" in training else ""
    extra = ", ".join(method_label(scheme) for scheme in schemes if scheme not in FIRST_METHODS)
    beyond = f"; the ensemble holds what the paper's does not: {extra}" if extra else ""
    return f"{len(members)} members ({names}){size}{beyond}"
