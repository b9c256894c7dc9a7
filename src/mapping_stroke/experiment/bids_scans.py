"""Which scans of a BIDS data set are meant: by participant, session and share of the work."""

import re
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from mapping_stroke.console import counted, warn
from mapping_stroke.dataset.bids import find_bids
from mapping_stroke.dataset.cases import FoundCase
from mapping_stroke.dataset.listing import list_images
from mapping_stroke.dataset.patterns import USUAL
from mapping_stroke.errors import CaseError, ConfigError
from mapping_stroke.image import image_stem, image_suffix

_SHARD = re.compile(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})")
NAMED = 10
"""Of more labels, the rest is counted."""


@dataclass(frozen=True)
class Choice:
    """Part of a data set.

    Attributes:
        participants: Labels with or without `sub-`; empty for all.
        sessions: Labels with or without `ses-`; empty for all, and for scans without a session.
        shard: `i/N` for the i-th of N shares; empty for all.
    """

    participants: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    shard: str = ""

    def __post_init__(self) -> None:
        found = _SHARD.fullmatch(self.shard)
        if self.shard and not (found and int(found[1]) <= int(found[2])):
            raise ConfigError(f"--shard {self.shard}: expected i/N with 1 <= i <= N, such as 2/8")


@dataclass(frozen=True)
class BidsScans:
    """The chosen scans.

    Attributes:
        cases: By the name of their results, in the order of their names.
        unclear: Why it cannot be told which of several scans is meant, by that name; the case is the first of them.
    """

    cases: dict[str, FoundCase]
    unclear: dict[str, str]


def find_bids_scans(bids_dir: Path, choice: Choice) -> BidsScans:
    """The T1w scans of a data set: those in its own `sub-*`, and only where there is none, those in other folders.

    Of scans with the same entities, what was made of a scan (`desc`, `space`, ...) is left out where the scan is there.
    Every share of the same scans has every N-th, so that shares are alike; a share of few scans may be empty.

    Raises:
        CaseError: There is no such data set, scan, participant or session.
    """
    if not bids_dir.is_dir():
        raise CaseError(f"{bids_dir}: no such folder; name the folder of a BIDS data set")
    found, _ = find_bids(bids_dir, list_images(bids_dir), USUAL)
    if not found:
        raise CaseError(f"{bids_dir}: holds no scan named sub-LABEL[_ses-LABEL]..._T1w; is it a BIDS data set?")
    cases = _own(bids_dir, found)
    people = {label.removeprefix("sub-") for label in choice.participants}
    sessions = {label.removeprefix("ses-") for label in choice.sessions}
    _require_labels(people, {case.subject for case in cases}, "participant", bids_dir)
    chosen = [case for case in cases if not people or case.subject in people]
    _require_labels(sessions, {case.session for case in chosen}, "session", bids_dir)
    chosen = [case for case in chosen if not sessions or case.session in sessions]
    alike: dict[str, list[FoundCase]] = {}
    for case in sorted(chosen, key=lambda case: (case.case_id, str(case.scan))):
        alike.setdefault(case.case_id.casefold(), []).append(case)  # capitals do not tell files apart on every disk
    meant = [_meant(each) for each in list(alike.values())[_share(choice.shard)]]
    named = {_name(each[0]): each[0] for each in meant}
    return BidsScans(named, {_name(each[0]): _unclear(bids_dir, each) for each in meant if len(each) > 1})


def _own(bids_dir: Path, cases: Sequence[FoundCase]) -> Sequence[FoundCase]:
    """Those in folders of the data set's own participants; all where there are none, as in a data set of centres."""
    inside = [case.scan.relative_to(bids_dir) for case in cases]
    own = [case for case, path in zip(cases, inside, strict=True) if path.parts[0].startswith("sub-")]
    others = [path for path in inside if not path.parts[0].startswith("sub-")]
    if own and others:
        warn(f"{bids_dir}: passes over {counted(len(others), 'T1w scan')} outside of its sub-*, such as {others[0]}")
    return own or cases


def _meant(alike: Sequence[FoundCase]) -> Sequence[FoundCase]:
    """Of scans whose results would have one name, the one that is meant; several where that cannot be told."""
    raw = [case for case in alike if image_stem(case.scan) == _name(case)] or alike
    packed = [case for case in raw if image_suffix(case.scan) == ".nii.gz"]
    stems = {case.scan.with_name(image_stem(case.scan)) for case in raw}
    if len(raw) == 1 or len(packed) != 1 or len(stems) > 1:
        return raw
    warn(f"{packed[0].scan}: lies there in other formats, too; takes this file")
    return packed


def _name(case: FoundCase) -> str:
    return f"{case.case_id}_T1w"


def _unclear(bids_dir: Path, cases: Sequence[FoundCase]) -> str:
    told = ", ".join(case.scan.relative_to(bids_dir).as_posix() for case in cases[:NAMED])
    return f"{len(cases)} scans would have results of one name, capitals aside ({told}); move or rename all but one"


def _share(shard: str) -> slice:
    if not shard:
        return slice(None)
    number, count = map(int, shard.split("/"))
    return slice(number - 1, None, count)


def _require_labels(asked: Set[str], known: Set[str], what: str, where: Path) -> None:
    there = sorted(known - {""})
    missing = sorted(asked - known)
    if missing:
        named = ", ".join(there[:NAMED]) + (f" and {len(there) - NAMED} more" if len(there) > NAMED else "")
        raise CaseError(
            f"{where}: no {what} {', '.join(missing)} with a T1w scan (there are {named or 'none'}); correct the label"
        )
