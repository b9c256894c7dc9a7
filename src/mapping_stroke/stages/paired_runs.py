"""Two evaluated runs on the same cases: what their scores share, and what differs between the runs."""

from collections.abc import Sequence

from mapping_stroke.console import counted, listed
from mapping_stroke.dataset.cases import Case, read_cases
from mapping_stroke.errors import RunFolderError
from mapping_stroke.evaluation.paired import PairedScores, measure_differences, pair_scores
from mapping_stroke.evaluation.profiles import profile_of
from mapping_stroke.evaluation.tables import CaseScore
from mapping_stroke.files import given_name
from mapping_stroke.report.comparison import RunComparison, SettingDifference
from mapping_stroke.report.style import method_label
from mapping_stroke.report.tables import find_metrics
from mapping_stroke.run_folder import RunFolder, read_identity, read_sections
from mapping_stroke.stages.evaluate import read_scores
from mapping_stroke.stages.provenance import NOT_GIVEN, fold_words, list_settings, read_manifest

NAMED = 5
"""Cases named in one line; the rest are counted."""


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
