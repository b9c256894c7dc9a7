"""Open a folder of segmented scans, and take those that a person accepted or corrected as labelled cases."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mapping_stroke.cohort.bids import DESCRIPTION, BidsLayout
from mapping_stroke.cohort.record import Notes
from mapping_stroke.cohort.results import FlatLayout, OutputLayout, is_source
from mapping_stroke.cohort.review import Review, final_mask, is_outdated, is_rating_outdated, read_review
from mapping_stroke.console import counted, track
from mapping_stroke.dataset.cases import FoundCase, Placement
from mapping_stroke.dataset.checks import Problem, problem_from
from mapping_stroke.dataset.layouts import LAYOUTS, Layout, Sites, holds_results
from mapping_stroke.dataset.names import Patterns, parse_bids_name
from mapping_stroke.errors import CaseError, MappingError, RunFolderError
from mapping_stroke.files import given_path, read_object
from mapping_stroke.run_folder import BRAIN_SUFFIX, FORMAT_VERSION, OWNER_FILE, RECORD_KEY, read_identity

AGAIN = "segment it again, and check its mask"
WRITERS = "`mapping segment` or `mapping bids`"
KINDS = (FlatLayout.kind, BidsLayout.kind)


@dataclass(frozen=True)
class _Result:
    """One segmented scan: its name, its stamp, and what people say about it."""

    name: str
    stamp: Mapping[str, Any]
    review: Review

    @property
    def left_out(self) -> str:
        """Why its mask is no training label; empty if it is one."""
        if self.review.rating in ("reject", "doubtful"):
            return {"reject": "rejected", "doubtful": "doubtful"}[self.review.rating]
        return "" if self.review.rating == "accept" or self.review.edited else "not reviewed"


def find_reviewed(data: Path, images: Sequence[Path], patterns: Patterns) -> tuple[list[FoundCase], list[Problem]]:
    """Find the accepted and the corrected scans in a folder of `mapping segment` or `mapping bids`.

    The mask of a case is the corrected one or else the model's. Its scan is the file that was segmented, which must not
    have changed since: each is read once to compare its hash.

    Args:
        data: The folder.
        images: Not used, like `patterns`; all finders have the same arguments.
        patterns: Not used.

    Returns:
        Cases by name, and problems. No case if the folder holds something else than such results.

    Raises:
        CaseError: No scan has been accepted or corrected.
        RunFolderError: The results are those of another version.
    """
    if not holds_results(data) or read_identity(data).get("kind") not in KINDS:
        return [], []
    layout = open_layout(data)
    stamps = sorted(Notes(layout).stamps().items())
    results = [_Result(name, stamp, read_review(layout, name)) for name, stamp in stamps]
    used = [result for result in results if not result.left_out]
    reasons = Counter(result.left_out for result in results if result.left_out)
    listed = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    if not used:
        found = f"none of {counted(len(results), 'segmented scan')} was accepted or corrected"
        raise CaseError(f"{data}: {found}{listed and f' ({listed})'}; review them with `mapping app {data}`")
    brain_only = _reads_only_brains(data)
    cases: list[FoundCase] = []
    problems: list[Problem] = []
    for result in track(used, "Comparing scans with what was segmented", len(used)):
        cases.append(_case(layout, result, brain_only=brain_only))
        problems += _problems(layout, result, cases[-1])
    if reasons:
        found = f"{reasons.total()} of {counted(len(results), 'scan')} left out: {listed}"
        remedy = "accept or correct them with `mapping app` to use them"
        problems.append(Problem("warning", "", data, found, "", remedy))
    return cases, problems


def _reads_only_brains(folder: Path) -> bool:
    """Whether the model that segmented the scans reads only brains; results of earlier versions do not say."""
    reads = read_object(folder / OWNER_FILE).get(RECORD_KEY, {}).get("reads", {})
    return bool(reads.get("shows", "brain") == "brain")


def _case(layout: OutputLayout, result: _Result, *, brain_only: bool) -> FoundCase:
    stamp, scan = result.stamp, given_path(Path(result.stamp["source"].get("scan", result.name)))
    name = parse_bids_name(result.name)
    case_id, subject, session = result.name, result.name, ""
    if name is not None and name.is_scan:
        case_id, subject, session = name.case_id, name.entities["sub"], name.entities.get("ses", "")
    brain, registration = stamp.get("brain"), stamp.get("registration")
    placement = None
    if brain:
        to_mni = registration and tuple(tuple(map(float, row)) for row in registration["to_mni"])
        path = layout.folder / layout.relative(result.name, BRAIN_SUFFIX)
        placement = Placement(path, brain["source"] == "shown", brain_only, to_mni or None)
    return FoundCase(
        case_id=case_id,
        subject=subject,
        session=session,
        site=_site(layout, scan, subject),
        scan=scan,
        mask=final_mask(layout, result.name),
        series=stamp["source"].get("series", ""),
        placement=placement,
    )


def _site(layout: OutputLayout, scan: Path, subject: str) -> str:
    """The centre of a scan in a BIDS data set; empty if it is unknown."""
    if not isinstance(layout, BidsLayout):
        return ""
    raw = layout.bids_dir
    inside = next((root for root in (raw, raw.resolve()) if scan.is_relative_to(root)), None)
    return "" if inside is None else Sites(raw).of(scan.relative_to(inside), subject)


def _problems(layout: OutputLayout, result: _Result, case: FoundCase) -> list[Problem]:
    """What keeps the result from being a case, or casts doubt on it."""
    problems = [_error(case, case.scan, *found) for found in [_source_problem(result, case)] if found]
    if case.placement and not case.placement.brain.is_file():
        problems.append(_error(case, case.placement.brain, "its brain mask is gone", AGAIN))
    if result.review.edited and is_outdated(layout, result.name, result.review):
        found, remedy = "the scan was segmented again after its mask was corrected", "check the corrected mask"
        problems.append(Problem("warning", case.case_id, case.mask or case.scan, found, "", remedy))
    elif not result.review.edited and is_rating_outdated(layout, result.name, result.review):
        found = "the scan was segmented again, with another mask, after it was accepted"
        problems.append(_error(case, case.mask or case.scan, found, "check the new mask and rate it again"))
    return problems


def _error(case: FoundCase, file: Path, found: str, remedy: str) -> Problem:
    return Problem("error", case.case_id, file, found, "", remedy)


def _source_problem(result: _Result, case: FoundCase) -> tuple[str, str] | None:
    """What is wrong with the file that was segmented, and the remedy; None if it is unchanged."""
    source = result.stamp["source"]
    if "sha256" not in source:
        return "was segmented from memory in Python, so its file is not known", "segment the file itself"
    try:
        if not case.scan.exists():
            relative = not Path(source["scan"]).is_absolute()
            back = "run the command in the folder in which the scans were segmented, or " if relative else ""
            return "the segmented scan is no longer there", f"{back}put it back"
        if not is_source(source, case.scan, case.series):
            return "the scan has changed since it was segmented", AGAIN
    except MappingError as error:
        problem = problem_from(error, case.case_id, case.scan)
        return problem.found, problem.remedy
    except OSError as error:
        return f"cannot be read ({error.strerror})", "check its permissions and the disk"
    return None


REVIEWED = Layout("results", "reviewed results", "NAME_mask.nii.gz, in a folder of `mapping segment`", find_reviewed)
WITH_REVIEWED = (REVIEWED, *LAYOUTS)
"""All layouts that commands read: first, reviewed results."""


def open_layout(path: Path) -> OutputLayout:
    """The layout of a folder that `mapping segment` or `mapping bids` has written.

    Raises:
        RunFolderError: It holds other work, or results of another version, or nothing of this program.
    """
    identity = read_identity(path)
    if identity.get("format") != FORMAT_VERSION:
        raise RunFolderError(
            f"{path}: was written by another version (format {identity.get('format')}, expected {FORMAT_VERSION}); "
            "open it with that version, or segment the scans again"
        )
    if identity.get("kind") == FlatLayout.kind:
        return FlatLayout(path)
    if identity.get("kind") == BidsLayout.kind:
        raw = read_object(path / DESCRIPTION).get("DatasetLinks", {}).get("raw", ".")
        return BidsLayout(path, (path / raw).resolve())
    work = identity.get("kind") or identity.get("command")
    raise RunFolderError(f"{path}: holds other work ({work}); name a folder that {WRITERS} wrote, or a new one")
