"""Layouts of data sets: ATLAS, BIDS, plain folders; one finder per layout."""

import csv
import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from pathlib import Path

from pathspec import GitIgnoreSpec

from mapping_stroke.console import counted, warn
from mapping_stroke.dataset.cases import FoundCase
from mapping_stroke.dataset.checks import Problem
from mapping_stroke.dataset.names import USUAL, BidsName, Patterns, belongs, find_by_patterns, parse_bids_name
from mapping_stroke.errors import CaseError, ConfigError, RunFolderError
from mapping_stroke.images.formats import image_suffix
from mapping_stroke.images.image import image_stem
from mapping_stroke.names import LayoutName
from mapping_stroke.run_folder import RESULTS_KEY, is_run_folder, read_identity

NO_SCANS_IN = ("derivatives", "sourcedata", "code")
"""Folders of a BIDS data set whose scans are not used; masks may be in `derivatives`."""
NO_SITES = ("rawdata", "sourcedata", "derivatives", "Training", "Testing")
"""Names of folders around `sub-*` that are not a centre."""
IGNORE, PARTICIPANTS = ".bidsignore", "participants.tsv"
SITE_COLUMNS = ("site", "site_id", "center", "centre", "cohort")
"""Columns of `participants.tsv` that name the centre, in upper or lower case."""


@dataclass(frozen=True)
class _Named:
    path: Path
    name: BidsName


def find_bids(data: Path, images: Sequence[Path], patterns: Patterns) -> tuple[list[FoundCase], list[Problem]]:
    """Find T1w scans by their BIDS names, and the lesion mask of each by its entities.

    Scans listed in `.bidsignore` are left out and counted. Masks listed there are used, because BIDS has no names for
    masks.

    Args:
        data: The data set's folder.
        images: Its image files, relative to it.
        patterns: Not used; all finders have the same arguments.

    Returns:
        Cases in the order of their scans' paths, and problems with their names. No case if no name follows BIDS.
    """
    named = [_Named(path, name) for path in images if (name := parse_bids_name(image_stem(path)))]
    scans = [file for file in named if file.name.is_scan and not set(file.path.parts) & set(NO_SCANS_IN)]
    ignored = BidsIgnore(data)
    masks: dict[str, list[_Named]] = defaultdict(list)
    for file in named:
        if file.name.is_lesion_mask:
            masks[file.name.entities["sub"]].append(file)
    sites = Sites(data)
    cases: list[FoundCase] = []
    problems: list[Problem] = []
    used: set[Path] = set()
    for scan in scans:
        fitting = [mask.path for mask in masks[scan.name.entities["sub"]] if belongs(mask.name, scan.name)]
        used.update(fitting)
        if ignored.names(scan.path):
            continue
        if len(fitting) > 1:
            problems.append(_several_masks(data, scan, fitting))
        cases.append(_case(data, scan, fitting, sites))
    lost = [mask.path for its_masks in masks.values() for mask in its_masks if mask.path not in used]
    problems += [_no_scan(data / path) for path in sorted(lost)] if scans else []
    problems += [_ignored(data, len(scans) - len(cases))] if len(cases) < len(scans) else []
    return cases, problems


def _case(data: Path, scan: _Named, masks: Sequence[Path], sites: "Sites") -> FoundCase:
    entities = scan.name.entities
    return FoundCase(
        case_id=scan.name.case_id,
        subject=entities["sub"],
        session=entities.get("ses", ""),
        site=sites.of(scan.path, entities["sub"]),
        scan=data / scan.path,
        mask=data / masks[0] if masks else None,
    )


def _several_masks(data: Path, scan: _Named, masks: Sequence[Path]) -> Problem:
    return Problem(
        severity="error",
        case_id=scan.name.case_id,
        file=data / scan.path,
        found=f"{len(masks)} lesion masks match this scan: {', '.join(map(str, masks))}",
        expected="one",
        remedy="move the others, or select one with --masks PATTERN",
    )


def _no_scan(mask: Path) -> Problem:
    found = "a lesion mask that matches no scan (same sub, ses and space)"
    return Problem("warning", "", mask, found, "", "rename it after its scan, or continue without it")


def _ignored(data: Path, count: int) -> Problem:
    found = f"{counted(count, 'T1w scan')} left out because of {IGNORE}"
    return Problem("warning", "", data / IGNORE, found, "", "remove the line there to use them")


class BidsIgnore:
    """The files listed in the `.bidsignore` (syntax of `.gitignore`) of the data set and of each centre in it."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._specs: dict[Path, GitIgnoreSpec | None] = {}

    def names(self, path: Path) -> bool:
        """Whether a file or a folder above it is listed.

        Args:
            path: Of the file, relative to the data set.

        Raises:
            CaseError: The `.bidsignore` cannot be read, or a line of it is not a pattern.
        """
        return any(self._names(folder, path) for folder in dict.fromkeys((Path(), folder_of_people(path))))

    def names_folder(self, path: Path) -> bool:
        """Whether everything in a folder is listed; see `names`."""
        return self.names(path / "any")  # patterns such as `folder/**` only match files in it

    def _names(self, folder: Path, path: Path) -> bool:
        if folder not in self._specs:
            self._specs[folder] = _read_ignore(self._data / folder / IGNORE)
        spec = self._specs[folder]
        return spec is not None and spec.match_file(path.relative_to(folder).as_posix())


def _read_ignore(path: Path) -> GitIgnoreSpec | None:
    """The patterns of a `.bidsignore`; None if there is none."""
    try:
        lines = path.read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CaseError(f"{path}: cannot be read ({error.strerror}); check its permissions and the disk") from error
    try:
        return GitIgnoreSpec.from_lines(lines)
    except ValueError as error:
        raise CaseError(f"{path}: {error}, expected the syntax of .gitignore; correct that line") from error


def folder_of_people(path: Path) -> Path:
    """The folder around the `sub-*` of a file, such as that of its centre; the data set's own, if there is no `sub-*`.

    Args:
        path: Of the file, relative to the data set, as is the folder.
    """
    depth = next((depth for depth, part in enumerate(path.parts[:-1]) if part.startswith("sub-")), 0)
    return Path(*path.parts[:depth])


class Sites:
    """The centre of each scan: from `participants.tsv`, otherwise the folder around `sub-*`; empty if unknown."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._tables: dict[Path, Mapping[str, str]] = {}

    def of(self, scan: Path, subject: str) -> str:
        """The centre of a scan, given its path relative to the data set and its person."""
        around = folder_of_people(scan)
        listed = self._table(around).get(subject) or self._table(Path()).get(subject)
        return listed or ("" if around.name in NO_SITES else around.name)

    def _table(self, folder: Path) -> Mapping[str, str]:
        if folder not in self._tables:
            self._tables[folder] = _read_sites(self._data / folder / PARTICIPANTS)
        return self._tables[folder]


def _read_sites(path: Path) -> Mapping[str, str]:
    """The centre of every person who has one in a `participants.tsv`; empty if there is no such table."""
    people = read_people(path)
    columns = next(iter(people.values()), {})
    column = next((name for name in SITE_COLUMNS if name in columns), None)
    return {label: row[column] for label, row in people.items() if row[column] not in ("", "n/a")} if column else {}


def read_people(path: Path) -> dict[str, dict[str, str]]:
    """The rows of a `participants.tsv` by label without `sub-`, columns in lower case; empty if it cannot be read."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
    except (OSError, UnicodeDecodeError, csv.Error):
        return {}
    lower = [{column.lower(): value or "" for column, value in row.items() if column} for row in rows]
    people = {row.get("participant_id", "").strip().removeprefix("sub-"): row for row in lower}
    return {label: row for label, row in people.items() if label not in ("", "n/a")}


def list_images(root: Path) -> list[Path]:
    """Paths of all image files below a folder, relative to it, sorted.

    Hidden files and folders are skipped, and so are folders of our own results below the given one, because masks of a
    model are not a reference. Links to folders are followed, each folder once: its own path is preferred to a link, and
    a path with usable scans to one in `NO_SCANS_IN`. Unreadable folders are skipped with a warning.
    """
    images: list[Path] = []
    seen: set[Path] = set()
    waiting = [
        (False, False, root)
    ]  # whether its scans are unused, whether it is behind a link: a heap visits the preferred path first
    while waiting:
        unused, linked, folder = heappop(waiting)
        real = folder.resolve()
        if real in seen or (folder != root and holds_results(folder)):
            continue
        seen.add(real)
        _, folders, files = next(os.walk(folder, onerror=_report_unread), ("", [], []))
        for name in folders:
            inside = folder / name
            if name[0] != ".":
                heappush(waiting, (unused or name in NO_SCANS_IN, linked or _is_link(inside), inside))
        images += [folder.relative_to(root) / file for file in files if image_suffix(Path(file)) and file[0] != "."]
    return sorted(images)


def holds_results(folder: Path) -> bool:
    """Whether a folder is marked as our own results; simulated data are not."""
    try:
        return is_run_folder(folder) and RESULTS_KEY in read_identity(folder)
    except (RunFolderError, OSError):  # listing its contents will report the reason
        return False


def _is_link(path: Path) -> bool:
    try:
        return path.is_symlink()
    except OSError:
        return False


def _report_unread(error: OSError) -> None:
    warn(f"{error.filename}: cannot be listed ({error.strerror}); check its permissions and the disk")


@dataclass(frozen=True)
class Findings:
    """The cases of a folder, found by their file names.

    Attributes:
        layout: The layout it follows.
        cases: In the order of their scans' paths; ids may still occur twice.
        problems: Problems visible from the names, such as two masks for one scan.
    """

    layout: "Layout"
    cases: tuple[FoundCase, ...]
    problems: tuple[Problem, ...]

    @property
    def has_masks(self) -> bool:
        """Whether some case has a mask."""
        return any(case.mask is not None for case in self.cases)

    @property
    def scans(self) -> set[Path]:
        """The scans of the cases."""
        return {case.scan for case in self.cases}


Finder = Callable[[Path, Sequence[Path], Patterns], tuple[list[FoundCase], list[Problem]]]
"""From a folder, its image files (relative) and name patterns to cases and problems; no cases for another layout."""


@dataclass(frozen=True)
class Layout:
    """One layout of a data set.

    Attributes:
        name: Its name for `--layout`.
        title: Its name in messages.
        example: Path of a scan, for messages.
        find: Finds its cases.
    """

    name: LayoutName
    title: str
    example: str
    find: Finder


def find_cases(
    data: Path,
    layout: LayoutName = "auto",
    patterns: Patterns = USUAL,
    layouts: "Sequence[Layout] | None" = None,
) -> Findings:
    """Find the scans of a data set and their masks, without opening a file.

    Args:
        data: Folder of the data set.
        layout: `auto` takes the first of the layouts that finds scans; a later one if only that finds masks of them.
        patterns: Name patterns of a plain folder; giving one selects that layout.
        layouts: The layouts to choose from; `LAYOUTS` if None.

    Returns:
        At least one case.

    Raises:
        CaseError: The folder does not exist, it holds no scan, or no mask matches the given pattern.
        ConfigError: Patterns are given for a layout that has none, or one is malformed.
    """
    if not data.is_dir():
        found = "is a file, expected a folder" if data.exists() else "no such folder"
        raise CaseError(f"{data}: {found}; give the folder that holds the scans")
    if patterns.given and layout not in ("auto", "plain"):
        raise ConfigError(f"--scans and --masks belong to the plain layout, got --layout {layout}; leave one out")
    asked = "plain" if patterns.given else layout
    tried = [row for row in (LAYOUTS if layouts is None else layouts) if asked in ("auto", row.name)]
    images = list_images(data)
    chosen: Findings | None = None
    for row in tried:
        cases, problems = row.find(data, images, patterns)
        ignored = [problem.line for problem in problems if problem.file.name == IGNORE]
        if ignored and not cases and chosen is None:  # another layout would use the ignored scans
            raise CaseError(f"{data}: holds no other scan; {ignored[0]}")
        findings = Findings(row, tuple(cases), tuple(problems))
        # a later layout may know the names of the masks, such as `sub-1_mask` beside `sub-1_T1w`
        if cases and (chosen is None or (findings.has_masks and findings.scans == chosen.scans)):
            chosen = findings
        if chosen is not None and chosen.has_masks:
            break
    if chosen is not None:
        return chosen
    usual = [row for row in tried if row in LAYOUTS] or tried
    looked_for = f"'{patterns.scans}'" if patterns.scans else "; ".join(f"{row.title}: {row.example}" for row in usual)
    raise CaseError(
        f"{data}: no scans found among {len(images)} image files; looked for {looked_for}; "
        "give the data set's own folder, or name the scans with --scans PATTERN"
    )


def find_atlas(data: Path, images: Sequence[Path], patterns: Patterns) -> tuple[list[FoundCase], list[Problem]]:
    """Find the cases of ATLAS R2.0: BIDS names under `Training/` (with masks) and `Testing/` (without)."""
    cases: list[FoundCase] = []
    problems: list[Problem] = []
    for part in ("Training", "Testing"):
        inside = [image for image in images if part in image.parts[:2]]
        if part == "Testing":
            inside = [image for image in inside if "_mask." not in image.name]
        found, its_problems = find_bids(data, inside, patterns)
        cases += found
        problems += its_problems
        if part == "Training":
            problems += [_no_mask(case) for case in found if case.mask is None]
    return cases, problems


def _no_mask(case: FoundCase) -> Problem:
    remedy = "put the mask next to the scan; without it, the scan is used as unlabelled"
    return Problem("warning", case.case_id, case.scan, "a training scan without mask", "", remedy)


LAYOUTS = (
    Layout("atlas", "ATLAS R2.0", "Training/R001/sub-r001s001/ses-1/anat/sub-*_T1w.nii.gz", find_atlas),
    Layout("bids", "BIDS, ATLAS v3", "[CENTRE/]sub-*/[ses-*/]anat/sub-*_T1w.nii.gz", find_bids),
    Layout("plain", "a folder of scans", "*_T1w.nii.gz, or any image that is not named like a mask", find_by_patterns),
)
"""In the order in which `auto` tries them."""
