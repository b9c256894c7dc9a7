"""The stage `evaluate`, score files of any folder of masks, and challenge results for the ranking."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from mapping_stroke.console import counted, name_files, say, warn
from mapping_stroke.dataset.cases import Case, read_cases
from mapping_stroke.dataset.folds import read_folds
from mapping_stroke.errors import (
    CaseError,
    MappingError,
    RunFolderError,
    ScoreError,
)
from mapping_stroke.evaluation.profiles import ATLAS2022, Profile, find_profile
from mapping_stroke.evaluation.ranking import RANKED
from mapping_stroke.evaluation.score import score
from mapping_stroke.evaluation.tables import (
    ALL_FOLDS,
    SCORE_COLUMNS,
    SUMMARY_COLUMNS,
    CaseScore,
    order_methods,
    read_score_row,
    score_row,
    summarise,
    summary_row,
)
from mapping_stroke.files import (
    fingerprint,
    given_name,
    list_files,
    may_be_file,
    read_csv,
    read_json,
    sha256,
    write_csv,
    write_json,
)
from mapping_stroke.images.formats import IMAGE_SUFFIXES, image_suffix
from mapping_stroke.images.image import (
    Image,
    Mask,
    Voxels,
    image_stem,
    read_image,
    read_mask,
    reorient,
    require_same_grid,
)
from mapping_stroke.report.tables import format_text, make_table
from mapping_stroke.run_folder import ENSEMBLE, FINAL, MASK_SUFFIX, PROBABILITY_SUFFIX, RunFolder, write_section
from mapping_stroke.stages.environments import recorder
from mapping_stroke.work import StageResult, for_each_case

SCORES_FILE = "scores.csv"
SUMMARY_FILE = "summary.csv"
LEDGER_FILE = "scored.json"
"""Next to the tables: every score under a hash of the files it was computed from."""
CONTENTS = (SCORES_FILE, SUMMARY_FILE, LEDGER_FILE)
"""Files that `score_files` writes."""
SCORING = 2
"""Increased whenever the same files get other scores."""


@dataclass(frozen=True)
class Comparison:
    """The mask of one method and one case, and its reference.

    Attributes:
        method: Method of the mask.
        case_id: The case.
        fold: Fold of the case; None outside cross-validation.
        mask: File of the predicted mask.
        reference: File of the reference mask.
        probability: File of the map behind the mask; None if the profile needs none or there is none.
    """

    method: str
    case_id: str
    fold: int | None
    mask: Path
    reference: Path
    probability: Path | None = None

    def fingerprint(self, profile: Profile) -> str:
        """Changes with any of the files, with the fold and with the profile."""
        paths = [path for path in (self.mask, self.reference, self.probability) if path is not None]
        hashes = [sha256(path) if path.is_file() else "" for path in paths]
        return fingerprint([SCORING, profile.name, self.method, self.case_id, self.fold, *hashes])


def score_files(
    comparisons: Sequence[Comparison], output: Path, profile: Profile, computed: Callable[[], None] = lambda: None
) -> StageResult:
    """Score masks and write `scores.csv` and `summary.csv`.

    Args:
        comparisons: Masks and references, in any order.
        output: Folder of the tables. Scores that are there already and whose files are unchanged are kept.
        profile: The metrics.
        computed: Called before a mask is scored.

    Returns:
        The tables; failures are named `method/case`, reported, and left out of the tables.

    Raises:
        CaseError: There is only one comparison, and it failed.
    """
    known = _read_ledger(output / LEDGER_FILE)
    scored: dict[str, CaseScore] = {}
    read_reference = lru_cache(maxsize=1)(_read_reference)

    def compare(comparison: Comparison) -> None:
        mark = comparison.fingerprint(profile)
        if mark not in known:
            computed()
        scored[mark] = known.get(mark) or _score(comparison, read_reference, profile)

    named = {f"{one.method}/{one.case_id}": one for one in sorted(comparisons, key=_by_case)}
    try:
        failed = for_each_case(named, "Scoring", lambda comparison, _: compare(comparison))
    finally:
        write_json(output / LEDGER_FILE, {mark: score_row(score) for mark, score in scored.items()})
    write_tables(list(scored.values()), output, profile)
    return StageResult((output / SCORES_FILE, output / SUMMARY_FILE), failed)


def write_tables(scores: Sequence[CaseScore], output: Path, profile: Profile) -> None:
    """Write one row per method and case, and the summary, and show it; only the header lines for no scores."""
    place = {method: number for number, method in enumerate(order_methods(score.method for score in scores))}
    rows = sorted(scores, key=lambda score: (place[score.method], score.case_id))
    write_csv(output / SCORES_FILE, (*SCORE_COLUMNS, *profile.keys), map(score_row, rows))
    summaries = summarise(rows, profile.keys)
    write_csv(output / SUMMARY_FILE, SUMMARY_COLUMNS, map(summary_row, summaries))
    cases = counted(len({row.case_id for row in rows}), "case")
    say(format_text(make_table(f"{cases}, profile {profile.name}", summaries)))
    name_files("Scores", output / SCORES_FILE, output / SUMMARY_FILE)


def read_scores(path: Path, command: str) -> list[CaseScore]:
    """Read a table of scores that has at least one row and the column `dice`.

    Args:
        path: The table.
        command: The command that writes it.

    Raises:
        ScoreError: The table is empty or damaged.
    """
    scores = [read_score_row(row) for row in read_csv(path)]
    if not scores:
        raise ScoreError(f"{path}: holds no score; run `{command}` again")
    if any("dice" not in score.values or score.values.keys() != scores[0].values.keys() for score in scores):
        raise ScoreError(f"{path}: has no column dice; run `{command}` again")
    return scores


def _by_case(comparison: Comparison) -> tuple[str, str, str]:
    return comparison.case_id, str(comparison.reference), comparison.method


def _read_ledger(path: Path) -> dict[str, CaseScore]:
    try:
        found = read_json(path)
        return {mark: read_score_row({key: str(value) for key, value in row.items()}) for mark, row in found.items()}
    except (OSError, ValueError, AttributeError, MappingError):  # missing or damaged: score again
        return {}


def _read_reference(path: Path) -> tuple[Mask, Image]:
    """Like `read_mask`, but also show warnings about the file, since distances and volumes depend on its header."""
    mask, image = read_mask(path)
    for line in image.warnings:
        warn(f"{path}: {line}")
    return mask, image


def _score(comparison: Comparison, read_reference: Callable[[Path], tuple[Mask, Image]], profile: Profile) -> CaseScore:
    reference, reference_image = read_reference(comparison.reference)
    its_reference = f"its reference {comparison.reference}"
    remedy = "resample the mask onto the reference's grid with nearest neighbour"
    _, mask_image = read_mask(comparison.mask)
    mask = _lay_on(reference_image, mask_image, (f"{comparison.mask}: the mask", its_reference), remedy)
    probability = None
    if comparison.probability:
        names = (f"{comparison.probability}: the probability map", its_reference)
        remedy = "resample the map onto the reference's grid"
        probability = _lay_on(reference_image, read_image(comparison.probability), names, remedy)
    values = score(mask > 0, reference, reference_image.spacing_mm, profile.name, probability)
    return CaseScore(comparison.method, comparison.case_id, comparison.fold, int(reference.sum()), values)


def _lay_on(reference: Image, image: Image, names: tuple[str, str], remedy: str) -> Voxels:
    """Voxels of an image in the axis order of its reference; the grids must agree."""
    if image.orientation != reference.orientation:
        image = reorient(image, reference.orientation)
    require_same_grid(image, reference, names, remedy)
    return image.voxels


BIDS_BRAIN = "_desc-brain_mask.nii.gz"
"""Suffix of brain masks in BIDS derivatives, which are not lesion masks."""


def evaluate_run(run: RunFolder, profile: str = "atlas2022") -> StageResult:
    """Score every method's masks of the labelled cases of a run, and summarise them.

    Cases without a mask (their fold has no trained member, say) are left out, and their number is reported.

    Args:
        run: A run in which `mapping postprocess` has finished.
        profile: Name of a scoring profile.

    Returns:
        The tables; failures are named `method/case`.

    Raises:
        ConfigError: Unknown profile.
        RunFolderError: A stage before this one has not finished, or there is no mask of any labelled case.
    """
    chosen = find_profile(profile)
    cases = [case for case in read_cases(run.require(run.cases_csv, "prepare DATA -o")) if case.mask is not None]
    folds = read_folds(run.require(run.folds_csv, "folds"), cases)
    masks = run.require(run.masks(ENSEMBLE).parent, "postprocess")
    comparisons = []
    for method in order_methods(folder.name for folder in masks.iterdir() if folder.is_dir()):
        there = [_compare(run, method, case, folds[case.case_id], chosen) for case in cases]
        found = [comparison for comparison in there if may_be_file(comparison.mask)]
        if len(found) < len(cases):
            warn(f"{method}: {len(cases) - len(found)} of {len(cases)} labelled cases have no mask and are left out")
        comparisons += found
    if not comparisons:
        raise RunFolderError(f"{masks}: holds no mask of a labelled case; run `mapping postprocess {run.path}` first")
    write_section(run.config_toml, "evaluate", {"profile": profile})
    return score_files(comparisons, run.scores_csv.parent, chosen, recorder(run.environments("evaluate")))


def evaluate_test_scans(run: RunFolder, references: Path, profile: str = "atlas2022") -> StageResult:
    """Score every method's masks of the unlabelled scans of a run, each by all members, as in the paper's Table 2.

    Scans without a reference or a mask are left out, and their number is reported.

    Args:
        run: A run in which `mapping postprocess` has finished.
        references: Folder with an image `<case>_mask` or `<case>` for the unlabelled scans, all or some.
        profile: Name of a scoring profile.

    Returns:
        The tables, in `evaluate/test`; failures are named `method/case`.

    Raises:
        CaseError: There are several references of a scan.
        ConfigError: Unknown profile.
        RunFolderError: A stage before this one has not finished, or no unlabelled scan has a reference and a mask.
    """
    chosen = find_profile(profile)
    cases = [case for case in read_cases(run.require(run.cases_csv, "prepare DATA -o")) if case.mask is None]
    masks = run.require(run.masks(ENSEMBLE).parent, "postprocess")
    images = [path for path in list_files(references, "*") if image_suffix(path)]
    stems = {image_stem(path) for path in images}
    known = [case.case_id for case in cases if stems & {case.case_id, f"{case.case_id}_mask"}]
    if len(known) < len(cases):
        warn(f"{len(cases) - len(known)} of {len(cases)} unlabelled scans have no reference and are left out")
    wanted = {case_id: _reference(references, images, case_id) for case_id in known}
    comparisons = []
    for method in order_methods(folder.name for folder in masks.iterdir() if folder.is_dir()):
        maps = run.probabilities(ENSEMBLE if method == FINAL else method)
        for case_id, reference in wanted.items():
            mask = run.masks(method) / f"{case_id}{MASK_SUFFIX}"
            if may_be_file(mask):
                probability = _probability(maps, case_id, chosen)
                comparisons.append(Comparison(method, case_id, None, mask, reference, probability))
    if not comparisons:
        raise RunFolderError(
            f"{references}: holds no reference of an unlabelled scan of {run.path} that has a mask, expected images "
            "<case>_mask or <case>; check the folder and the case ids in prepare/cases.csv"
        )
    return score_files(comparisons, run.test_scores_csv.parent, chosen, recorder(run.environments("evaluate")))


def evaluate_folder(masks: Path, references: Path, output: Path, profile: str = "atlas2022") -> StageResult:
    """Score every `<case>_mask.nii.gz` of a folder, and summarise.

    Args:
        masks: See `pair_folders`.
        references: See `pair_folders`.
        output: Folder for `scores.csv` and `summary.csv`.
        profile: Name of a scoring profile.

    Returns:
        The tables; failures are named `method/case`.

    Raises:
        CaseError: There is no mask, or a mask has no reference or several.
        ConfigError: Unknown profile.
    """
    return score_files(pair_folders(masks, references, profile), output, find_profile(profile))


def pair_folders(masks: Path, references: Path, profile: str) -> list[Comparison]:
    """Find the reference of every mask of a folder; nothing is opened yet.

    Args:
        masks: Folder of `<case>_mask.nii.gz`; its name is the method in the tables. A `<case>_probability.nii.gz`
            next to a mask is used by profiles that score probabilities.
        references: Folder with one image `<case>_mask` or `<case>` for every predicted mask.
        profile: Name of a scoring profile.

    Returns:
        One comparison per mask, by case id.

    Raises:
        CaseError: There is no mask, or a mask has no reference or several.
        ConfigError: Unknown profile.
    """
    chosen, method = find_profile(profile), given_name(masks)
    named = [path for path in list_files(masks, f"*{MASK_SUFFIX}") if not path.name.endswith(BIDS_BRAIN)]
    found = {path.name.removesuffix(MASK_SUFFIX): path for path in named}
    if not found:
        raise CaseError(f"{masks}: holds no <case>{MASK_SUFFIX}; name a folder that `mapping postprocess` wrote")
    images = [path for path in list_files(references, "*") if image_suffix(path)]
    wanted = {case_id: _reference(references, images, case_id) for case_id in found}
    return [
        Comparison(method, case_id, None, mask, wanted[case_id], _probability(masks, case_id, chosen))
        for case_id, mask in found.items()
    ]


def _compare(run: RunFolder, method: str, case: Case, fold: int, profile: Profile) -> Comparison:
    assert case.mask is not None
    maps = run.probabilities(ENSEMBLE if method == FINAL else method)
    mask = run.masks(method) / f"{case.case_id}{MASK_SUFFIX}"
    return Comparison(method, case.case_id, fold, mask, case.mask, _probability(maps, case.case_id, profile))


def _reference(folder: Path, images: Sequence[Path], case_id: str) -> Path:
    fitting = [path for path in images if image_stem(path) in (f"{case_id}_mask", case_id)]
    if len(fitting) != 1:
        raise CaseError(
            f"{folder}: holds {len(fitting)} references of {case_id}, expected one file {case_id}_mask or {case_id} "
            f"with a suffix of {', '.join(IMAGE_SUFFIXES)}; add it, or move the others away"
        )
    return fitting[0]


def _probability(folder: Path, case_id: str, profile: Profile) -> Path | None:
    path = folder / f"{case_id}{PROBABILITY_SUFFIX}"
    return path if profile.scores_probability and may_be_file(path) else None


Scores = dict[str, dict[str, dict[str, float]]]  # leaderboard -> team -> metric -> value

ROW_COLUMNS = ("leaderboard", "team")


def read_team_scores(sources: Sequence[str]) -> Scores:
    """Read and join the results of teams.

    Args:
        sources: Each `FILE.json`, `{leaderboard: {team: {metric: value}}}`; or `FILE.csv`, one row per leaderboard and
            team and a column for each metric; or `LEADERBOARD/TEAM=summary.csv`, a summary of `mapping evaluate`, or
            the folder that holds it, of which the metrics that the challenge does not rank by are left out.

    Returns:
        Leaderboard -> team -> metric -> value.

    Raises:
        ScoreError: A file cannot be read, has another form, a value is not a number, or a team occurs twice.
    """
    if not sources:
        raise ScoreError("no results are given; name a JSON or CSV file of them")
    scores: Scores = {}
    for source in sources:
        for board, team, values in _read_source(source):
            if team in scores.setdefault(board, {}):
                raise ScoreError(f"{source}: team {team!r} occurs twice on the {board} leaderboard; remove one of them")
            where = f"{source}: team {team!r}, {board} leaderboard"
            scores[board][team] = {metric: _number(value, metric, where) for metric, value in values.items()}
    return scores


def _read_source(source: str) -> list[tuple[str, str, dict[str, Any]]]:
    place, is_summary, name = source.rpartition("=")
    path = Path(name)
    try:
        if is_summary:
            board, _, team = place.partition("/")
            return [(board, team, _read_summary(path / SUMMARY_FILE if path.is_dir() else path))]
        return _read_rows(path) if path.suffix.lower() == ".csv" else _read_tree(path)
    except (OSError, ValueError) as error:
        raise ScoreError(f"{path}: cannot be read ({error}); expected a JSON or CSV file of results") from error


def _read_tree(path: Path) -> list[tuple[str, str, dict[str, Any]]]:
    tree = read_json(path)
    try:
        return [(board, team, dict(values.items())) for board, teams in tree.items() for team, values in teams.items()]
    except AttributeError as error:
        raise ScoreError(f"{path}: expected an object {{leaderboard: {{team: {{metric: value}}}}}}") from error


def _read_rows(path: Path) -> list[tuple[str, str, dict[str, Any]]]:
    rows = read_csv(path)
    missing = [column for column in ROW_COLUMNS if not rows or column not in rows[0]]
    if missing:
        raise ScoreError(f"{path}: has no column {' or '.join(missing)}; expected leaderboard,team,METRIC,METRIC,...")
    return [
        (row["leaderboard"], row["team"], {key: text for key, text in row.items() if key not in ROW_COLUMNS and text})
        for row in rows
    ]


def _read_summary(path: Path) -> dict[str, Any]:
    rows = [row for row in read_csv(path) if row.get("fold") == ALL_FOLDS]
    methods = sorted({row["method"] for row in rows})
    if len(methods) != 1:
        remedy = (
            "score one of its folders of masks, such as RUN/postprocess/ensemble-pp, by "
            "`mapping evaluate MASKS --references REFERENCES -o FOLDER`, and name that FOLDER"
            if methods
            else "run `mapping evaluate` again"
        )
        found = ", ".join(methods) or "none"
        raise ScoreError(f"{path}: expected the summary of one method from `mapping evaluate`, found {found}; {remedy}")
    beyond = set(ATLAS2022.keys) - set(RANKED)  # a metric of another profile stays, and is refused by name
    return {row["metric"]: row["mean"] for row in rows if row["mean"] and row["metric"] not in beyond}


def _number(value: Any, metric: str, where: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise ScoreError(f"{where}: the metric {metric!r} is {value!r}, expected a number") from error
