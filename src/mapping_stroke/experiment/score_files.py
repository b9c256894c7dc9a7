"""Score files of masks: each pair once, one bad file never stops the others, and the tables are written at the end."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from mapping_stroke.console import name_files, say, track, warn
from mapping_stroke.errors import SCAN_FAILURES, ImageError, MappingError, describe_failure
from mapping_stroke.evaluation.profiles import Profile
from mapping_stroke.evaluation.score import score
from mapping_stroke.evaluation.tables import (
    SCORE_COLUMNS,
    SUMMARY_COLUMNS,
    CaseScore,
    order_methods,
    read_score_row,
    score_row,
    summarise,
    summary_row,
)
from mapping_stroke.files import fingerprint, read_json, sha256, write_csv, write_json
from mapping_stroke.image import Image, Mask, Voxels, read_image, require_same_grid, turn_axes
from mapping_stroke.report.tables import format_text, make_table

SCORES_FILE = "scores.csv"
SUMMARY_FILE = "summary.csv"
LEDGER_FILE = "scored.json"
"""Beside the tables: every score under a hash of the files it was computed from."""
CONTENTS = (SCORES_FILE, SUMMARY_FILE, LEDGER_FILE)
"""What `score_files` writes."""
SCORING = 2
"""Counts up if the same files get other scores; since 2, a map is laid on its reference."""
SAME_VALUE = 1e-3
"""Mask values that differ by less than this share count as one: rounding of a stored 0 and 1."""


@dataclass(frozen=True)
class Comparison:
    """What is compared: one method's mask of one case with the reference.

    Attributes:
        method: Whose mask it is.
        case_id: The case.
        fold: Fold of the case; None outside cross-validation.
        mask: File of the predicted mask.
        reference: File of the reference mask.
        probability: File of the map behind the mask; None where the profile needs none or there is none.
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


def score_files(comparisons: Sequence[Comparison], output: Path, profile: Profile) -> list[str]:
    """Score masks and write `scores.csv` and `summary.csv`.

    Args:
        comparisons: What to compare, in any order.
        output: Folder of the tables. Scores that are there already and whose files are unchanged are kept.
        profile: Which metrics.

    Returns:
        What failed, as `method/case`; it is told, and left out of the tables.

    Raises:
        MappingError: There is one comparison only, and it failed.
    """
    known = _read_ledger(output / LEDGER_FILE)
    scored: dict[str, CaseScore] = {}
    failed = []
    read_reference = lru_cache(maxsize=1)(_read_reference)
    try:
        for comparison in track(sorted(comparisons, key=_by_case), "Scoring", len(comparisons)):
            try:
                mark = comparison.fingerprint(profile)
                scored[mark] = known.get(mark) or _score(comparison, read_reference, profile)
            except SCAN_FAILURES as error:
                if len(comparisons) == 1:
                    raise
                failed.append(f"{comparison.method}/{comparison.case_id}")
                warn(f"{failed[-1]}: {describe_failure(error)}")
    finally:
        write_json(output / LEDGER_FILE, {mark: score_row(score) for mark, score in scored.items()})
    write_tables(list(scored.values()), output, profile)
    return failed


def write_tables(scores: Sequence[CaseScore], output: Path, profile: Profile) -> None:
    """Write one row per method and case, and the summary, and show it; only the header lines for no scores."""
    place = {method: number for number, method in enumerate(order_methods(score.method for score in scores))}
    rows = sorted(scores, key=lambda score: (place[score.method], score.case_id))
    write_csv(output / SCORES_FILE, (*SCORE_COLUMNS, *profile.keys), map(score_row, rows))
    summaries = summarise(rows, profile.keys)
    write_csv(output / SUMMARY_FILE, SUMMARY_COLUMNS, map(summary_row, summaries))
    say(format_text(make_table(f"{len({row.case_id for row in rows})} cases, profile {profile.name}", summaries)))
    name_files("Scores", output / SCORES_FILE, output / SUMMARY_FILE)


def read_mask(path: Path) -> tuple[Mask, Image]:
    """Read a mask: background 0, lesion one positive value (1, 255, 0.9999, ...); `ImageError` for anything else."""
    image = read_image(path)
    mask = image.voxels > 0
    marked = image.voxels[mask]
    lowest, highest = (marked.min(), marked.max()) if marked.size > 0 else (1.0, 1.0)
    if image.voxels.min(initial=0) < 0 or highest - lowest > SAME_VALUE * highest:
        raise ImageError(f"{path}: is no mask, it holds more than two values; save the lesion as 1 and all else as 0")
    return mask, image


def _by_case(comparison: Comparison) -> tuple[str, str, str]:
    return comparison.case_id, str(comparison.reference), comparison.method


def _read_ledger(path: Path) -> dict[str, CaseScore]:
    try:
        found = read_json(path)
        return {mark: read_score_row({key: str(value) for key, value in row.items()}) for mark, row in found.items()}
    except (OSError, ValueError, AttributeError, MappingError):  # missing or damaged: score again
        return {}


def _read_reference(path: Path) -> tuple[Mask, Image]:
    """As `read_mask`, telling what is doubtful about the file: distances and volumes follow its header."""
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
    """Voxels of an image in the order of its reference's, whichever way its own axes point; the grids must agree."""
    if image.orientation != reference.orientation:
        image = turn_axes(image, reference.orientation)
    require_same_grid(image, reference, names, remedy)
    return image.voxels
