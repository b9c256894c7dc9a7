"""Checks of every case before anything is computed from it; all problems are reported at once."""

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from mapping_stroke.dataset.cases import Case, FoundCase
from mapping_stroke.dataset.scan_checks import one_value, tame_outliers
from mapping_stroke.dataset.sides import sides_ml
from mapping_stroke.errors import CaseError, MappingError
from mapping_stroke.files import read_csv, write_csv
from mapping_stroke.images.image import SAME_VALUE, Image, Mask, read_image, require_same_grid
from mapping_stroke.lesions import find_lesions

Severity = Literal["error", "warning"]
SEVERITIES: dict[str, Severity] = {"error": "error", "warning": "warning"}

COLUMNS = ("severity", "case_id", "file", "found", "expected", "remedy")
"""Columns of `problems.csv`."""


@dataclass(frozen=True)
class Problem:
    """One problem of one case.

    Attributes:
        severity: A case with an `error` cannot be used; with a `warning` it can.
        case_id: Empty if a file belongs to no case.
        file: The file to look at.
        found: Description of the problem.
        expected: The expected state; empty if `found` implies it.
        remedy: How to fix it.
    """

    severity: Severity
    case_id: str
    file: Path
    found: str
    expected: str
    remedy: str

    @property
    def line(self) -> str:
        """The problem in one line."""
        expected = f", expected {self.expected}" if self.expected else ""
        who = f"{self.case_id}: " if self.case_id else ""
        return f"{who}{self.found}{expected}; {self.remedy} ({self.file})"


def problem_from(error: MappingError, case_id: str, file: Path) -> Problem:
    """The problem that an error describes, in the form `FILE: FOUND, expected EXPECTED; REMEDY`."""
    description, _, remedy = str(error).removeprefix(f"{file}: ").rpartition("; ")
    found, _, expected = description.partition(", expected ")
    return Problem("error", case_id, file, found, expected, remedy)


def write_problems(path: Path, problems: Sequence[Problem]) -> None:
    """Write `problems.csv`, one row per problem; only the header if there are none."""
    write_csv(path, COLUMNS, ({name: getattr(problem, name) for name in COLUMNS} for problem in problems))


def read_problems(path: Path) -> list[Problem]:
    """Read a file of `write_problems`."""
    return [
        Problem(
            SEVERITIES[row["severity"]],
            row["case_id"],
            Path(row["file"]),
            row["found"],
            row["expected"],
            row["remedy"],
        )
        for row in read_csv(path)
    ]


BRAIN_SHARE = 0.5
"""A mask that covers a larger share of the scan's non-zero voxels is probably not a lesion mask."""


@dataclass(frozen=True)
class Checked:
    """The result of checking a case.

    Attributes:
        case: None if one of the problems is an error.
        problems: In the order of the checks; empty if there are none.
    """

    case: Case | None
    problems: tuple[Problem, ...]


def check_names(found: Sequence[FoundCase]) -> list[Problem]:
    """Problems between cases: two scans with the same id or the same mask; none for a single case.

    Ids that differ only in case count as the same, because many file systems do not distinguish such names.
    """
    by_id: dict[str, list[FoundCase]] = defaultdict(list)
    by_mask: dict[Path, list[FoundCase]] = defaultdict(list)
    for case in found:
        by_id[case.case_id.casefold()].append(case)
        if case.mask is not None:
            by_mask[case.mask].append(case)
    problems = [
        _shared_id(case_id, cases)
        for cases in by_id.values()
        if len(cases) > 1
        for case_id in dict.fromkeys(case.case_id for case in cases)
    ]
    return problems + [_shared_mask(case, cases) for cases in by_mask.values() if len(cases) > 1 for case in cases]


def check_cases(found: Sequence[FoundCase]) -> Iterator[Checked]:
    """Check the cases' files, several at a time, yielding the results in order."""
    workers = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    try:
        yield from workers.map(check_case, found)
    finally:
        workers.shutdown(cancel_futures=True)


def check_case(found: FoundCase) -> Checked:
    """Read a case's files and check them; the grid of a mask is only checked if its scan is readable.

    Errors: a file that is unreadable, not three-dimensional, or holds infinity or NaN inside the head; a scan with a
    single value; a mask on another grid, or with several or negative values. Warnings: an empty mask, one with another
    value than 1, one that covers most of the brain, and those of reading the files.

    Args:
        found: The case.

    Returns:
        The case, unless a problem is an error, and its problems.
    """
    problems: list[Problem] = []
    scan = _read(found.case_id, found.scan, problems, found.series)
    if scan is not None:
        scan = tame_outliers(scan)  # as training and prediction do
    mask = _read(found.case_id, found.mask, problems) if found.mask else None
    if scan is not None:
        problems += _check_scan(found, scan)
    if mask is not None and found.mask is not None:
        problems += _warnings_of(mask, found.case_id, found.mask, "inspect it over its scan in a viewer", scan)
        problems += _check_values(found.case_id, found.mask, mask)
        if scan is not None:
            problems += _check_grid(found, scan, mask)
    if scan is None or any(problem.severity == "error" for problem in problems):
        return Checked(None, tuple(problems))
    lesion = None if mask is None else mask.voxels > 0
    if lesion is not None and found.mask is not None:
        problems += _check_load(found.case_id, found.mask, scan, lesion)
    try:
        return Checked(_case(found, scan, lesion), tuple(problems))
    except CaseError as error:
        return Checked(None, (*problems, problem_from(error, found.case_id, found.scan)))


def _case(found: FoundCase, scan: Image, lesion: Mask | None) -> Case:
    lesions = None if lesion is None else find_lesions(lesion)
    load_vox = None if lesions is None else int(lesions.sizes_vox.sum())
    return Case(
        case_id=found.case_id,
        subject=found.subject,
        session=found.session,
        site=found.site,
        split=found.split,
        scan=found.scan,
        mask=found.mask,
        load_vox=load_vox,
        load_ml=None if load_vox is None else load_vox * scan.voxel_volume_mm3 / 1000,
        components=None if lesions is None else lesions.count,
        spacing_mm=scan.spacing_mm,
        shape=scan.shape,
        orientation=scan.orientation,
        **({} if lesion is None else sides_ml(lesion, scan)),
    )


def _read(case_id: str, path: Path, problems: list[Problem], series: str = "") -> Image | None:
    """The image, or None and an additional problem."""
    try:
        return read_image(path, series=series)
    except MappingError as error:
        problems.append(problem_from(error, case_id, path))
        return None


def _warnings_of(image: Image, case_id: str, path: Path, remedy: str, other: Image | None = None) -> list[Problem]:
    """The warnings of an image as problems, without those that another image of the case also has."""
    known = () if other is None else other.warnings
    return [Problem("warning", case_id, path, line, "", remedy) for line in image.warnings if line not in known]


def _check_scan(found: FoundCase, scan: Image) -> list[Problem]:
    problems = _warnings_of(scan, found.case_id, found.scan, "inspect it with its mask in a viewer")
    value = one_value(scan.voxels)
    if value:
        remedy = "export the scan again, or leave the case out"
        problems.append(Problem("error", found.case_id, found.scan, value, "a brain", remedy))
    return problems


def _check_values(case_id: str, path: Path, mask: Image) -> list[Problem]:
    marked = mask.voxels[mask.voxels != 0]
    if marked.size == 0:
        remedy = "correct for a person without a lesion, otherwise draw it"
        return [Problem("warning", case_id, path, "the mask is empty", "", remedy)]
    low, high = float(marked.min()), float(marked.max())
    if low < 0 or high - low > SAME_VALUE * high:
        values = np.unique(marked)
        listed = ", ".join(f"{value:g}" for value in values[:4]) + (", ..." if values.size > 4 else "")
        remedy = "save the lesion as 1 and everything else as 0"
        return [Problem("error", case_id, path, f"the mask is not binary (0, {listed})", "0 and 1", remedy)]
    if (low, high) != (1.0, 1.0):
        remedy = "no action needed, every voxel above 0 counts as lesion"
        return [Problem("warning", case_id, path, f"the mask holds 0 and {high:g}", "0 and 1", remedy)]
    return []


def _check_grid(found: FoundCase, scan: Image, mask: Image) -> list[Problem]:
    remedy = "resample the mask onto the scan with nearest neighbour"
    try:
        require_same_grid(mask, scan, ("the mask", "its scan"), remedy)
    except MappingError as error:
        return [problem_from(error, found.case_id, found.mask or found.scan)]
    return []


def _check_load(case_id: str, path: Path, scan: Image, lesion: Mask) -> list[Problem]:
    share = float((lesion & (scan.voxels != 0)).sum() / max(int((scan.voxels != 0).sum()), 1))
    if share <= BRAIN_SHARE:
        return []
    found = f"the mask covers {share:.0%} of the scan's non-zero voxels"
    return [Problem("warning", case_id, path, found, "a lesion", "check whether it is a brain mask")]


def _shared_id(case_id: str, cases: Sequence[FoundCase]) -> Problem:
    first = next(case for case in cases if case.case_id == case_id)
    others = ", ".join(str(case.scan) for case in cases if case is not first)
    return Problem(
        severity="error",
        case_id=case_id,
        file=first.scan,
        found=f"{len(cases)} scans have this id, ignoring case (also {others})",
        expected="one",
        remedy="rename or move all but one, or distinguish them with --scans PATTERN",
    )


def _shared_mask(case: FoundCase, cases: Sequence[FoundCase]) -> Problem:
    others = ", ".join(other.scan.name for other in cases if other is not case)
    return Problem(
        severity="error",
        case_id=case.case_id,
        file=case.mask or case.scan,
        found=f"another scan has the same mask ({others})",
        expected="one mask per scan",
        remedy="name the masks after their scans, or select them with --masks PATTERN",
    )
