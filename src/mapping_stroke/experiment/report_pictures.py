"""The pictures of a report: those drawn from scores, scans and masks, and those that earlier stages left."""

from collections.abc import Mapping, Sequence

from mapping_stroke.console import track
from mapping_stroke.dataset.cases import Case
from mapping_stroke.errors import SCAN_FAILURES, CaseError, MappingError, describe_failure
from mapping_stroke.evaluation.tables import CaseScore
from mapping_stroke.experiment.report_facts import find_epochs
from mapping_stroke.image import read_image, require_same_grid
from mapping_stroke.report.curves import Epochs, draw_learning_curves, read_epochs
from mapping_stroke.report.exploration import SMALL_LOAD_ML
from mapping_stroke.report.figures import Comparison, compare, draw_comparisons
from mapping_stroke.report.names import load_words, method_label, short_id
from mapping_stroke.report.page import Picture, Results
from mapping_stroke.report.selection import QUANTILES, typical_cases, worst_cases
from mapping_stroke.report.sizes import draw_by_load
from mapping_stroke.run_folder import MASK_SUFFIX, RunFolder
from mapping_stroke.space.shown import hide_head

Pictures = dict[str, Picture | str]

TYPICAL = (
    f"Cases at the {', '.join(f'{quantile:.0%}' for quantile in QUANTILES)} quantiles of Dice under {{final}}, each in "
    "the slice of its largest lesion area, enlarged around all that is marked there; Dice over the whole volume."
)
WORST = (
    "The cases of lowest Dice under {final}, worst first, each in the slice of its largest lesion area, enlarged "
    "around all that is marked there; what was marked in other slices does not show."
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
    """Draw what can be drawn into the report's folder.

    Returns:
        Every picture of the page, or why it is not there; and a line for every file that could not be used.
    """
    final_label = method_label(results.final)
    rows, problems = _read_comparisons(run, cases, scores, results)
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


def _read_comparisons(
    run: RunFolder, cases: Sequence[Case], scores: Sequence[CaseScore], results: Results
) -> tuple[dict[str, Comparison], list[str]]:
    """The slices of the cases to show, one case in memory at a time, and what could not be read."""
    wanted = {*typical_cases(results.cases), *worst_cases(results.cases)}
    chosen = [case for case in cases if case.case_id in wanted]
    rows: dict[str, Comparison] = {}
    problems = []
    for case in track(chosen, "Drawing cases", len(chosen)):
        dice = {score.method: score.values["dice"] for score in scores if score.case_id == case.case_id}
        try:
            rows[case.case_id] = _read_comparison(run, case, dice)
        except SCAN_FAILURES as error:
            problems.append(f"{case.case_id}: cannot be shown: {describe_failure(error)}")
    return rows, problems


def _read_comparison(run: RunFolder, case: Case, dice: Mapping[str, float]) -> Comparison:
    if case.mask is None:
        raise CaseError("it has scores but no reference mask any more; run `mapping prepare` again")
    scan, reference = read_image(case.scan), read_image(case.mask)
    require_same_grid(reference, scan, ("its mask", "its scan"), "run `mapping prepare` again")
    predictions = {}
    for method in dice:
        path = run.masks(method) / f"{case.case_id}{MASK_SUFFIX}"
        if path.is_file():
            mask = read_image(path)
            require_same_grid(mask, scan, (f"the mask of {method}", "its scan"), "run `mapping postprocess` again")
            predictions[method] = mask.voxels > 0
    title = f"{short_id(case.case_id)}\n{load_words(case.load_ml or 0)}"
    return compare(title, hide_head(scan), reference.voxels > 0, predictions, dice)


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
