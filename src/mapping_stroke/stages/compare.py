"""The command `compare`: the paired differences between two runs as tables, pictures and a page."""

import math
from collections.abc import Sequence
from pathlib import Path

from mapping_stroke.console import counted, listed, name_files, say, track, warn
from mapping_stroke.dataset.cases import Case, read_cases
from mapping_stroke.errors import SCAN_FAILURES, CaseError, RunFolderError, describe_failure
from mapping_stroke.evaluation.paired import Difference, Pair, PairedScores, measure_differences, pair_scores
from mapping_stroke.evaluation.profiles import profile_of
from mapping_stroke.evaluation.tables import CaseScore
from mapping_stroke.files import given_name, remove, write_csv, write_text
from mapping_stroke.report.comparison import (
    RunComparison,
    SettingDifference,
    case_columns,
    case_values,
    draw_paired,
    format_markdown,
    format_text,
    render_comparison,
    table_values,
)
from mapping_stroke.report.pages import Picture
from mapping_stroke.report.pictures import Comparison, draw_comparisons
from mapping_stroke.report.style import method_label
from mapping_stroke.report.tables import find_metrics
from mapping_stroke.run_folder import MASK_SUFFIX, RunFolder, claimed, read_identity, read_sections
from mapping_stroke.stages.evaluate import read_scores
from mapping_stroke.stages.provenance import NOT_GIVEN, fold_words, list_settings, read_manifest
from mapping_stroke.stages.report_cases import read_comparison
from mapping_stroke.work import StageResult

TABLE_FILE, CASES_FILE, MARKDOWN_FILE, PAGE_FILE = "compare.csv", "cases.csv", "compare.md", "compare.html"
PLOT_FILE, CHANGED_FILE = "paired.png", "changed.png"
CONTENTS = (TABLE_FILE, CASES_FILE, MARKDOWN_FILE, PAGE_FILE, PLOT_FILE, CHANGED_FILE)
"""Files that `compare_runs` writes."""
SHOWN = 3
"""Cases in pictures with the largest losses, and as many with the largest gains."""
COLUMNS = ("A", "B")
NAMED = 5
"""Cases named in one line; the rest are counted."""


def compare_runs(a: RunFolder, b: RunFolder, output: Path, *, overwrite: bool = False) -> StageResult:
    """Compare run B with run A over the cases that both scored, and write tables, pictures and a page.

    Cases whose files cannot be read are left out of the pictures with a warning.

    Args:
        a: The first run, after `mapping evaluate`.
        b: The second run; differences are B minus A.
        output: Folder to write.
        overwrite: Replace the comparison of other runs.

    Returns:
        The page and the tables.

    Raises:
        CaseError: A table of cases is damaged.
        RunFolderError: One is no run folder or not evaluated, or the output folder holds something else.
        ScoreError: The runs were scored with different profiles, or share no case or no method.
    """
    comparison = compare_scores(a, b)
    identity = {"kind": "compare", "run_a": str(a.path.resolve()), "run_b": str(b.path.resolve())}
    with claimed(output, identity, CONTENTS, overwrite=overwrite):
        write_csv(output / TABLE_FILE, list(Difference.__dataclass_fields__), table_values(comparison.differences))
        _write_cases(a, b, comparison, output / CASES_FILE)
        draw_paired(comparison.paired, comparison.differences, output / PLOT_FILE)
        plot = Picture(
            output / PLOT_FILE,
            "Dice in A and B",
            "Left: one point for each case; above the line, B is better. Right: every method both runs have.",
        )
        pictures = (plot, _draw_changed(a, b, comparison, output / CHANGED_FILE))
        write_text(output / MARKDOWN_FILE, format_markdown(comparison))
        write_text(output / PAGE_FILE, render_comparison(comparison, pictures))
    _report(comparison)
    files = tuple(output / name for name in (PAGE_FILE, TABLE_FILE, CASES_FILE))
    name_files("Comparison", *files)
    return StageResult(files)


def _write_cases(a: RunFolder, b: RunFolder, comparison: RunComparison, path: Path) -> None:
    people = {case.case_id: (case.subject, case.site) for case in (*read_run_cases(a), *read_run_cases(b))}
    paired = comparison.paired
    pairs = [pair for method in paired.methods for pair in paired.by_change(method)]
    rows = (case_values(pair, paired, people.get(pair.a.case_id, ("", ""))) for pair in pairs)
    write_csv(path, case_columns(paired), rows)


def _draw_changed(a: RunFolder, b: RunFolder, comparison: RunComparison, path: Path) -> Picture | str:
    """The cases that changed most in Dice under the last common method, losses first."""
    method = comparison.paired.final
    rows = _read_changed(a, b, choose_changed(comparison.paired.by_change(method)), method)
    title = f"The cases that changed most: {method_label(method)}"
    if not rows:
        remove(path)  # of an earlier comparison of the same runs
        return f"{title}: left out, no case changed or could be shown."
    draw_comparisons(rows, COLUMNS, path)
    caption = (
        f"Up to {SHOWN} cases with the largest loss of Dice from A to B, then up to {SHOWN} with the largest gain, "
        "each in the slice of its largest lesion area, enlarged around all marked voxels; Dice over the whole volume."
    )
    return Picture(path, title, caption)


def choose_changed(pairs: Sequence[Pair]) -> list[Pair]:
    """The largest losses of Dice, largest first, then the largest gains, largest first; none that did not change.

    Args:
        pairs: Ordered by their change of Dice, lowest first.
    """
    defined = [pair for pair in pairs if not math.isnan(pair.change("dice"))]
    losses = [pair for pair in defined if pair.change("dice") < 0][:SHOWN]
    gains = [pair for pair in reversed(defined) if pair.change("dice") > 0][:SHOWN]
    return losses + gains


def _read_changed(a: RunFolder, b: RunFolder, pairs: Sequence[Pair], method: str) -> list[Comparison]:
    """The slices of the cases to show, one case in memory at a time."""
    cases = {case.case_id: case for case in (*read_run_cases(a), *read_run_cases(b))}
    rows = []
    for pair in track(pairs, "Drawing cases", len(pairs)):
        case_id = pair.a.case_id
        masks = {name: run.masks(method) / f"{case_id}{MASK_SUFFIX}" for name, run in zip(COLUMNS, (a, b), strict=True)}
        dice = {"A": pair.a.values["dice"], "B": pair.b.values["dice"]}
        try:
            if case_id not in cases:
                raise CaseError("it has scores but is in no table of cases; run `mapping prepare` again")
            rows.append(read_comparison(cases[case_id], masks, dice))
        except SCAN_FAILURES as error:
            warn(f"{case_id}: cannot be shown: {describe_failure(error)}")
    return rows


def _report(comparison: RunComparison) -> None:
    for name, value in comparison.facts:
        say(f"{name}: {value}")
    for note in comparison.notes:
        warn(note)
    say(format_text(comparison.differences))
    say(comparison.lead)
    say(f"{len(comparison.settings)} settings differ" if comparison.settings else "no setting differs")


def compare_scores(a: RunFolder, b: RunFolder) -> RunComparison:
    """Compare the scores of run B with those of run A, case by case.

    Raises:
        CaseError: A table of cases is damaged.
        RunFolderError: One is no run folder, or has not been evaluated.
        ScoreError: The runs were scored with different profiles, share no case or method, or have damaged scores.
    """
    scores_a, scores_b = _read(a), _read(b)
    names = _names(a, b)
    paired = pair_scores(scores_a, scores_b, find_metrics(scores_a[0].values), names)
    cases = {case.case_id: case for case in (*read_run_cases(a), *read_run_cases(b))}
    differences = measure_differences(paired, {case_id: case.subject for case_id, case in cases.items()})
    profile = profile_of(metric.key for metric in paired.metrics)
    scored_with = profile.name if profile else "other metrics"
    people = len({cases[case_id].subject if case_id in cases else case_id for case_id in paired.case_ids})
    facts = {
        "A": _run_words(names[0], a, scores_a),
        "B": _run_words(names[1], b, scores_b),
        "Compared": f"{counted(len(paired.case_ids), 'case')} of {people} people, scored with {scored_with}",
        "Only in A": _only(paired.only_a, paired.methods_only_a),
        "Only in B": _only(paired.only_b, paired.methods_only_b),
    }
    return RunComparison(
        names=names,
        facts=[(name, value) for name, value in facts.items() if value],
        paired=paired,
        differences=differences,
        settings=find_differing_settings(a, b),
        notes=_notes(a, b, paired),
    )


def read_run_cases(run: RunFolder) -> list[Case]:
    """The cases of a run; raises `RunFolderError` if there are none."""
    return read_cases(run.require(run.cases_csv, "prepare DATA -o"))


def find_differing_settings(a: RunFolder, b: RunFolder) -> list[SettingDifference]:
    """Settings, versions and facts about the machine that differ, by file and name."""
    of_a, of_b = list_settings(a), list_settings(b)
    return [
        SettingDifference(*key, of_a.get(key, NOT_GIVEN), of_b.get(key, NOT_GIVEN))
        for key in dict.fromkeys((*of_a, *of_b))
        if of_a.get(key) != of_b.get(key)
    ]


def _read(run: RunFolder) -> list[CaseScore]:
    identity = read_identity(run.path)
    if identity.get("kind") != "experiment":
        found = identity.get("kind", identity.get("command", "unknown"))
        raise RunFolderError(
            f"{run.path}: is no run folder of an experiment (it holds the work of {found}); name a folder that "
            "`mapping prepare` or `mapping experiment` started"
        )
    return read_scores(run.require(run.scores_csv, "evaluate"), f"mapping evaluate {run.path}")


def _names(a: RunFolder, b: RunFolder) -> tuple[str, str]:
    """The names of the folders, or their paths if the names are the same."""
    names = given_name(a.path), given_name(b.path)
    return names if names[0] != names[1] else (str(a.path), str(b.path))


def _run_words(name: str, run: RunFolder, scores: Sequence[CaseScore]) -> str:
    folds = {score.fold for score in scores if score.fold is not None}
    training = read_sections(run.config_toml).get("train", {})
    parts = [f"{counted(len({score.case_id for score in scores}), 'case')} scored"]
    if folds:
        parts.append(counted(len(folds), "fold") + (f" ({fold_words(run)})" if fold_words(run) else ""))
    parts += [f"{key} {training[key]}" for key in ("size", "seed") if key in training]
    return f"{name}: {', '.join(parts)}"


def _only(case_ids: Sequence[str], methods: Sequence[str]) -> str:
    parts = []
    if case_ids:
        parts.append(f"{counted(len(case_ids), 'case')} ({listed(case_ids, NAMED)})")
    if methods:
        parts.append(f"{counted(len(methods), 'method')} ({', '.join(map(method_label, methods))})")
    return "; ".join(parts)


def _notes(a: RunFolder, b: RunFolder, paired: PairedScores) -> list[str]:
    """Differences between the data of the runs, which make their scores hard to compare."""
    notes = []
    of_a, of_b = read_manifest(a.data_csv), read_manifest(b.data_csv)
    changed = {pair.a.case_id for pair in paired.pairs if pair.a.load_vox != pair.b.load_vox}
    for image, noun in (("mask", "reference masks"), ("scan", "scans")):
        both = ((case_id, image) for case_id in paired.case_ids if {(case_id, image)} <= of_a.keys() & of_b.keys())
        differing = {case_id for case_id, _ in (key for key in both if of_a[key] != of_b[key])}
        differing |= changed if image == "mask" else set()
        if differing:
            notes.append(
                f"The {noun} of {len(differing)} of {counted(len(paired.case_ids), 'case')} differ between the runs: "
                f"{listed(sorted(differing), NAMED)}."
            )
    return notes
