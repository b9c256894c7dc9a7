"""The report of a run: tables made, pictures drawn, facts gathered, one page written."""

from collections.abc import Sequence
from pathlib import Path

from mapping_stroke.console import name_files, say
from mapping_stroke.dataset.cases import Case, read_cases
from mapping_stroke.errors import ScoreError
from mapping_stroke.evaluation.tables import CaseScore, order_methods, read_score_row, summarise
from mapping_stroke.experiment.report_facts import describe_run, list_failures
from mapping_stroke.experiment.report_pictures import draw_pictures
from mapping_stroke.files import read_csv, write_csv, write_text
from mapping_stroke.report.page import Results, render_page
from mapping_stroke.report.sizes import METRICS, group_by_load
from mapping_stroke.report.tables import format_markdown, format_text, make_table, table_rows
from mapping_stroke.run_folder import RunFolder


def report_run(run: RunFolder) -> Path:
    """Write the page of a run, its pictures and its Table 1 (also as CSV and Markdown), and show the table.

    What a run does not hold (curves, pseudo-labels, pictures of the data) is left out with a note; what cannot be read
    is listed under failures.

    Args:
        run: A run in which `mapping evaluate` has finished.

    Returns:
        The page.

    Raises:
        RunFolderError: There are no scores, or no cases.
        ScoreError: The scores are empty or damaged.
    """
    scores = _read_scores(run)
    cases = read_cases(run.require(run.cases_csv, "prepare"))
    results = make_results(scores, cases)
    pictures, unreadable = draw_pictures(run, cases, scores, results)
    about = describe_run(run, cases, scores, [*list_failures(run, cases, scores), *unreadable])
    folder = run.report_html.parent
    rows = table_rows(results.table)
    write_csv(folder / "table1.csv", list(rows[0]), rows)
    write_text(folder / "table1.md", format_markdown(results.table))
    write_text(run.report_html, render_page(about, results, pictures))
    say(format_text(results.table))
    name_files("Report", run.report_html)
    return run.report_html


def make_results(scores: Sequence[CaseScore], cases: Sequence[Case]) -> Results:
    """Lay out scores as the page's tables.

    Args:
        scores: At least one, all with the same metrics.
        cases: The run's cases, for their loads.
    """
    summaries = summarise(scores, list(scores[0].values))
    folds = sorted({score.fold for score in scores if score.fold is not None})
    count = len({score.case_id for score in scores})
    title = f"This run: {count} cases" + (f" in {len(folds)} folds" if folds else "")
    table = make_table(title, summaries)
    final = order_methods(score.method for score in scores)[-1]
    loads_ml = {case.case_id: case.load_ml for case in cases if case.load_ml is not None}
    return Results(
        table=table,
        fold_tables=[make_table(f"Fold {fold}", summaries, str(fold)) for fold in folds],
        sizes=[(metric, group_by_load(scores, loads_ml, metric)) for metric in table.metrics if metric.key in METRICS],
        final=final,
        cases=sorted((s for s in scores if s.method == final), key=lambda s: (s.values["dice"], s.case_id)),
        loads_ml=loads_ml,
    )


def _read_scores(run: RunFolder) -> list[CaseScore]:
    path = run.require(run.scores_csv, "evaluate")
    scores = [read_score_row(row) for row in read_csv(path)]
    if not scores:
        raise ScoreError(f"{path}: holds no score; run `mapping evaluate {run.path}` again")
    if any("dice" not in score.values or score.values.keys() != scores[0].values.keys() for score in scores):
        raise ScoreError(f"{path}: has no column dice; run `mapping evaluate {run.path}` again")
    return scores
