"""Participants of a BIDS data set of whom there is no T1w scan, and why."""

import os
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

from mapping_stroke.console import warn
from mapping_stroke.dataset.bids import NO_SCANS_IN, PARTICIPANTS, BidsIgnore, folder_of_people, read_people
from mapping_stroke.dataset.bids_names import parse_bids_name
from mapping_stroke.image import image_stem

NAMED = 10
"""Of more, the rest is counted."""


def without_scan(
    bids_dir: Path, images: Sequence[Path], scans: Sequence[Path], passed: Sequence[Path], ignored: BidsIgnore
) -> dict[str, str]:
    """Participants without a T1w scan: those that have a folder, or a row in `participants.tsv`, and no scan.

    Args:
        bids_dir: Data set.
        images: Its image files but those that are ignored, relative to it.
        scans: Its T1w scans that are used, relative to it; at least one.
        passed: Those that are ignored: who has one is not told.
        ignored: What `.bidsignore` names: participants whose folder it names are not told.

    Returns:
        Why there is none, by label, in their order; empty if everyone has a scan.
    """
    having = {label for scan in (*scans, *passed) for label in _labels(scan)}
    found: dict[str, str] = {}
    for around in sorted({folder_of_people(scan) for scan in scans}):
        _, folders, _ = next(os.walk(bids_dir / around), ("", [], []))
        there = {folder.removeprefix("sub-") for folder in folders if folder.startswith("sub-")}
        for label in sorted((there | read_people(bids_dir / around / PARTICIPANTS).keys()) - having):
            folder = around / f"sub-{label}"
            if not ignored.names_folder(folder):
                found[label] = f"no T1w scan: {_why(folder, images, there)}"
    return dict(sorted(found.items()))


def _labels(scan: Path) -> Set[str]:
    """Whose a scan is, by its name and by its folder, which may differ."""
    name = parse_bids_name(image_stem(scan))
    folders = {part.removeprefix("sub-") for part in scan.parts[:-1] if part.startswith("sub-")}
    return folders | ({name.entities["sub"]} if name else set())


def _why(folder: Path, images: Sequence[Path], there: Set[str]) -> str:
    if folder.name.removeprefix("sub-") not in there:
        return f"named in {PARTICIPANTS} only, there is no folder {folder.as_posix()}"
    inside = [image for image in images if image.is_relative_to(folder) and not set(image.parts) & set(NO_SCANS_IN)]
    if not inside:
        return f"{folder.as_posix()} holds no image"
    kinds = sorted({name.suffix for image in inside if (name := parse_bids_name(image_stem(image)))})
    told = f"{folder.as_posix()} holds other images only ({', '.join(kinds[:NAMED]) or inside[0].name})"
    return f"{told}; try `mapping segment` on the UNIT1" if "UNIT1" in kinds else told


def tell_without(without: Mapping[str, str]) -> None:
    """Tell of each participant without a T1w scan why there is none, of many the first."""
    for label, why in list(without.items())[:NAMED]:
        warn(f"sub-{label}: {why}")
    if len(without) > NAMED:
        warn(f"{len(without) - NAMED} more participants have no T1w scan; `group` has a row for each")
