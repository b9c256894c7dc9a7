"""The stage `prepare`: find and check the cases of a data set, and write their table."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from mapping_stroke.console import counted, err, name_files, say, track, warn
from mapping_stroke.dataset.cases import Case, has_sides, read_cases, write_cases
from mapping_stroke.dataset.checks import Problem, check_cases, check_names, read_problems, write_problems
from mapping_stroke.dataset.layouts import LAYOUTS, Findings, Layout, find_cases
from mapping_stroke.dataset.names import Patterns
from mapping_stroke.errors import CaseError, MappingError, RunFolderError
from mapping_stroke.files import file_state, fingerprint, read_object, sha256, write_json, write_text
from mapping_stroke.images.formats import stored_files
from mapping_stroke.run_folder import RunFolder, require_claimable
from mapping_stroke.stages.claim import claim_run
from mapping_stroke.stages.environments import recorder
from mapping_stroke.stages.provenance import case_hash, write_manifest
from mapping_stroke.stages.registered import register_cases
from mapping_stroke.stages.settings import PrepareConfig
from mapping_stroke.work import StageResult

ALIKE_SHOWN = 5
"""Number of similar warnings that are shown; the rest are counted."""


AS_USUAL = PrepareConfig()


def prepare_run(
    data: Path,
    run: RunFolder,
    config: PrepareConfig = AS_USUAL,
    layouts: Sequence[Layout] = LAYOUTS,
    *,
    overwrite: bool = False,
) -> StageResult:
    """Find and check the cases of a data set, and write `cases.csv`, `problems.csv` and two figures.

    Nothing is written if a case has an error (unless it may be left out) or the run folder is occupied. Files that have
    not changed since the last check (by size and time) are not opened again. Scans with a known place (reviewed
    results) are also written as the networks read them, with their masks.

    Args:
        data: Folder of the data set.
        run: Folder to write; created if missing.
        config: Layout, name patterns, and whether cases with errors are left out.
        layouts: The layouts to choose from.
        overwrite: Remove another run that the folder holds.

    Returns:
        The table of cases; cases that were left out have failed.

    Raises:
        CaseError: No scan is found, cases have errors, or none is left.
        RunFolderError: The folder holds something else, or would hold the data.
    """
    data = data.resolve()
    findings = find_run_cases(data, config, layouts)
    identity = identify_run(data, run, config, findings, overwrite=overwrite)
    say(f"{counted(len(findings.cases), 'scan')} found, layout {findings.layout.name} ({findings.layout.title})")
    stamp = _stamp(identity, findings)
    before = _checked_before(run, stamp)
    cases, problems = before or _check(findings)
    bad = {problem.case_id: problem.line for problem in problems if problem.severity == "error"}
    if bad and not config.exclude_bad:
        raise CaseError(_refusal(findings, problems, len(bad)))
    _show(problems)
    if not cases:
        raise CaseError(f"{data}: none of the {len(findings.cases)} cases can be used; fix their problems")
    claim_run(run, identity, overwrite=overwrite)
    if before is None:
        good = {case.case_id for case in cases}
        cases = register_cases([case for case in findings.cases if case.case_id in good], cases, run.registered)
    if before is None or not run.data_csv.is_file():
        _write(run, cases, problems, stamp)
    _summarise(run, cases, len(findings.cases))
    return StageResult((run.cases_csv,), bad)


def find_run_cases(data: Path, config: PrepareConfig, layouts: Sequence[Layout] = LAYOUTS) -> Findings:
    """The cases of a data set as a run finds them, unchecked; raises `CaseError` if there is no scan."""
    return find_cases(data.resolve(), config.layout, Patterns(config.scans, config.masks), layouts)


def is_unchanged(run: RunFolder, identity: Mapping[str, object], findings: Findings) -> bool:
    """Whether the files of the cases are those that the run of this identity has checked, by size and time."""
    return _has_stamp(run, _stamp(identity, findings))


def identify_run(
    data: Path, run: RunFolder, config: PrepareConfig, findings: Findings, *, overwrite: bool
) -> dict[str, object]:
    """The identity of the run; raises `RunFolderError` if its folder cannot be claimed for it, or would hold the data.

    Nothing is written or removed.
    """
    data = data.resolve()
    if data.is_relative_to(run.path.resolve()):
        raise RunFolderError(f"{run.path}: would hold the data {data}; give another output folder")
    identity: dict[str, object] = {
        "kind": "experiment",
        "data": str(data),
        "layout": findings.layout.name,
        "scans": config.scans,
        "masks": config.masks,
    }
    require_claimable(run.path, identity, overwrite=overwrite)
    return identity


def _check(findings: Findings) -> tuple[list[Case], list[Problem]]:
    """The cases that can be used and all problems, in the order of the cases."""
    problems = [*findings.problems, *check_names(findings.cases)]
    known = {problem.case_id for problem in problems if problem.severity == "error"}
    # a segmented scan that is gone or has changed is not worth a second problem
    readable = [case for case in findings.cases if findings.layout.name != "results" or case.case_id not in known]
    checked = list(track(check_cases(readable), "checking", len(readable)))
    problems += [problem for its in checked for problem in its.problems]
    order = {case.case_id: number for number, case in enumerate(findings.cases)}
    problems.sort(key=lambda problem: order.get(problem.case_id, len(order)))
    bad = {problem.case_id for problem in problems if problem.severity == "error"}
    return [its.case for its in checked if its.case and its.case.case_id not in bad], problems


def _refusal(findings: Findings, problems: Sequence[Problem], bad: int) -> str:
    """One line: the problem if there is only one, otherwise their number, after listing them."""
    if len(problems) == 1:
        return f"{problems[0].line}; or leave the case out with --exclude-bad"
    _show(problems)
    have = "case has" if bad == 1 else "cases have"
    return (
        f"{bad} of {len(findings.cases)} {have} problems (listed above); fix them, or leave them out with --exclude-bad"
    )


def _show(problems: Sequence[Problem]) -> None:
    """Show every error on its own line; of warnings with the same remedy only the first few, the rest are counted."""
    alike: dict[str, int] = {}
    for problem in problems:
        if problem.severity == "error":
            err.print(f"error: {problem.line}", markup=False, style="red")
            continue
        alike[problem.remedy] = alike.get(problem.remedy, 0) + 1
        if alike[problem.remedy] <= ALIKE_SHOWN:
            warn(problem.line)
    for remedy, count in alike.items():
        if count > ALIKE_SHOWN:
            warn(f"{count - ALIKE_SHOWN} more cases with the same problem ({remedy})")


def _write(run: RunFolder, cases: Sequence[Case], problems: Sequence[Problem], stamp: str) -> None:
    from mapping_stroke.report.distributions import draw_examples, draw_load_distribution

    write_cases(run.cases_csv, cases)
    _write_hashes(run, cases)
    write_problems(run.problems_csv, problems)
    loads_ml = [case.load_ml for case in cases if case.load_ml is not None]
    if loads_ml:
        draw_load_distribution(loads_ml, run.cases_csv.with_name("load_distribution.png"))
        draw_examples([case for case in cases if case.mask], run.cases_csv.with_name("examples.png"))
    recorder(run.environments("prepare"))()
    write_text(_stamp_file(run), stamp)


def _write_hashes(run: RunFolder, cases: Sequence[Case]) -> None:
    """Write `data.csv`. The files, read just now, are hashed for the later stages too, which do not read them again."""
    ledger = run.arrays / CONTENTS_FILE
    content_hashes(ledger, {case.case_id: [file for file in (case.scan, case.mask) if file] for case in cases})
    write_manifest(run.data_csv, cases, read_object(ledger))


def _summarise(run: RunFolder, cases: Sequence[Case], found: int) -> None:
    labelled = [case for case in cases if case.mask]
    left_out = f" ({found - len(cases)} left out)" if found > len(cases) else ""
    say(f"{counted(len(cases), 'case')}{left_out}: {len(labelled)} with a mask, {len(cases) - len(labelled)} without")
    if labelled:
        _report_loads(labelled)
    else:
        warn("no case has a mask, so nothing can be trained or scored; if there are masks, name them with --masks")
    name_files("written", *sorted(path for path in run.cases_csv.parent.iterdir() if path.suffix in (".csv", ".png")))


def _report_loads(labelled: Sequence[Case]) -> None:
    loads_ml = np.array([case.load_ml for case in labelled], np.float64)
    low, quarter, median, three_quarters, high = np.quantile(loads_ml, [0, 0.25, 0.5, 0.75, 1])
    say(
        f"lesion load: median {median:.3g} mL, middle half {quarter:.3g} to {three_quarters:.3g} mL, "
        f"all {low:.3g} to {high:.3g} mL"
    )
    components = [case.components or 0 for case in labelled]
    say(f"lesions a case: median {np.median(components):g}, at most {max(components)}")


def _stamp_file(run: RunFolder) -> Path:
    return run.cases_csv.with_name("checked.txt")


def _stamp(identity: Mapping[str, object], findings: Findings) -> str:
    """A hash of which files were checked and of their sizes and times."""
    placements = [case.placement for case in findings.cases if case.placement]
    files = [path for case in findings.cases for path in (case.scan, case.mask) if path]
    states = [state for path in (*files, *(place.brain for place in placements)) if (state := _state(path))]
    cases = [(case.case_id, case.site, case.subject, str(case.mask)) for case in findings.cases]
    names = [problem.line for problem in findings.problems]
    return fingerprint([identity, states, cases, names, *map(repr, placements)])


def _state(path: Path) -> tuple[str, int, int] | None:
    """Path, size and time of a file; None if the system cannot access it: checking its case then reports the reason."""
    try:
        status = path.stat()
    except OSError:
        return None
    return str(path), status.st_size, status.st_mtime_ns


def _has_stamp(run: RunFolder, stamp: str) -> bool:
    return _stamp_file(run).is_file() and _stamp_file(run).read_bytes() == stamp.encode()


def _checked_before(run: RunFolder, stamp: str) -> tuple[list[Case], list[Problem]] | None:
    """Results of an earlier check of the same files; None if there is none."""
    if not _has_stamp(run, stamp):
        return None
    try:
        if not has_sides(run.cases_csv):
            return None
        cases, problems = read_cases(run.cases_csv), read_problems(run.problems_csv)
    except (MappingError, OSError, KeyError):
        return None
    files = [path for case in cases for path in (case.scan, case.mask) if path]
    if not all(path.is_file() for path in files if path.is_relative_to(run.registered.resolve())):
        return None
    say("the files are unchanged since the last check")
    return cases, problems


CONTENTS_FILE = "contents.json"
"""File of the hashes, next to the folders of the arrays that were computed from the files."""
READERS = 2
"""Threads that read scans; most of that time is outside Python's lock."""


def content_hashes(ledger: Path, files: Mapping[str, Sequence[Path]]) -> dict[str, str]:
    """A short hash of the file contents of each case, independent of times and paths.

    Args:
        ledger: Stores the SHA-256 of each file with its size and time. A file is not read again if both are unchanged,
            or if it is gone, so that arrays computed from it remain usable. Several processes may write into it.
        files: By case id.

    Returns:
        The hashes by case id; empty for no cases.

    Raises:
        FileError: A file that the ledger does not know cannot be read.
    """
    known = read_object(ledger)
    stored = {file: _stored_files(file, known.get(str(file))) for its in files.values() for file in its}
    facts = {str(part): _facts_of(part, stored) for its in stored.values() for part in its}
    changed = [path for path, its in facts.items() if not _is_known(known.get(path), its)]
    if changed:
        with ThreadPoolExecutor(READERS) as pool:
            hashes = list(track(pool.map(sha256, map(Path, changed)), "Looking for changed files", len(changed)))
        new = {path: {**facts[path], "sha256": digest} for path, digest in zip(changed, hashes, strict=True)}
        known |= new
        write_json(ledger, read_object(ledger) | new)  # other processes may have written into it meanwhile
    return {
        case_id: case_hash([known[str(part)]["sha256"] for file in its for part in stored[file]])
        for case_id, its in files.items()
    }


def _stored_files(file: Path, entry: object) -> list[Path]:
    """The files of an image; if some files of a known, otherwise unchanged image are gone, its former files."""
    if isinstance(entry, dict):
        had = [file, *map(Path, entry.get("others", ()))]
        state = file_state(file)
        if (_is_gone(state) or entry.get("state") == state) and not all(part.is_file() for part in had):
            return had
    return stored_files(file)


def _facts_of(part: Path, stored: Mapping[Path, Sequence[Path]]) -> dict[str, Any]:
    """The entry of a file in the ledger without its hash: its state, and for a header its other files."""
    others = [str(other) for other in stored.get(part, ())[1:]]
    return {"state": file_state(part), **({"others": others} if others else {})}


def _is_known(entry: object, facts: Mapping[str, Any]) -> bool:
    if not isinstance(entry, dict) or "sha256" not in entry:
        return False
    return _is_gone(facts["state"]) or entry == {**facts, "sha256": entry["sha256"]}


def _is_gone(state: Sequence[object]) -> bool:
    return state[1] is None
