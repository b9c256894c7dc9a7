"""From the slices of one series to its volumes: what is there twice, what lies apart, what belongs to none."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from mapping_stroke.dicom.frames import hash_pixels
from mapping_stroke.dicom.grid import SAME_PLANE_MM, lies_with, place_along_normal, stack_slices
from mapping_stroke.dicom.headers import TRAITS, Slice
from mapping_stroke.errors import ImageError

FEWEST_SLICES = 8
"""Fewer are no volume."""
SHARED_PLACES = 1.5
"""Volumes of one series have fewer places than so many times their slices: halves of one volume have twice as many."""
IMAGE_TYPE, FOLDER = "image type", "folder"
"""Of `TRAITS`: marks what was computed of a scan, and where a file lies."""


@dataclass(frozen=True, eq=False)
class Volume:
    """Slices that belong together.

    Attributes:
        slices: Sorted by file and frame; at least one.
        trait: What sets it apart from the others of its series; empty where there are none.
        copies: How many further files hold slices of it once more.
    """

    slices: tuple[Slice, ...]
    trait: str = ""
    copies: int = 0


def find_volumes(slices: Sequence[Slice], *, guessed: bool = False) -> tuple[list[Volume], int]:
    """The volumes of one series, and how many of its images are left out because they belong to none.

    Args:
        slices: Of one series.
        guessed: Whether it is only a guess that they are of one series.

    Of images that are there more than once, one is kept. Few images that do not fit a volume, such as a key image or a
    secondary capture, are left out if there is a volume beside them; if there is none, every group is given.
    """
    kept, twins = _without_copies(slices)
    parts: list[tuple[str, list[Slice]]] = []
    for group in _alike(kept):
        once, also = _without_equals(group)
        twins += also
        parts += _apart(once, TRAITS, guessed=guessed)
    large = [part for part in parts if len(part[1]) >= FEWEST_SLICES]
    left_out = sum(len(part) for _, part in parts) - sum(len(part) for _, part in large) if large else 0
    several = len(large or parts) > 1
    return [
        Volume(tuple(part), name if several else "", _copies(part, twins)) for name, part in large or parts
    ], left_out


def numbers_repeat(slices: Sequence[Slice]) -> bool:
    """Whether images have the number of another, as those of several series have; not where all have the same."""
    numbers = [(slice_.number, slice_.frame) for slice_ in slices if slice_.number is not None]
    return len(set(numbers)) < len(numbers) and len({number for number, _ in numbers}) > 1


Twins = list[tuple[Slice, Slice]]
"""A slice that is kept, and one that is not since it is the same."""


def _copies(kept: Sequence[Slice], twins: Twins) -> int:
    files = {slice_.file for slice_ in kept}
    return len({twin.file for slice_, twin in twins if slice_.file in files} - files)


def _without_copies(slices: Sequence[Slice]) -> tuple[list[Slice], Twins]:
    """One of those that have one UID, the longest, since a copy may have been cut off; sorted by file and frame."""
    groups: dict[object, list[Slice]] = {}
    for slice_ in slices:
        traits = [slice_.traits[trait] for trait in TRAITS if trait != FOLDER]
        key = (slice_.uid, slice_.frame, slice_.position_mm, *traits) if slice_.uid else (slice_.file, slice_.frame)
        groups.setdefault(key, []).append(slice_)
    found = [sorted(group, key=_length_and_name) for group in groups.values()]
    twins = [(group[0], twin) for group in found for twin in group[1:]]
    return sorted((group[0] for group in found), key=_file_and_frame), twins


def _length_and_name(slice_: Slice) -> tuple[int, str]:
    return -slice_.file.stat().st_size, os.fspath(slice_.file)


def _file_and_frame(slice_: Slice) -> tuple[str, int]:
    return os.fspath(slice_.file), slice_.frame


def _alike(slices: Sequence[Slice]) -> list[list[Slice]]:
    """Groups of slices that can be stacked upon one another."""
    groups: list[list[Slice]] = []
    for slice_ in slices:
        group = next((group for group in groups if lies_with(slice_, group[0])), None)
        if group is None:
            groups.append([slice_])
        else:
            group.append(slice_)
    return groups


def _without_equals(slices: list[Slice]) -> tuple[list[Slice], Twins]:
    """One of those that have another UID but the same place, traits and pixels, as images that were sent twice have.

    One that cannot be read counts as equal to one that can.
    """
    suspects = sorted((slice_ for slice_ in slices if slice_.position_mm is not None), key=_place_and_traits)
    groups = [[*group] for _, group in groupby(suspects, _place_and_traits)]
    groups = [group for group in groups if len({each.file for each in group}) > 1 and group[0].facts.modality == "MR"]
    doubted = sorted((slice_ for group in groups for slice_ in group), key=_file_and_frame)
    hashes = {(slice_.file, slice_.frame): told for slice_, told in zip(doubted, hash_pixels(doubted), strict=True)}
    twins: Twins = []
    for group in groups:
        first: dict[str, Slice] = {}
        told = [(hashes[slice_.file, slice_.frame], slice_) for slice_ in sorted(group, key=_file_and_frame)]
        for pixels, slice_ in sorted(told, key=lambda each: not each[0]):  # what cannot be read comes last
            kept = first.setdefault(pixels, slice_) if pixels else next(iter(first.values()), slice_)
            if kept is not slice_:
                twins.append((kept, slice_))
    dropped = {(twin.file, twin.frame) for _, twin in twins}
    return [slice_ for slice_ in slices if (slice_.file, slice_.frame) not in dropped], twins


def _place_and_traits(slice_: Slice) -> tuple[object, ...]:
    assert slice_.position_mm is not None
    place = [float(number) for number in np.rint(np.array(slice_.position_mm) / SAME_PLANE_MM)]
    return (*place, *(slice_.traits[trait] for trait in TRAITS if trait != FOLDER))


def _apart(
    slices: list[Slice], traits: Sequence[str], name: str = "", *, guessed: bool
) -> list[tuple[str, list[Slice]]]:
    """Slices told apart if they make no volume together: by the first traits that do it, until none repeats."""
    repeats = _repeats(slices, guessed=guessed)
    if not repeats and _stacks(slices):
        return [(name, slices)]
    for index, trait in enumerate(traits):
        if not repeats and trait != IMAGE_TYPE:
            continue  # any other may split a volume with a gap into two that have none
        parts: dict[str, list[Slice]] = {}
        for slice_ in slices:
            parts.setdefault(slice_.traits[trait], []).append(slice_)
        if _tells_apart([*parts.values()], trait, repeats=repeats, guessed=guessed):
            return [
                found
                for value, part in parts.items()
                for found in _apart(part, traits[index + 1 :], _named(name, trait, value), guessed=guessed)
            ]
    return [(name, slices)]


def _named(name: str, trait: str, value: str) -> str:
    told = f"{trait} {Path(value).name if trait == FOLDER else value}"
    return f"{name}, {told}" if name else told


def _tells_apart(parts: Sequence[list[Slice]], trait: str, *, repeats: bool, guessed: bool) -> bool:
    """Whether a trait splits slices into volumes, or into a volume and what is no part of it.

    Volumes are parts of one size at the same places; and folders, if it is only a guess that they hold one series. What
    is no part of a volume lies at its places only, or is computed, or is too little for a volume.
    """
    count = sum(map(len, parts))
    if len(parts) == 1 or len(parts) == count:
        return False
    main = max(parts, key=len)
    everywhere = {place_along_normal(slice_) for part in parts for slice_ in part}
    if repeats and len(main) * len(parts) == count and len(everywhere) < SHARED_PLACES * len(main):
        return True
    if guessed and trait == FOLDER and not any(_repeats(part, guessed=True) for part in parts):
        return True
    if len(main) < FEWEST_SLICES or _repeats(main, guessed=guessed) or not _stacks(main):
        return False
    others = [part for part in parts if part is not main]
    if everywhere == set(map(place_along_normal, main)):
        return True
    few = count - len(main) < FEWEST_SLICES
    return trait == IMAGE_TYPE and (few or all(_is_computed(part) and not _is_computed(main) for part in others))


def _is_computed(slices: Sequence[Slice]) -> bool:
    return "DERIVED" in slices[0].image_type


def _repeats(slices: Sequence[Slice], *, guessed: bool) -> bool:
    """Whether several slices lie at one place, or say by their numbers that they are of several series."""
    return len(set(map(place_along_normal, slices))) < len(slices) or (guessed and numbers_repeat(slices))


def _stacks(slices: Sequence[Slice]) -> bool:
    try:
        stack_slices(slices)
    except ImageError:
        return False
    return True
