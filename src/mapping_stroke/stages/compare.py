"""The command `compare`: the paired differences between two runs as tables, pictures and a page."""

import math
from collections.abc import Sequence
from pathlib import Path

from mapping_stroke.console import name_files, say, track, warn
from mapping_stroke.errors import SCAN_FAILURES, CaseError, describe_failure
from mapping_stroke.evaluation.paired import Difference, Pair
from mapping_stroke.files import remove, write_csv, write_text
from mapping_stroke.report.comparison import (
    RunComparison,
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
from mapping_stroke.run_folder import MASK_SUFFIX, RunFolder, claimed
from mapping_stroke.stages.paired_runs import compare_scores, read_run_cases
from mapping_stroke.stages.report_cases import read_comparison
from mapping_stroke.work import StageResult

TABLE_FILE, CASES_FILE, MARKDOWN_FILE, PAGE_FILE = "compare.csv", "cases.csv", "compare.md", "compare.html"
PLOT_FILE, CHANGED_FILE = "paired.png", "changed.png"
CONTENTS = (TABLE_FILE, CASES_FILE, MARKDOWN_FILE, PAGE_FILE, PLOT_FILE, CHANGED_FILE)
"""Files that `compare_runs` writes."""
SHOWN = 3
"""Cases in pictures with the largest losses, and as many with the largest gains."""
COLUMNS = ("A", "B")


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
