"""The series that a folder of DICOM files holds: volumes of slices that belong together."""

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
"""Behind the preamble of every DICOM file."""
BARE_SUFFIXES = (".dcm", ".ima")
"""Files called so are opened even without `MAGIC`: old programs leave it out."""
DIRECTORY = "DICOMDIR"
"""The name of a file that lists the others and holds no image."""


def is_dicom(file: Path) -> bool:
    """Whether a file's first bytes, or its name, say that it is DICOM."""
    try:
        with file.open("rb") as opened:
            magic = opened.read(PREAMBLE_BYTES + len(MAGIC))[PREAMBLE_BYTES:] == MAGIC
        return magic or file.suffix.lower() in BARE_SUFFIXES
    except OSError:
        return False


def dicom_files(folder: Path) -> Iterator[Path]:
    """The DICOM files of a folder and of those below it; hidden ones are passed over.

    Links are followed, but for those that lead to a folder around the given one. Every file is given once, by its own
    path rather than by a link.
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
    """Links in a folder, or below it, that lead to files that are not here and are named as DICOM files are.

    Names of DICOM files have a suffix of `BARE_SUFFIXES`, or a number and no suffix of letters (`IM0001`, `1.2.840.7`).
    """
    return [file for file in _files_below(folder) if _may_be_dicom(file.name) and leads_nowhere(file)]


def _may_be_dicom(name: str) -> bool:
    suffix = Path(name).suffix
    return suffix.lower() in BARE_SUFFIXES or (any(map(str.isdigit, name)) and not suffix[1:].isalpha())


def _files_below(folder: Path) -> Iterator[Path]:
    """All that is no folder in a folder and below it: what is there itself first, then what links lead to."""
    entered = {key for parent in Path(os.path.realpath(folder)).parents if (key := _identity(parent))}
    waiting = [(False, folder)]
    while waiting:
        linked, place = heappop(waiting)
        key = _identity(place)
        if key is None or key in entered:
            continue
        entered.add(key)
        _, folders, files = next(os.walk(place), ("", [], []))
        for name in folders:
            if name[0] != ".":
                heappush(waiting, (linked or (place / name).is_symlink(), place / name))
        inside = [place / name for name in files if name[0] != "."]
        yield from sorted(inside, key=lambda file: (file.is_symlink(), file))


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file or folder from all others, whatever path leads there; None where it cannot be reached."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino


NO_NUMBER = "none"
"""What a series is called that has neither number nor UID."""


@dataclass(frozen=True, eq=False)
class DicomSeries:
    """One volume of a DICOM series.

    Attributes:
        place: Folder in which it was found, or its only file.
        slices: Sorted by file and frame; at least one.
        part: Which volume of its series, from 1; 0 where the series holds no other.
        trait: What sets it apart from the others of its series, such as `echo time 3.4`; empty where there are none.
        copies: How many further files hold slices of it once more.
        left_out: How many images of its series belong to no volume.
        damaged: Files beside its own that cannot be read.
        guessed: Whether its images do not say by a UID that they are of one series.
        preferred: Why it was chosen among others that are called alike; empty where there was no such choice.
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
        """What its slices have in common."""
        return self.slices[0].facts

    @property
    def files(self) -> list[Path]:
        """The files it lies in, in the order of their slices' UIDs: a copy elsewhere has the same order."""
        keys = {slice_.file: (slice_.uid, slice_.position_mm or ()) for slice_ in self.slices}
        return sorted(keys, key=lambda file: keys[file])

    @property
    def number(self) -> str:
        """Of the series, and of the volume in it: `4`, `4:2`; without a number the UID, or else `none`."""
        number = (self.facts.uid or NO_NUMBER) if self.facts.number is None else str(self.facts.number)
        return f"{number}:{self.part}" if self.part else number

    @property
    def title(self) -> str:
        """For lists: number, description, slices and voxels, such as `4 't1_mprage' (176 slices of 1 x 1 x 1 mm)`."""
        name = next((name for name in self.facts.names if name), "")
        what = f"{len(self.slices)} slice{'s' * (len(self.slices) > 1)}"
        edges_mm = self.edges_mm()
        if edges_mm:
            what += f" of {' x '.join(f'{edge:.3g}' for edge in edges_mm)} mm"
        also = [what, *([self.trait] if self.trait else []), *([self.facts.modality] * (self.facts.modality != "MR"))]
        return f"{self.number} '{name}' ({', '.join(also)})"

    def edges_mm(self) -> tuple[float, float, float] | None:
        """Edges of a voxel; None where its slices do not stack."""
        try:
            _, affine = self.stacked()
        except ImageError:
            return None
        x, y, z = np.linalg.norm(affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    def stacked(self) -> tuple[list[Slice], Affine]:
        """Its slices in the order of the volume's third axis, and the affine; raises as `stack_slices` does."""
        if self.guessed and numbers_repeat(self.slices):
            raise ImageError(
                "its images do not say of which series they are (SeriesInstanceUID), and several of them have one "
                "number (InstanceNumber): give the images of each series in a folder of their own"
            )
        try:
            return stack_slices(self.slices)
        except ImageError as error:
            raise ImageError("; ".join([str(error), *self.left_aside()])) from error

    def left_aside(self) -> list[str]:
        """What was not read of it, and what is guessed, a line each."""
        told = []
        if self.guessed:
            told.append(
                "its DICOM images have no SeriesInstanceUID, or one each: those with one series number and name are "
                "taken for one series"
            )
        if self.left_out:
            what = "image of its DICOM series is" if self.left_out == 1 else "images of its DICOM series are"
            told.append(f"{self.left_out} {what} left out: of another kind or place than its other slices")
        if self.damaged:
            what = "file beside its slices is" if len(self.damaged) == 1 else "files beside its slices are"
            told.append(
                f"{len(self.damaged)} DICOM {what} damaged ({self.damaged[0].name}): look whether slices are missing"
            )
        return told

    def __str__(self) -> str:
        return f"{self.place} (series {self.number})"


def find_series(place: Path) -> list[DicomSeries]:
    """All series of a folder and of those below it, or of one file, by number; empty where there is no DICOM image."""
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
    """Of series that say the same and are equal image by image, as one sent again under another UID, the first."""
    alike: dict[object, list[DicomSeries]] = {}
    for series in found:
        alike.setdefault((replace(series.facts, uid=""), series.trait, _places(series)), []).append(series)
    kept = []
    for group in alike.values():
        equal: dict[object, list[DicomSeries]] = {}
        for series in group:
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
    """Slices by series: by its UID; without one, or where each has one of its own, by what else they say of it."""
    by_uid: dict[str, list[Slice]] = {}
    for slice_ in slices:
        by_uid.setdefault(slice_.facts.uid, []).append(slice_)
    strays = by_uid.pop("", [])
    for uid in [uid for uid, group in by_uid.items() if _is_single(group)]:
        strays += by_uid.pop(uid)
    studies = Counter(slice_.facts.study for slice_ in strays)
    pools: dict[object, list[Slice]] = {}
    for slice_ in strays:
        facts = slice_.facts
        study = facts.study if studies[facts.study] > 1 else ""  # some programs give every image a study of its own
        pools.setdefault((study, facts.number, facts.modality, facts.names), []).append(slice_)
    return [*by_uid.values(), *pools.values()]


def _is_single(slices: Sequence[Slice]) -> bool:
    """Whether slices are one image, or copies of it."""
    return len({(slice_.position_mm, slice_.frame) for slice_ in slices}) == 1 and slices[0].frame == 0
