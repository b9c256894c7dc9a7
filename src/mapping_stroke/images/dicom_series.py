"""Find the series in a folder of DICOM files: volumes of slices that belong together."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from pathlib import Path

import numpy as np

from mapping_stroke.errors import ImageError
from mapping_stroke.files import leads_nowhere
from mapping_stroke.images.dicom_headers import Facts, Slice, hash_pixels, read_slices
from mapping_stroke.images.dicom_volumes import IMAGE_TYPE, find_volumes, numbers_repeat, stack_slices
from mapping_stroke.images.nifti import Affine

PREAMBLE_BYTES = 128
MAGIC = b"DICM"
"""Follows the preamble of every DICOM file."""
BARE_SUFFIXES = (".dcm", ".ima")
"""Files with these suffixes are opened even without `MAGIC`, which old programs leave out."""
DIRECTORY = "DICOMDIR"
"""Name of an index file, which holds no image."""


def is_dicom(file: Path) -> bool:
    """Whether a file is DICOM by its first bytes or its name."""
    try:
        with file.open("rb") as opened:
            magic = opened.read(PREAMBLE_BYTES + len(MAGIC))[PREAMBLE_BYTES:] == MAGIC
        return magic or file.suffix.lower() in BARE_SUFFIXES
    except OSError:
        return False


def dicom_files(folder: Path) -> Iterator[Path]:
    """The DICOM files of a folder and its subfolders, except hidden ones.

    Links are followed unless they lead to a parent of the given folder. Every file is given once, by its own path
    rather than by a link.
    """
    given: set[tuple[int, int]] = set()
    for file in _files_below(folder):
        if file.name.upper() == DIRECTORY or not is_dicom(file):
            continue
        key = _identity(file)
        if key is not None and key not in given:
            given.add(key)
            yield file


def lost_files(folder: Path) -> list[Path]:
    """Broken links in a folder or its subfolders that are named like DICOM files.

    Such names have a suffix of `BARE_SUFFIXES`, or a number and no suffix of letters (`IM0001`, `1.2.840.7`).
    """
    return [file for file in _files_below(folder) if _may_be_dicom(file.name) and leads_nowhere(file)]


def _may_be_dicom(name: str) -> bool:
    suffix = Path(name).suffix
    return suffix.lower() in BARE_SUFFIXES or (any(map(str.isdigit, name)) and not suffix[1:].isalpha())


def _files_below(folder: Path) -> Iterator[Path]:
    """All files of a folder and its subfolders: its own files before those behind links."""
    # parents count as entered, so that a link upwards does not leave the given folder
    entered = {key for parent in Path(os.path.realpath(folder)).parents if (key := _identity(parent))}
    waiting = [(False, folder)]  # False sorts first: own folders before linked ones
    while waiting:
        linked, place = heappop(waiting)
        key = _identity(place)
        if key is None or key in entered:
            continue
        entered.add(key)
        # `os.walk` skips unreadable folders instead of raising
        _, folders, files = next(os.walk(place), ("", [], []))
        for name in folders:
            if name[0] != ".":
                heappush(waiting, (linked or (place / name).is_symlink(), place / name))
        inside = [place / name for name in files if name[0] != "."]
        yield from sorted(inside, key=lambda file: (file.is_symlink(), file))


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of a file or folder, equal for all paths to it, or None if it cannot be reached."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino


NO_NUMBER = "none"
"""Name of a series with neither number nor UID."""


@dataclass(frozen=True, eq=False)
class DicomSeries:
    """One volume of a DICOM series.

    Attributes:
        place: Folder in which it was found, or its only file.
        slices: Sorted by file and frame; at least one.
        part: Number of the volume in its series, from 1; 0 if it is the only one.
        trait: Difference from the other volumes of its series, such as `echo time 3.4`; empty if it is the only one.
        copies: Number of further files with copies of its slices.
        left_out: Number of images of its series that belong to no volume.
        damaged: Unreadable files next to its own.
        guessed: Whether its images share no UID that makes them one series.
        preferred: Reason why it was chosen among series of the same name; empty if there was no choice.
    """

    place: Path
    slices: tuple[Slice, ...]
    part: int = 0
    trait: str = ""
    copies: int = 0
    left_out: int = 0
    damaged: tuple[Path, ...] = ()
    guessed: bool = False
    preferred: str = ""

    @property
    def facts(self) -> Facts:
        """Facts shared by its slices."""
        return self.slices[0].facts

    @property
    def files(self) -> list[Path]:
        """Its files in the order of their slices' UIDs, which is the same for a copy elsewhere."""
        keys = {slice_.file: (slice_.uid, slice_.position_mm or ()) for slice_ in self.slices}
        return sorted(keys, key=lambda file: keys[file])

    @property
    def number(self) -> str:
        """Number of the series, and of the volume in it: `4`, `4:2`. Without a number it is the UID, or `none`."""
        number = (self.facts.uid or NO_NUMBER) if self.facts.number is None else str(self.facts.number)
        return f"{number}:{self.part}" if self.part else number

    @property
    def title(self) -> str:
        """Number, description, slices and voxels, for lists, such as `4 't1_mprage' (176 slices of 1 x 1 x 1 mm)`."""
        name = next((name for name in self.facts.names if name), "")
        size = f"{len(self.slices)} slice{'s' * (len(self.slices) > 1)}"
        edges_mm = self.edges_mm()
        if edges_mm:
            size += f" of {' x '.join(f'{edge:.3g}' for edge in edges_mm)} mm"
        details = [
            size,
            *([self.trait] if self.trait else []),
            *([self.facts.modality] * (self.facts.modality != "MR")),
        ]
        return f"{self.number} '{name}' ({', '.join(details)})"

    def edges_mm(self) -> tuple[float, float, float] | None:
        """Edges of a voxel, or None if its slices do not stack."""
        try:
            _, affine = self.stacked()
        except ImageError:
            return None
        x, y, z = np.linalg.norm(affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    def stacked(self) -> tuple[list[Slice], Affine]:
        """Its slices in the order of the volume's third axis, and the affine (errors as of `stack_slices`)."""
        if self.guessed and numbers_repeat(self.slices):
            raise ImageError(
                "its images do not state their series (SeriesInstanceUID), and several have the same number "
                "(InstanceNumber): put the images of each series into a folder of their own"
            )
        try:
            return stack_slices(self.slices)
        except ImageError as error:
            raise ImageError("; ".join([str(error), *self.left_aside()])) from error

    def left_aside(self) -> list[str]:
        """Images that were not read, and guesses, one line each."""
        lines = []
        if self.guessed:
            lines.append(
                "its DICOM images have no SeriesInstanceUID, or a different one each: those with the same series "
                "number and name count as one series"
            )
        if self.left_out:
            images = "image of its DICOM series is" if self.left_out == 1 else "images of its DICOM series are"
            lines.append(f"{self.left_out} {images} left out: of another kind or place than its other slices")
        if self.damaged:
            files = "file next to its slices is" if len(self.damaged) == 1 else "files next to its slices are"
            lines.append(
                f"{len(self.damaged)} DICOM {files} damaged ({self.damaged[0].name}): check whether slices are missing"
            )
        return lines

    def __str__(self) -> str:
        return f"{self.place} (series {self.number})"


def find_series(place: Path) -> list[DicomSeries]:
    """All series of a folder and its subfolders, or of one file, by number."""
    files: Iterable[Path] = dicom_files(place) if place.is_dir() else [place]
    slices: list[Slice] = []
    damaged: list[Path] = []
    for file in files:
        try:
            slices += read_slices(file)
        except ImageError:
            damaged.append(file)
    found = [series for group in _groups(slices) for series in _series(place, group, damaged)]
    return sorted(found, key=_order)


def _order(series: DicomSeries) -> tuple[int, str, int]:
    return series.facts.number or 0, series.facts.uid, series.part


def once_each(found: Sequence[DicomSeries]) -> list[DicomSeries]:
    """The series without repeats: the first of those with equal facts and images, as if sent twice under two UIDs."""
    alike: dict[object, list[DicomSeries]] = {}
    for series in found:
        alike.setdefault((replace(series.facts, uid=""), series.trait, _places(series)), []).append(series)
    kept = []
    for group in alike.values():
        equal: dict[object, list[DicomSeries]] = {}
        for series in group:
            # pixels are only read if facts and positions agree
            equal.setdefault(_pixels(series) if len(group) > 1 else (), []).append(series)
        kept += [
            replace(first, copies=first.copies + sum(len(other.files) for other in others))
            for first, *others in equal.values()
        ]
    return sorted(kept, key=_order)


def _places(series: DicomSeries) -> tuple[object, ...]:
    return tuple(sorted((slice_.position_mm or (), slice_.traits[IMAGE_TYPE]) for slice_ in series.slices))


def _pixels(series: DicomSeries) -> tuple[object, ...]:
    hashes = zip(series.slices, hash_pixels(series.slices), strict=True)
    return tuple(sorted((slice_.position_mm or (), pixels or str(slice_.file)) for slice_, pixels in hashes))


def _series(place: Path, slices: Sequence[Slice], damaged: Sequence[Path]) -> Iterator[DicomSeries]:
    """The volumes of one series, each as a series."""
    guessed = len({slice_.facts.uid for slice_ in slices}) > 1 or not slices[0].facts.uid
    volumes, left_out = find_volumes(slices, guessed=guessed)
    for number, volume in enumerate(volumes, 1):
        folders = {slice_.file.parent for slice_ in volume.slices}
        yield DicomSeries(
            place,
            volume.slices,
            part=number if len(volumes) > 1 else 0,
            trait=volume.trait,
            copies=volume.copies,
            left_out=left_out,
            damaged=tuple(sorted(file for file in damaged if file.parent in folders)),
            guessed=guessed,
        )


def _groups(slices: Sequence[Slice]) -> list[list[Slice]]:
    """Group slices by series UID, or by the other facts about the series if they have none or each its own."""
    by_uid: dict[str, list[Slice]] = {}
    for slice_ in slices:
        by_uid.setdefault(slice_.facts.uid, []).append(slice_)
    strays = by_uid.pop("", [])
    # a UID of only one image may be an anonymiser's: such images are grouped like those without a UID
    for uid in [uid for uid, group in by_uid.items() if _is_single(group)]:
        strays += by_uid.pop(uid)
    studies = Counter(slice_.facts.study for slice_ in strays)
    pools: dict[object, list[Slice]] = {}
    for slice_ in strays:
        facts = slice_.facts
        study = facts.study if studies[facts.study] > 1 else ""  # some programs give every image its own study
        pools.setdefault((study, facts.number, facts.modality, facts.names), []).append(slice_)
    return [*by_uid.values(), *pools.values()]


def _is_single(slices: Sequence[Slice]) -> bool:
    """Whether slices are one image or copies of it."""
    return len({(slice_.position_mm, slice_.frame) for slice_ in slices}) == 1 and slices[0].frame == 0
