"""Choose the T1w scans of a BIDS data set, and find participants without one."""

import os
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from mapping_stroke.console import counted, listed, say, warn
from mapping_stroke.dataset.cases import FoundCase
from mapping_stroke.dataset.layouts import (
    IGNORE,
    NO_SCANS_IN,
    PARTICIPANTS,
    BidsIgnore,
    find_bids,
    folder_of_people,
    list_images,
    read_people,
)
from mapping_stroke.dataset.names import USUAL, BidsName, parse_bids_name
from mapping_stroke.errors import CaseError
from mapping_stroke.images.formats import image_suffix
from mapping_stroke.images.image import image_stem
from mapping_stroke.work import slice_of_shard

LISTED = 10
"""Messages name this many items and count the rest."""


def without_scan(
    bids_dir: Path, images: Sequence[Path], scans: Sequence[Path], skipped: Sequence[Path], ignored: BidsIgnore
) -> dict[str, str]:
    """Find participants without a T1w scan: those with a folder or a row in `participants.tsv` but no scan.

    Args:
        bids_dir: Data set.
        images: Its image files that are not ignored, relative to it.
        scans: Its T1w scans in use, relative to it; at least one.
        skipped: Its ignored T1w scans; participants who have one are not reported.
        ignored: The `.bidsignore`; participants whose folder it names are not reported.

    Returns:
        The reason for each, by label, in order; empty if everyone has a scan.
    """
    having = {label for scan in (*scans, *skipped) for label in _labels(scan)}
    found: dict[str, str] = {}
    for around in sorted({folder_of_people(scan) for scan in scans}):
        _, folders, _ = next(os.walk(bids_dir / around), ("", [], []))
        there = {folder.removeprefix("sub-") for folder in folders if folder.startswith("sub-")}
        for label in sorted((there | read_people(bids_dir / around / PARTICIPANTS).keys()) - having):
            folder = around / f"sub-{label}"
            if not ignored.names_folder(folder):
                found[label] = f"no T1w scan: {_reason(folder, images, there)}"
    return dict(sorted(found.items()))


def _labels(scan: Path) -> Set[str]:
    """The participants a scan may belong to, by its name and by its folder."""
    name = parse_bids_name(image_stem(scan))
    folders = {part.removeprefix("sub-") for part in scan.parts[:-1] if part.startswith("sub-")}
    return folders | ({name.entities["sub"]} if name else set())


def _reason(folder: Path, images: Sequence[Path], there: Set[str]) -> str:
    if folder.name.removeprefix("sub-") not in there:
        return f"listed in {PARTICIPANTS}, but there is no folder {folder.as_posix()}"
    inside = [image for image in images if image.is_relative_to(folder) and not set(image.parts) & set(NO_SCANS_IN)]
    if not inside:
        return f"{folder.as_posix()} holds no image"
    kinds = sorted({name.suffix for image in inside if (name := parse_bids_name(image_stem(image)))})
    reason = f"{folder.as_posix()} holds only other images ({', '.join(kinds[:LISTED]) or inside[0].name})"
    return f"{reason}; try `mapping segment` on the UNIT1" if "UNIT1" in kinds else reason


def report_without(without: Mapping[str, str]) -> None:
    """Report participants without a T1w scan and the reasons, but only the first of many."""
    for label, why in list(without.items())[:LISTED]:
        warn(f"sub-{label}: {why}")
    if len(without) > LISTED:
        more = len(without) - LISTED
        lack = "has" if more == 1 else "have"
        warn(f"{counted(more, 'more participant')} {lack} no T1w scan; `group` has a row for each")


@dataclass(frozen=True)
class Choice:
    """Selection from a data set.

    Attributes:
        participants: Labels with or without `sub-`; empty for all.
        sessions: Labels with or without `ses-`; empty for all, and for scans without a session.
        shard: `i/N` for the i-th of N shares; empty for all.
    """

    participants: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    shard: str = ""

    def __post_init__(self) -> None:
        slice_of_shard(self.shard)

    @property
    def people(self) -> Set[str]:
        """Labels without `sub-`, empty for all."""
        return {label.removeprefix("sub-") for label in self.participants}

    @property
    def visits(self) -> Set[str]:
        """Labels without `ses-`, empty for all."""
        return {label.removeprefix("ses-") for label in self.sessions}

    @property
    def share(self) -> slice:
        """The slice that selects the share from any ordered list."""
        return slice_of_shard(self.shard)


@dataclass(frozen=True)
class BidsScans:
    """The chosen scans.

    Attributes:
        cases: Cases by the name of their outputs, in order.
        unclear: Reasons why one of several scans cannot be chosen, by that name; the case is the first of them.
        without: Reasons why a chosen participant has no T1w scan, by label, in order.
        existing: Output names of all scans in the data set, chosen or not, in lower case.
        choice: The selection they result from.
    """

    cases: dict[str, FoundCase]
    unclear: dict[str, str]
    without: dict[str, str]
    existing: Set[str]
    choice: Choice

    def gone(self, names: Iterable[str]) -> list[str]:
        """The output names that the choice includes but whose scans are no longer in the data set, in order."""
        return sorted(name for name in names if name.casefold() not in self.existing and self._chooses(name))[
            self.choice.share
        ]

    def _chooses(self, name: str) -> bool:
        entities, choice = (parse_bids_name(name) or BidsName({}, (), "")).entities, self.choice
        subject, session = entities.get("sub", ""), entities.get("ses", "")
        return subject in (choice.people or {subject}) and session in (choice.visits or {session})


def find_bids_scans(bids_dir: Path, choice: Choice) -> BidsScans:
    """Find the T1w scans in the `sub-*` folders of a data set, or in other folders if there are none.

    A derived scan (`desc`, `space`, ...) is left out if the scan with the same entities exists, and so are scans named
    in `.bidsignore`. A share takes every N-th scan, so that shares are similar; a share of few scans, or a choice of
    participants without scans, may be empty.

    Raises:
        CaseError: There is no such data set, scan, participant or session, or the `.bidsignore` cannot be used.
    """
    if not bids_dir.is_dir():
        raise CaseError(f"{bids_dir}: no such folder; name the folder of a BIDS data set")
    ignored, images = BidsIgnore(bids_dir), list_images(bids_dir)
    used = [image for image in images if not ignored.names(image)]
    skipped = [image for image in set(images) - set(used) if _scan_name(image)]
    if skipped:
        count = counted(len(skipped), "T1w scan")
        say(f"{bids_dir}: skips {count} named in its {IGNORE}, such as {min(skipped)}")
    found, _ = find_bids(bids_dir, used, USUAL)
    if not found:
        left = f" that is not in its {IGNORE}" if skipped else ""
        raise CaseError(f"{bids_dir}: holds no scan named sub-LABEL[_ses-LABEL]..._T1w{left}; is it a BIDS data set?")
    cases, people, visits = _own(bids_dir, found), choice.people, choice.visits
    own = [case.scan.relative_to(bids_dir) for case in cases]
    without = without_scan(bids_dir, used, own, skipped, ignored)
    _require_labels(people, {case.subject for case in cases} | without.keys(), "participant", bids_dir)
    chosen = [case for case in cases if not people or case.subject in people]
    _require_labels(visits, {case.session for case in chosen}, "session", bids_dir)
    chosen = [case for case in chosen if not visits or case.session in visits]
    existing = {name.casefold() for image in images if (name := _scan_name(image))}
    asked = {label: why for label, why in without.items() if not people or label in people}
    return _in_share(bids_dir, chosen, asked, existing, choice)


def _in_share(
    bids_dir: Path, chosen: Sequence[FoundCase], without: dict[str, str], existing: Set[str], choice: Choice
) -> BidsScans:
    """The part of the chosen scans, and of the chosen participants without one, in the share."""
    alike: dict[str, list[FoundCase]] = {}
    for case in sorted(chosen, key=lambda case: (case.case_id, str(case.scan))):
        alike.setdefault(case.case_id.casefold(), []).append(case)  # some disks ignore case
    meant = [_meant(each) for each in list(alike.values())[choice.share]]
    named = {_name(each[0]): each[0] for each in meant}
    unclear = {_name(each[0]): _unclear(bids_dir, each) for each in meant if len(each) > 1}
    return BidsScans(named, unclear, dict(list(without.items())[choice.share]), existing, choice)


def _scan_name(image: Path) -> str:
    """The name of a T1w scan's outputs by its path in the data set, or an empty one for any other image."""
    name = parse_bids_name(image_stem(image))
    return f"{name.case_id}_T1w" if name and name.is_scan and not set(image.parts) & set(NO_SCANS_IN) else ""


def _own(bids_dir: Path, cases: Sequence[FoundCase]) -> Sequence[FoundCase]:
    """Scans in `sub-*` folders of the data set itself, or all scans if there are none, as in a data set of centres."""
    inside = [case.scan.relative_to(bids_dir) for case in cases]
    own = [case for case, path in zip(cases, inside, strict=True) if path.parts[0].startswith("sub-")]
    others = [path for path in inside if not path.parts[0].startswith("sub-")]
    if own and others:
        warn(f"{bids_dir}: skips {counted(len(others), 'T1w scan')} outside its sub-* folders, such as {others[0]}")
    return own or cases


def _meant(alike: Sequence[FoundCase]) -> Sequence[FoundCase]:
    """The scan to use out of several with the same output name, or several if that is unclear."""
    raw = [case for case in alike if image_stem(case.scan) == _name(case)] or alike
    packed = [case for case in raw if image_suffix(case.scan) == ".nii.gz"]
    # the same path in several formats is one scan
    stems = {case.scan.with_name(image_stem(case.scan)) for case in raw}
    if len(raw) == 1 or len(packed) != 1 or len(stems) > 1:
        return raw
    warn(f"{packed[0].scan}: exists in several formats; reads this file")
    return packed


def _name(case: FoundCase) -> str:
    return f"{case.case_id}_T1w"


def _unclear(bids_dir: Path, cases: Sequence[FoundCase]) -> str:
    names = ", ".join(case.scan.relative_to(bids_dir).as_posix() for case in cases[:LISTED])
    return f"{len(cases)} scans would have the same output name, ignoring case ({names}); move or rename all but one"


def _require_labels(asked: Set[str], known: Set[str], kind: str, bids_dir: Path) -> None:
    existing = sorted(known - {""})
    missing = sorted(asked - known)
    if missing:
        names = listed(existing, LISTED)
        raise CaseError(
            f"{bids_dir}: no {kind} {', '.join(missing)} with a T1w scan (only {names or 'none'}); correct the label"
        )
