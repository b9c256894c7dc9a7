"""Which scans of a BIDS data set are meant: by participant, session and share of the work."""

import re
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from mapping_stroke.dataset.bids import find_bids
from mapping_stroke.dataset.cases import FoundCase
from mapping_stroke.dataset.listing import list_images
from mapping_stroke.dataset.patterns import USUAL
from mapping_stroke.errors import CaseError, ConfigError

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


def find_bids_scans(bids_dir: Path, choice: Choice) -> dict[str, FoundCase]:
    """The T1w scans of a data set by the name of their results, in the order of their names.

    Every share of the same scans has every N-th, so that shares are alike; a share of few scans may be empty.

    Raises:
        CaseError: There is no such data set, scan, participant or session, or two scans have the same entities,
            capitals aside.
    """
    if not bids_dir.is_dir():
        raise CaseError(f"{bids_dir}: no such folder; name the folder of a BIDS data set")
    cases, _ = find_bids(bids_dir, list_images(bids_dir), USUAL)
    if not cases:
        raise CaseError(f"{bids_dir}: holds no scan named sub-LABEL[_ses-LABEL]..._T1w; is it a BIDS data set?")
    people = {label.removeprefix("sub-") for label in choice.participants}
    sessions = {label.removeprefix("ses-") for label in choice.sessions}
    _require_labels(people, {case.subject for case in cases}, "participant", bids_dir)
    chosen = [case for case in cases if not people or case.subject in people]
    _require_labels(sessions, {case.session for case in chosen}, "session", bids_dir)
    chosen = [case for case in chosen if not sessions or case.session in sessions]
    named: dict[str, FoundCase] = {}
    known: dict[str, Path] = {}
    for case in sorted(chosen, key=lambda case: (case.case_id, str(case.scan))):
        key = case.case_id.casefold()
        if key in known:
            raise CaseError(
                f"{case.scan}: {known[key]} is named like it but for capitals or what was made of it; move one"
            )
        known[key] = case.scan
        named[f"{case.case_id}_T1w"] = case
    return dict(list(named.items())[_share(choice.shard)])


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
