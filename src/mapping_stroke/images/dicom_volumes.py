"""Split the slices of a DICOM series into volumes, and find the grid of each."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int

from mapping_stroke.errors import ImageError
from mapping_stroke.images.dicom_headers import TRAITS, Slice, hash_pixels
from mapping_stroke.images.nifti import SAME_PLACE_VOX, Affine, voxel_edges_mm

Heights = Float64[np.ndarray, " slices"]
LISTED = 3
"""An error names this many slices, and counts the rest."""
FEW = 10
"""At most one in this many slices, or a single one, may be misplaced; if more are, it is unclear which are right."""
FAR_SLICES = 20
"""A few slices beyond a gap of more steps than this do not belong to the others."""


def call_slices(slices: Sequence[Slice]) -> str:
    """Names for an error: files, or frames if a file has several."""
    names = [
        f"frame {each.frame + 1} of {each.file.name}" if each.frame else each.file.name for each in slices[:LISTED]
    ]
    more = f" and {len(slices) - LISTED} more" if len(slices) > LISTED else ""
    return ", ".join(names) + more


def describe_strangers(slices: Sequence[Slice], strange: Int[np.ndarray, " strange"], how: str) -> str:
    """The error about a few slices that do not lie like the others."""
    named = call_slices([slices[int(index)] for index in strange])
    one = len(strange) == 1
    return (
        f"{named} {'lies' if one else 'lie'} {how} its other {len(slices) - len(strange)} slices: the position in "
        f"{'its header is' if one else 'their headers is'} wrong, or {'it belongs' if one else 'they belong'} to "
        "another scan"
    )


def off_the_steps(heights_mm: Heights, usual_mm: float, tolerance_mm: float) -> Int[np.ndarray, " strange"]:
    """The few ordered slices between the even steps of the others, or far from them, but none if there are many."""
    steps = (heights_mm[:, np.newaxis] - heights_mm) / usual_mm
    fits = np.abs(steps - np.rint(steps)) * usual_mm <= tolerance_mm
    # the slice with which most others agree defines the steps
    on = fits[fits.sum(axis=1).argmax()]
    inside = np.flatnonzero(on)
    # slices beyond a large gap belong to something else
    clusters = np.split(inside, np.flatnonzero(np.diff(heights_mm[inside]) > FAR_SLICES * usual_mm) + 1)
    strange = np.setdiff1d(np.arange(len(heights_mm)), max(clusters, key=len))
    return _if_few(strange, len(heights_mm))


def off_the_line(positions_mm: Float64[np.ndarray, "slices 3"], tolerance_mm: float) -> Int[np.ndarray, " strange"]:
    """The few ordered, evenly spaced slices that lie off a line through the others, but none if there are many."""
    steps = np.arange(len(positions_mm))[:, np.newaxis]
    # medians, which a few misplaced slices do not change
    step_mm = np.median(np.diff(positions_mm, axis=0), axis=0)
    starts_mm = positions_mm - steps * step_mm
    strange = np.flatnonzero(np.linalg.norm(starts_mm - np.median(starts_mm, axis=0), axis=1) > tolerance_mm)
    return _if_few(strange, len(positions_mm))


def _if_few(strange: Int[np.ndarray, " strange"], count: int) -> Int[np.ndarray, " few"]:
    return strange if len(strange) <= max(count // FEW, 1) else strange[:0]


LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""World axes of DICOM and ITK point left and posterior, ours right and anterior."""
SAME_AXES = 2e-3
"""Unit vectors that differ by less count as equal; 0.1 degrees."""
ROUNDED_AXES = 2 * SAME_AXES
"""With rounded axes, the normal of the slices may differ by less from the line of their positions."""
SAME_PLANE_MM = 0.01
"""Slices closer than this lie at the same place."""
REMEDY = "export the complete series again, or convert it with dcm2niix and pass the NIfTI file"


def stack_slices(slices: Sequence[Slice]) -> tuple[list[Slice], Affine]:
    """Order the slices of a volume and place them.

    Returns:
        The slices along the third axis, and the affine: column, row and slice to RAS millimetres.

    Raises:
        ImageError: Slices lack a position, are not parallel, lie at the same place, are not evenly spaced (some may be
            missing), or are displaced sideways (tilted gantry).

    Axes are often rounded while positions are exact: if rounding explains the sideways displacement of the slices, the
    axes are rotated onto the line of the positions and stay orthogonal.
    """
    row, column, normal = _axes(slices)
    positions_mm = np.array([slice_.position_mm for slice_ in slices], dtype=np.float64)
    heights_mm = positions_mm @ normal  # instance numbers may run either way, or be missing
    order = np.argsort(heights_mm, kind="stable")
    positions_mm, heights_mm = positions_mm[order], heights_mm[order]
    ordered = [slices[index] for index in order]
    step_mm = _even_step(ordered, heights_mm)
    between_rows_mm, between_columns_mm = slices[0].spacing_mm or (0.0, 0.0)
    if not min(between_rows_mm, between_columns_mm) > 0:
        raise ImageError(f"its pixels have a spacing of {between_rows_mm:g} x {between_columns_mm:g} mm; {REMEDY}")
    affine = np.eye(4)
    affine[:3, 3] = positions_mm[0]
    edges_mm = np.array([between_columns_mm, between_rows_mm, step_mm])
    # `PixelSpacing` is (between rows, between columns); the first axis runs along a row, over columns
    affine[:3, :3] = np.stack([row, column, normal], axis=1) * edges_mm
    if _aside_mm(positions_mm, affine) > SAME_PLACE_VOX * edges_mm.min():
        affine[:3, :3] = np.stack(_along_positions(row, normal, positions_mm), axis=1) * edges_mm
        _require_straight(ordered, positions_mm, affine)
    return ordered, LPS_TO_RAS @ affine


def lies_with(slice_: Slice, other: Slice) -> bool:
    """Whether two slices can belong to one volume: equal size, parallel axes, equal spacing."""
    if (slice_.facts.rows, slice_.facts.columns) != (other.facts.rows, other.facts.columns):
        return False
    pairs = ((slice_.axes, other.axes, SAME_AXES), (slice_.spacing_mm, other.spacing_mm, SAME_PLANE_MM))
    return all(
        a == b or (a is not None and b is not None and bool(np.allclose(a, b, rtol=0, atol=tolerance)))
        for a, b, tolerance in pairs
    )


def place_along_normal(slice_: Slice) -> float:
    """Position of a slice along its own normal, in whole `SAME_PLANE_MM`, or 0 if it has none."""
    if slice_.position_mm is None or slice_.axes is None:
        return 0.0
    normal = np.cross(slice_.axes[:3], slice_.axes[3:])
    return float(np.rint(np.dot(normal, slice_.position_mm) / SAME_PLANE_MM))


def _axes(slices: Sequence[Slice]) -> tuple[Float64[np.ndarray, "3"], ...]:
    """Unit vectors along rows, down columns, and along the normal of all slices."""
    lost = [each for each in slices if each.position_mm is None or each.axes is None or each.spacing_mm is None]
    if lost:
        raise ImageError(
            f"{len(lost)} of its {len(slices)} slices ({call_slices(lost)}) do{'es' * (len(lost) == 1)} not state "
            f"{'its' if len(lost) == 1 else 'their'} place, expected position, orientation and spacing in numbers; "
            f"{REMEDY}"
        )
    axes = np.array([slice_.axes for slice_ in slices], dtype=np.float64)
    row, column = axes[0, :3], axes[0, 3:]
    if not (abs(np.linalg.norm([row, column], axis=1) - 1).max() < SAME_AXES and abs(row @ column) < SAME_AXES):
        raise ImageError(f"its slices' axes are not orthogonal unit vectors ({_format(axes[0])}); {REMEDY}")
    if np.abs(axes - axes[0]).max() > SAME_AXES:
        raise ImageError(f"its slices are not parallel; {REMEDY}")
    return _orthogonal(row, np.cross(row, column))


def _orthogonal(
    row: Float64[np.ndarray, "3"], normal: Float64[np.ndarray, "3"]
) -> tuple[Float64[np.ndarray, "3"], ...]:
    """Orthogonal unit vectors: nearly along the rows, down the columns, and along the normal."""
    normal = normal / np.linalg.norm(normal)
    row = row - (row @ normal) * normal
    row = row / np.linalg.norm(row)
    return row, np.cross(normal, row), normal


def _along_positions(
    row: Float64[np.ndarray, "3"], normal: Float64[np.ndarray, "3"], positions_mm: Float64[np.ndarray, "slices 3"]
) -> tuple[Float64[np.ndarray, "3"], ...]:
    """The axes rotated onto the line from the first slice to the last, if rounding explains the difference."""
    line = positions_mm[-1] - positions_mm[0]
    line = line / np.linalg.norm(line)
    return _orthogonal(row, line if np.linalg.norm(line - normal) < ROUNDED_AXES else normal)


def _even_step(slices: Sequence[Slice], heights_mm: Float64[np.ndarray, " slices"]) -> float:
    """The distance between ordered slices, which must lie within `SAME_PLACE_VOX` of an even spacing."""
    if len(heights_mm) < 2:
        raise ImageError(f"has 1 slice, expected a volume; {REMEDY}")
    steps_mm = np.diff(heights_mm)
    step_mm, usual_mm = float(heights_mm[-1] - heights_mm[0]) / len(steps_mm), float(np.median(steps_mm))
    if steps_mm.min() < SAME_PLANE_MM:
        first = int(steps_mm.argmin())
        raise ImageError(
            f"has several different slices at one place, such as {call_slices(slices[first : first + 2])}: a "
            "header has a wrong position, or they are several echoes, time points or channels; pass one of them: "
            f"{REMEDY}"
        )
    tolerance_mm = SAME_PLACE_VOX * usual_mm
    even_mm = heights_mm[0] + step_mm * np.arange(len(heights_mm))
    if np.abs(heights_mm - even_mm).max() <= tolerance_mm:
        return step_mm
    strange = off_the_steps(heights_mm, usual_mm, tolerance_mm)
    if len(strange):
        raise ImageError(f"{describe_strangers(slices, strange, 'off the even steps of')}; {REMEDY}")
    # whole multiples of the usual step mean missing slices
    counts = np.rint(steps_mm / usual_mm)
    if np.abs(steps_mm - counts * usual_mm).max() <= tolerance_mm and counts.max() > 1:
        raise ImageError(f"{_gaps(slices, counts)}; {REMEDY}")
    raise ImageError(
        f"its slices lie {steps_mm.min():.3g} to {steps_mm.max():.3g} mm apart, expected an even spacing; {REMEDY}"
    )


def _gaps(slices: Sequence[Slice], counts: Float64[np.ndarray, " gaps"]) -> str:
    """The number and place of missing slices, given the steps from each slice to the next."""
    missing = int((counts - 1).sum())
    gaps = np.flatnonzero(counts > 1)
    between = " and ".join(call_slices([slices[gaps[0] + side]]) for side in (0, 1))
    where = f"between {between}" if len(gaps) == 1 else f"in {len(gaps)} gaps, the first between {between}"
    return f"{missing} of {len(slices) + missing} slices {'is' if missing == 1 else 'are'} missing, {where}"


def _aside_mm(positions_mm: Float64[np.ndarray, "slices 3"], affine: Affine) -> float:
    """The largest distance of a slice from its place by the affine."""
    steps = np.arange(len(positions_mm))[:, np.newaxis]
    return float(np.linalg.norm(positions_mm - (affine[:3, 3] + steps * affine[:3, 2]), axis=1).max())


def _require_straight(slices: Sequence[Slice], positions_mm: Float64[np.ndarray, "slices 3"], affine: Affine) -> None:
    """Raise if slices are displaced sideways from the normal of the first one."""
    farthest_mm, tolerance_mm = _aside_mm(positions_mm, affine), SAME_PLACE_VOX * min(voxel_edges_mm(affine))
    if farthest_mm <= tolerance_mm:
        return
    strange = off_the_line(positions_mm, tolerance_mm)
    if len(strange):
        raise ImageError(f"{describe_strangers(slices, strange, 'beside the line of')}; {REMEDY}")
    raise ImageError(
        f"its slices are displaced sideways by up to {farthest_mm:.1f} mm (tilted gantry?), expected a "
        f"straight stack; resample it onto an orthogonal grid: {REMEDY}"
    )


def _format(numbers: Sequence[float] | np.ndarray) -> str:
    return " ".join(f"{number:.3g}" for number in numbers)


FEWEST_SLICES = 8
"""Fewer slices are not a volume."""
SHARED_PLACES = 1.5
"""Volumes of one series share positions: fewer than this times their slices; two halves would have twice as many."""
IMAGE_TYPE, FOLDER = "image type", "folder"
"""Two of `TRAITS`: the image type marks images derived from a scan, the folder is that of the file."""


@dataclass(frozen=True, eq=False)
class Volume:
    """Slices that belong together.

    Attributes:
        slices: Sorted by file and frame; at least one.
        trait: Difference from the other volumes of its series; empty if it is the only one.
        copies: Number of further files with copies of its slices.
    """

    slices: tuple[Slice, ...]
    trait: str = ""
    copies: int = 0


def find_volumes(slices: Sequence[Slice], *, guessed: bool = False) -> tuple[list[Volume], int]:
    """The volumes of one series, and the number of its images that belong to none.

    Args:
        slices: Slices of one series.
        guessed: Whether it is only a guess that they form one series.

    Of repeated images, one is kept. A few images that do not fit a volume, such as a key image or a secondary capture,
    are left out if there is a volume; if there is none, every group is given.
    """
    kept, twins = _without_copies(slices)
    parts: list[tuple[str, list[Slice]]] = []
    for group in _alike(kept):
        once, also = _without_equals(group)
        twins += also
        parts += _split(once, TRAITS, guessed=guessed)
    large = [part for part in parts if len(part[1]) >= FEWEST_SLICES]
    left_out = sum(len(part) for _, part in parts) - sum(len(part) for _, part in large) if large else 0
    several = len(large or parts) > 1
    return [
        Volume(tuple(part), name if several else "", _copies(part, twins)) for name, part in large or parts
    ], left_out


def numbers_repeat(slices: Sequence[Slice]) -> bool:
    """Whether some images, but not all, share a number, which indicates several series."""
    numbers = [(slice_.number, slice_.frame) for slice_ in slices if slice_.number is not None]
    return len(set(numbers)) < len(numbers) and len({number for number, _ in numbers}) > 1


Twins = list[tuple[Slice, Slice]]
"""Pairs of a kept slice and a dropped copy of it."""


def _copies(kept: Sequence[Slice], twins: Twins) -> int:
    files = {slice_.file for slice_ in kept}
    return len({twin.file for slice_, twin in twins if slice_.file in files} - files)


def _without_copies(slices: Sequence[Slice]) -> tuple[list[Slice], Twins]:
    """Keep one slice per UID, from the largest file since a copy may be truncated, sorted by file and frame."""
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
    """Groups of slices that can be stacked."""
    groups: list[list[Slice]] = []
    for slice_ in slices:
        group = next((group for group in groups if lies_with(slice_, group[0])), None)
        if group is None:
            groups.append([slice_])
        else:
            group.append(slice_)
    return groups


def _without_equals(slices: list[Slice]) -> tuple[list[Slice], Twins]:
    """The slices without repeats that differ only in their UID, as in images that were sent twice.

    An unreadable slice counts as equal to a readable one at the same place with the same traits.
    """
    # pixels are costly to read, so only slices at the same place with the same traits are compared
    suspects = sorted((slice_ for slice_ in slices if slice_.position_mm is not None), key=_place_and_traits)
    groups = [[*group] for _, group in groupby(suspects, _place_and_traits)]
    groups = [group for group in groups if len({each.file for each in group}) > 1 and group[0].facts.modality == "MR"]
    doubted = sorted((slice_ for group in groups for slice_ in group), key=_file_and_frame)
    hashes = {(slice_.file, slice_.frame): pixels for slice_, pixels in zip(doubted, hash_pixels(doubted), strict=True)}
    twins: Twins = []
    for group in groups:
        first: dict[str, Slice] = {}
        hashed = [(hashes[slice_.file, slice_.frame], slice_) for slice_ in sorted(group, key=_file_and_frame)]
        for pixels, slice_ in sorted(hashed, key=lambda each: not each[0]):  # unreadable ones come last
            kept = first.setdefault(pixels, slice_) if pixels else next(iter(first.values()), slice_)
            if kept is not slice_:
                twins.append((kept, slice_))
    dropped = {(twin.file, twin.frame) for _, twin in twins}
    return [slice_ for slice_ in slices if (slice_.file, slice_.frame) not in dropped], twins


def _place_and_traits(slice_: Slice) -> tuple[object, ...]:
    assert slice_.position_mm is not None
    place = [float(number) for number in np.rint(np.array(slice_.position_mm) / SAME_PLANE_MM)]
    return (*place, *(slice_.traits[trait] for trait in TRAITS if trait != FOLDER))


def _split(
    slices: list[Slice], traits: Sequence[str], name: str = "", *, guessed: bool
) -> list[tuple[str, list[Slice]]]:
    """Split slices that form no volume together by the first traits that separate them, until none repeats."""
    repeats = _repeats(slices, guessed=guessed)
    if not repeats and _stacks(slices):
        return [(name, slices)]
    for index, trait in enumerate(traits):
        if not repeats and trait != IMAGE_TYPE:
            continue  # any other trait may split a volume with a gap into two without one
        parts: dict[str, list[Slice]] = {}
        for slice_ in slices:
            parts.setdefault(slice_.traits[trait], []).append(slice_)
        if _separates([*parts.values()], trait, repeats=repeats, guessed=guessed):
            return [
                found
                for value, part in parts.items()
                for found in _split(part, traits[index + 1 :], _named(name, trait, value), guessed=guessed)
            ]
    return [(name, slices)]


def _named(name: str, trait: str, value: str) -> str:
    added = f"{trait} {Path(value).name if trait == FOLDER else value}"
    return f"{name}, {added}" if name else added


def _separates(parts: Sequence[list[Slice]], trait: str, *, repeats: bool, guessed: bool) -> bool:
    """Whether a trait splits slices into volumes, or into a volume and other images.

    Volumes are parts of equal size at the same places; or folders, if it is only a guess that they hold one series.
    Other images lie only at places of the volume, or are derived, or are too few for a volume.
    """
    count = sum(map(len, parts))
    if len(parts) == 1 or len(parts) == count:  # the same or another value in every slice separates nothing
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
    return trait == IMAGE_TYPE and (few or all(_is_derived(part) and not _is_derived(main) for part in others))


def _is_derived(slices: Sequence[Slice]) -> bool:
    return "DERIVED" in slices[0].image_type


def _repeats(slices: Sequence[Slice], *, guessed: bool) -> bool:
    """Whether several slices lie at the same place, or their numbers indicate several series."""
    return len(set(map(place_along_normal, slices))) < len(slices) or (guessed and numbers_repeat(slices))


def _stacks(slices: Sequence[Slice]) -> bool:
    try:
        stack_slices(slices)
    except ImageError:
        return False
    return True
