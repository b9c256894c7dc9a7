"""Where data sets keep their scans and masks: one finder per layout, and choosing among them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mapping_stroke.dataset.bids import IGNORE, find_bids
from mapping_stroke.dataset.cases import FoundCase
from mapping_stroke.dataset.listing import list_images
from mapping_stroke.dataset.patterns import USUAL, Patterns, find_by_patterns
from mapping_stroke.dataset.problems import Problem
from mapping_stroke.errors import CaseError, ConfigError

LayoutName = Literal["auto", "atlas", "bids", "plain"]


@dataclass(frozen=True)
class Findings:
    """What a folder holds, by the names of its files.

    Attributes:
        layout: The layout it follows.
        cases: In the order of their scans' paths; ids may still come twice.
        problems: What the names alone tell, such as two masks for one scan.
    """

    layout: "Layout"
    cases: tuple[FoundCase, ...]
    problems: tuple[Problem, ...]


Finder = Callable[[Path, Sequence[Path], Patterns], tuple[list[FoundCase], list[Problem]]]
"""From the folder, its image files (relative) and the name patterns to cases and problems; no case if it is not its."""


@dataclass(frozen=True)
class Layout:
    """One way to keep a data set.

    Attributes:
        name: As given to `--layout`.
        title: For people.
        example: A scan's path, to say what was looked for.
        find: Its finder.
    """

    name: LayoutName
    title: str
    example: str
    find: Finder


def find_cases(data: Path, layout: LayoutName = "auto", patterns: Patterns = USUAL) -> Findings:
    """Find the scans of a data set and their masks, without opening any file.

    Args:
        data: Folder of the data set.
        layout: `auto` takes the first of `LAYOUTS` that finds a scan.
        patterns: Of a plain folder; giving one chooses that layout.

    Returns:
        At least one case.

    Raises:
        CaseError: The folder does not exist, or no scan is found in it, or no mask although a pattern was given.
        ConfigError: Patterns are given for a layout that has none, or a pattern is malformed.
    """
    if not data.is_dir():
        found = "is a file, expected a folder" if data.exists() else "no such folder"
        raise CaseError(f"{data}: {found}; give the folder that holds the scans")
    if patterns.given and layout not in ("auto", "plain"):
        raise ConfigError(f"--scans and --masks belong to the plain layout, got --layout {layout}; leave one out")
    asked = "plain" if patterns.given else layout
    tried = [row for row in LAYOUTS if asked in ("auto", row.name)]
    images = list_images(data)
    for row in tried:
        cases, problems = row.find(data, images, patterns)
        if cases:
            return Findings(row, tuple(cases), tuple(problems))
        for problem in problems:
            if problem.file.name == IGNORE:  # another layout would take the scans that it names
                raise CaseError(f"{data}: holds no other scan: {problem.line}")
    looked_for = f"'{patterns.scans}'" if patterns.scans else "; ".join(f"{row.title}: {row.example}" for row in tried)
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
    remedy = "add the mask beside the scan, or go on: it is used as an unlabelled scan"
    return Problem("warning", case.case_id, case.scan, "a training scan without mask", "", remedy)


LAYOUTS = (
    Layout("atlas", "ATLAS R2.0", "Training/R001/sub-r001s001/ses-1/anat/sub-*_T1w.nii.gz", find_atlas),
    Layout("bids", "BIDS, ATLAS v3", "[CENTRE/]sub-*/[ses-*/]anat/sub-*_T1w.nii.gz", find_bids),
    Layout("plain", "a folder of scans", "*_T1w.nii.gz, or any image that is not named like a mask", find_by_patterns),
)
"""In the order in which `auto` tries them."""
