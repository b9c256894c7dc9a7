"""The stage `report`: tables, pictures and facts of a run on one page."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from mapping_stroke.console import counted, listed, name_files, say
from mapping_stroke.dataset.cases import Case, read_cases
from mapping_stroke.dataset.checks import read_problems
from mapping_stroke.dataset.folds import largest_fold_distance
from mapping_stroke.dataset.voxels import voxel_rule_words, voxels_of
from mapping_stroke.errors import ConfigError, FoldsError, MappingError
from mapping_stroke.evaluation.tables import CaseScore, order_methods, summarise
from mapping_stroke.files import given_name, read_csv, read_json, read_object, write_text
from mapping_stroke.names import PAPER_SCHEMES
from mapping_stroke.networks.member_folder import CARD_FILE
from mapping_stroke.report.comparison import render_against
from mapping_stroke.report.curves import Epochs, draw_learning_curves, read_epochs
from mapping_stroke.report.distributions import (
    METRICS,
    QUANTILES,
    SMALL_LOAD_ML,
    draw_by_load,
    group_by_load,
    typical_cases,
    worst_cases,
)
from mapping_stroke.report.pages import About, Picture, Provenance, Results, render_page
from mapping_stroke.report.pictures import draw_comparisons
from mapping_stroke.report.publication import add_intervals, publish
from mapping_stroke.report.style import load_words, method_label
from mapping_stroke.report.tables import make_table
from mapping_stroke.rules import RULES
from mapping_stroke.run_folder import RunFolder, read_sections
from mapping_stroke.stages.compare import compare_scores
from mapping_stroke.stages.evaluate import read_scores
from mapping_stroke.stages.provenance import describe_record, find_other_data, fold_words
from mapping_stroke.stages.report_cases import read_comparisons, show_worst
from mapping_stroke.stages.report_tables import people_of, write_statistics
from mapping_stroke.training.schemes import find_scheme, find_size
from mapping_stroke.work import StageResult

DESCRIPTION_FILE = "dataset_description.json"
LEVELS_UP = 7
"""Number of parent folders of a scan that are searched for the description of its data set."""
NAMED = 5
"""Cases named in one line; the rest are counted."""


def describe_run(run: RunFolder, cases: Sequence[Case], scores: Sequence[CaseScore], failures: Sequence[str]) -> About:
    """Gather data, settings and environment of a run; missing parts are empty."""
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
    """The data set's own description (BIDS), found above its scans; empty if there is none or it is damaged."""
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
    """Facts about the run as names and values; unknown ones are left out."""
    settings = read_sections(run.config_toml)
    facts = {
        "Data set": str(description.get("Name", "not described (it has no dataset_description.json)")),
        "Made from": "; ".join(_source(source) for source in description.get("SourceDatasets", [])),
        "Cases": _case_words(cases),
        "Lesion load": _load_words([case.load_ml for case in cases if case.load_ml is not None]),
        "Grid": _grid_words(cases),
        "Folds": _fold_words(run, cases),
        "Networks": _member_words(run, settings.get("train", {})),
        "Post-processing": "; ".join(filter(None, (_rule(run), _rule_note(run, cases)))),
        "Scoring profile": settings.get("evaluate", {}).get("profile", ""),
        "Scored": f"{counted(len({score.case_id for score in scores}), 'case')}, "
        f"{datetime.fromtimestamp(run.scores_csv.stat().st_mtime, UTC):%Y-%m-%d %H:%M} UTC",
    }
    return [(name, str(value)) for name, value in {**facts, **describe_record(run)}.items() if value]


def list_failures(run: RunFolder, cases: Sequence[Case], scores: Sequence[CaseScore]) -> list[str]:
    """Problems of the data, and for every method the labelled cases that have no score; empty if all went well."""
    problems = read_problems(run.problems_csv) if run.problems_csv.is_file() else []
    lines = [f"{problem.severity}: {problem.line}" for problem in problems]
    labelled = {case.case_id for case in cases if case.mask is not None}
    for method in order_methods(score.method for score in scores):
        missing = sorted(labelled - {score.case_id for score in scores if score.method == method})
        if missing:
            count = f"{len(missing)} of {len(labelled)} cases"
            lines.append(f"{method_label(method)}: no score for {count}: {listed(missing, NAMED)}")
    return lines


def list_provenance(run: RunFolder) -> list[Provenance]:
    """Origin of the pseudo-labels of each member; empty without self-training."""
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


def _rule(run: RunFolder) -> str:
    """The rule of `ensemble-pp`; empty if none was recorded."""
    return str(read_sections(run.config_toml).get("postprocess", {}).get("rule", ""))


def _rule_note(run: RunFolder, cases: Sequence[Case]) -> str:
    """What the limit of the rule means if the voxels are not those of ATLAS R2.0; empty if it means the same."""
    volumes = voxels_of(cases, {case.case_id for case in cases})
    rule = RULES.get(_rule(run))
    return voxel_rule_words(rule, volumes) if rule else ""


def _fold_words(run: RunFolder, cases: Sequence[Case]) -> str:
    if not run.folds_csv.is_file():
        return ""
    try:
        assignment = {row["case_id"]: int(row["fold"]) for row in read_csv(run.folds_csv)}
    except (KeyError, TypeError, ValueError):
        return "the table is damaged"
    loads = {case.case_id: case.load_vox for case in cases if case.load_vox is not None}
    made = fold_words(run)
    words = f"{len(set(assignment.values()))}" + (f", {made}" if made else "")
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
    extra = ", ".join(method_label(scheme) for scheme in schemes if scheme not in PAPER_SCHEMES)
    beyond = f"; the ensemble includes schemes that the paper does not have: {extra}" if extra else ""
    return f"{counted(len(members), 'member')} ({names}){size}{_epoch_words(members, training)}{beyond}"


def _epoch_words(members: Mapping[tuple[str, int], Path], training: Mapping[str, Any]) -> str:
    """How many epochs the members were trained, and how many are usual at their size if these are others."""
    done: dict[str, set[int]] = {}
    for (scheme, _), table in members.items():
        card = read_object(table.with_name(CARD_FILE)).get("training", {})
        done.setdefault(scheme, set()).add(int(card.get("epochs", len(read_csv(table)))))
    usual = {scheme: epochs for scheme in done if (epochs := _usual_epochs(scheme, training)) is not None}
    other = {scheme: epochs for scheme, epochs in usual.items() if done[scheme] != {epochs}}
    usual_words = (
        f" (usual at this size: {_by_scheme({name: {count} for name, count in other.items()})})" if other else ""
    )
    return f", {_by_scheme(done)}{usual_words}"


def _usual_epochs(scheme: str, training: Mapping[str, Any]) -> int | None:
    """Epochs of a scheme at the size of the run; None if it is unknown or was fine-tuned."""
    if "size" not in training or "from" in training:
        return None
    try:
        return find_size(training["size"]).epochs_of(find_scheme(scheme, training.get("variant", "paper")))
    except ConfigError:  # of another version
        return None


def _by_scheme(epochs: Mapping[str, set[int]]) -> str:
    """Numbers of epochs of a member: one for all schemes if they agree."""
    ranges = {scheme: f"{min(its)}" if len(its) == 1 else f"{min(its)} to {max(its)}" for scheme, its in epochs.items()}
    if len(set(ranges.values())) == 1:
        (words,) = set(ranges.values())
        return f"{words} epoch{'s' * (words != '1')}"
    return "epochs: " + ", ".join(f"{method_label(scheme)} {words}" for scheme, words in ranges.items())


Pictures = dict[str, Picture | str]

TYPICAL = (
    f"Cases at the {', '.join(f'{quantile:.0%}' for quantile in QUANTILES)} quantiles of Dice under {{final}}, each in "
    "the slice of its largest lesion area, enlarged around all marked voxels; Dice over the whole volume."
)
WORST = (
    "The cases of lowest Dice under {final}, worst first, each in the slice of its largest lesion area, enlarged "
    "around all marked voxels; voxels marked in other slices are not shown."
)
EARLIER = {
    "examples": (
        "prepare/examples.png",
        "Small and large lesions (the paper's Fig. 1)",
        "Spread evenly over the loads.",
    ),
    "load_distribution": (
        "prepare/load_distribution.png",
        "Lesion loads (the paper's Fig. 2)",
        f"More than half of ATLAS R2.0's cases lie below {SMALL_LOAD_ML:g} mL.",
    ),
    "balance": ("folds/balance.png", "Balance of the folds", "The closer the lines, the more alike the folds."),
}
"""Pictures that `prepare` and `folds` write: file in the run, title, caption."""


def draw_pictures(
    run: RunFolder, cases: Sequence[Case], scores: Sequence[CaseScore], results: Results
) -> tuple[Pictures, list[str]]:
    """Draw the pictures of the report that are possible.

    Returns:
        Every picture of the page, or why it is missing; and a line for every file that could not be used.
    """
    final_label = method_label(results.final)
    rows, problems = read_comparisons(run, cases, scores, results)
    pictures = _find_earlier(run) | _draw_curves(run, problems)
    png = run.report_html.with_name("dice_by_load.png")
    draw_by_load(scores, results.loads_ml, results.final, png)
    pictures["by_load"] = Picture(png, "Dice by lesion load", f"Every case under {final_label}.")
    for key, title, caption, chosen in (
        ("typical", "Scheme by scheme (the paper's Fig. 5)", TYPICAL, typical_cases(results.cases)),
        ("worst", "The worst cases (the paper's Fig. 6)", WORST, worst_cases(results.cases)),
    ):
        png = run.report_html.with_name(f"{key}.png")
        shown = [rows[case_id] for case_id in chosen if case_id in rows]
        if shown:
            draw_comparisons(shown, [row.method for row in results.table.rows], png)
            pictures[key] = Picture(png, title, caption.format(final=final_label))
        else:
            pictures[key] = f"{title}: left out, no case could be shown."
    return pictures, problems


def _draw_curves(run: RunFolder, problems: list[str]) -> Pictures:
    courses: dict[str, dict[int, Epochs]] = {}
    for (scheme, fold), path in find_epochs(run).items():
        try:
            courses.setdefault(scheme, {})[fold] = read_epochs(path)
        except MappingError as error:
            problems.append(str(error))
    if not any(courses.values()):
        return {"curves": "Learning curves: left out, no epochs.csv in this run."}
    png = run.report_html.with_name("learning_curves.png")
    draw_learning_curves(courses, png)
    caption = "Foreground Dice: over the summed voxels of the fold's validation patches, not of whole scans."
    return {"curves": Picture(png, "Learning curves", caption)}


def _find_earlier(run: RunFolder) -> Pictures:
    found: Pictures = {}
    for key, (name, title, caption) in EARLIER.items():
        there = (run.path / name).is_file()
        found[key] = Picture(run.path / name, title, caption) if there else f"{title}: left out, no {name} in this run."
    return found


def report_run(run: RunFolder, against: RunFolder | None = None) -> StageResult:
    """Write the page of a run, its pictures and its tables (also as text, CSV, Markdown, LaTeX), and show Table 1.

    Missing parts (curves, pseudo-labels, pictures of the data) are left out with a note; unreadable files are listed
    under failures.

    Args:
        run: A run in which `mapping evaluate` has finished.
        against: Another such run on the same cases: the page gets a section with the paired differences to it.

    Returns:
        The page.

    Raises:
        RunFolderError: There are no scores, or no cases; or the other folder is no run folder.
        ScoreError: The scores are empty or damaged, or those of the other run cannot be compared with them.
    """
    scores = read_scores(run.require(run.scores_csv, "evaluate"), f"mapping evaluate {run.path}")
    cases = read_cases(run.require(run.cases_csv, "prepare"))
    compared = None if against is None else compare_scores(against, run)
    results = make_results(scores, cases)
    pictures, unreadable = draw_pictures(run, cases, scores, results)
    statistics, unread = write_statistics(run, cases, scores, results)
    failures = [*list_failures(run, cases, scores), *find_other_data(run), *unreadable, *unread]
    about = describe_run(run, cases, scores, failures)
    sections = [] if compared is None else [render_against(compared)]
    sections += show_worst(run, cases, results)
    write_text(run.report_html, render_page(about, results, pictures, statistics, sections))
    say((run.report_html.parent / "table1.txt").read_text(encoding="utf-8").rstrip())
    if note := _rule_note(run, cases):
        say(f"Post-processing: {note}")
    if compared is not None:
        say(f"A is {compared.names[0]}, B is this run. {compared.lead}")
    name_files("Report", run.report_html)
    return StageResult((run.report_html,))


def make_results(scores: Sequence[CaseScore], cases: Sequence[Case]) -> Results:
    """Lay out scores as the page's tables.

    Args:
        scores: At least one, all with the same metrics.
        cases: The run's cases, for their loads.
    """
    people = people_of(cases)
    summaries = summarise(scores, list(scores[0].values))
    folds = sorted({score.fold for score in scores if score.fold is not None})
    fold_tables = [make_table(f"Fold {fold}", summaries, str(fold)) for fold in folds]
    published = publish(1, scores, people, voxels_of(cases, {score.case_id for score in scores}))
    final = order_methods(score.method for score in scores)[-1]
    loads_ml = {case.case_id: case.load_ml for case in cases if case.load_ml is not None}
    return Results(
        published=published,
        fold_tables=[
            add_intervals(one, scores, people, str(fold)) for one, fold in zip(fold_tables, folds, strict=True)
        ],
        sizes=[
            (metric, group_by_load(scores, loads_ml, metric))
            for metric in published.table.metrics
            if metric.key in METRICS
        ],
        final=final,
        cases=sorted((s for s in scores if s.method == final), key=lambda s: (s.values["dice"], s.case_id)),
        loads_ml=loads_ml,
    )
