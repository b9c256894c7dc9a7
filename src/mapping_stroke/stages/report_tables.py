"""The tables of a run's report as files, and the statistics of its page."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from mapping_stroke.dataset.cases import Case
from mapping_stroke.evaluation.contributions import STEP_COLUMNS, Step, step_row
from mapping_stroke.evaluation.paired_tests import TEST_COLUMNS, compare_methods, paired_row
from mapping_stroke.evaluation.tables import CaseScore
from mapping_stroke.files import remove, write_csv
from mapping_stroke.report.member_figure import draw_contributions
from mapping_stroke.report.pages import Picture, Results, Statistics
from mapping_stroke.report.publication import PublishedTable, interval_rows, publish, write_published
from mapping_stroke.report.strata import STRATA_COLUMNS, strata_rows, stratify
from mapping_stroke.report.tables import read_paper_tables
from mapping_stroke.run_folder import RunFolder
from mapping_stroke.stages.contributions import find_contributions
from mapping_stroke.stages.evaluate import read_scores

CONTRIBUTIONS = "Contribution of each scheme"
CONTRIBUTIONS_CAPTION = (
    "Dice of the mean map of some schemes, P > 0.5, without post-processing, on the {cases} labelled cases with "
    "maps of each scheme, by networks that never saw them. Lines: 95 % intervals. The greedy order was chosen on the "
    "same cases, so its curve is slightly optimistic."
)
TABLE_2_FILES = ("table2.csv", "table2.txt", "table2.md", "table2.tex")


def people_of(cases: Sequence[Case]) -> dict[str, str]:
    """Case to person; a case of an unknown person is a person of its own."""
    return {case.case_id: case.subject or case.case_id for case in cases}


def write_statistics(
    run: RunFolder, cases: Sequence[Case], scores: Sequence[CaseScore], results: Results
) -> tuple[Statistics, list[str]]:
    """Write all tables of the report next to its page.

    Returns:
        The statistics for the page; and a line for every file that could not be used.
    """
    folder, people = run.report_html.parent, people_of(cases)
    write_published(PublishedTable(1, results.table, read_paper_tables()[0]), folder)
    write_folds(results, folder / "table1_folds.csv")
    metrics = results.table.metrics
    tests = compare_methods(scores, metrics, people)
    write_csv(folder / "tests.csv", TEST_COLUMNS, map(paired_row, tests))
    strata = stratify(scores, cases)
    write_csv(folder / "strata.csv", STRATA_COLUMNS, strata_rows(strata))
    steps, picture, problems = write_contributions(run, cases)
    statistics = Statistics(
        tests=[(metric, [test for test in tests if test.metric == metric.key]) for metric in metrics],
        strata=strata,
        table_2=write_table_2(run, people),
        steps=steps,
        contributions=picture,
    )
    return statistics, problems


def write_folds(results: Results, path: Path) -> None:
    """Write the table of each fold below one another; only the header without folds."""
    rows: list[Mapping[str, object]] = []
    for table in results.fold_tables:
        rows += [{"fold": table.title.removeprefix("Fold "), **row} for row in interval_rows(table)]
    write_csv(path, ["fold", *interval_rows(results.table)[0]], rows)


def write_table_2(run: RunFolder, people: Mapping[str, str]) -> PublishedTable | None:
    """Write the paper's Table 2 for the test scans of the run; without their scores, remove an outdated one."""
    if not run.test_scores_csv.is_file():
        for name in TABLE_2_FILES:
            remove(run.report_html.with_name(name))
        return None
    scores = read_scores(run.test_scores_csv, f"mapping evaluate {run.path} --references FOLDER")
    published = publish(2, scores, people)
    write_published(published, run.report_html.parent)
    return published


def write_contributions(run: RunFolder, cases: Sequence[Case]) -> tuple[list[Step], Picture | str, list[str]]:
    """Write `members.csv` and its picture, which is a note if there is nothing to compare; and problems."""
    found, problems = find_contributions(run, cases)
    steps = [] if isinstance(found, str) else found.steps()
    write_csv(run.report_html.with_name("members.csv"), STEP_COLUMNS, map(step_row, steps))
    png = run.report_html.with_name("members.png")
    if isinstance(found, str):
        remove(png)
        return steps, f"{CONTRIBUTIONS}: left out, {found}.", problems
    draw_contributions(steps, png)
    return steps, Picture(png, CONTRIBUTIONS, CONTRIBUTIONS_CAPTION.format(cases=len(found.people))), problems
