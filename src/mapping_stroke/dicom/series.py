"""The series that a folder holds: volumes of slices that belong together."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from mapping_stroke.dicom.grid import lies_with, place_along_normal, stack_slices
from mapping_stroke.dicom.headers import TRAITS, Facts, Slice, dicom_files, read_slices
from mapping_stroke.errors import ImageError
from mapping_stroke.nifti_grid import Affine


@dataclass(frozen=True, eq=False)
class DicomSeries:
    """One volume of a DICOM series.

    Attributes:
        place: Folder in which it was found, or its only file.
        slices: Sorted by file and frame; at least one.
        part: Which volume of its series, from 1; 0 where the series holds no other.
        trait: What sets it apart from the others of its series, such as `echo time 3.4`; empty where there are none.
        copies: How many further files hold slices of it once more.
        preferred: Why it was chosen among others that are called alike; empty where there was no such choice.
    """

    place: Path
    slices: tuple[Slice, ...]
    part: int = 0
    trait: str = ""
    copies: int = 0
    preferred: str = ""

    @property
    def facts(self) -> Facts:
        """What its slices have in common."""
        return self.slices[0].facts

    @property
    def files(self) -> list[Path]:
        """The files it lies in, in the order of their slices' UIDs: a copy elsewhere has the same order."""
        uids = {slice_.file: slice_.uid for slice_ in self.slices}
        return sorted(uids, key=lambda file: uids[file])

    @property
    def number(self) -> str:
        """Of the series, and of the volume in it: `4`, `4:2`; the UID where there is no number."""
        number = self.facts.uid if self.facts.number is None else str(self.facts.number)
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
        return stack_slices(self.slices)

    def __str__(self) -> str:
        return f"{self.place} (series {self.number})"


def find_series(place: Path) -> list[DicomSeries]:
    """All series of a folder and of those below it, or of one file, by number; empty where there is no DICOM image."""
    files: Iterable[Path] = dicom_files(place) if place.is_dir() else [place]
    slices = [slice_ for file in files for slice_ in read_slices(file)]
    slices.sort(key=lambda slice_: slice_.facts.uid)
    found = [
        volume for _, group in groupby(slices, lambda slice_: slice_.facts.uid) for volume in _volumes(place, [*group])
    ]
    return sorted(found, key=lambda series: (series.facts.number or 0, series.facts.uid, series.part))


def _volumes(place: Path, slices: Sequence[Slice]) -> Iterator[DicomSeries]:
    """The volumes of one series."""
    once = {(slice_.uid, slice_.frame, slice_.position_mm): slice_ for slice_ in reversed(slices)}
    kept = sorted(once.values(), key=lambda slice_: (os.fspath(slice_.file), slice_.frame))
    copied = len({slice_.file for slice_ in slices}) - len({slice_.file for slice_ in kept})
    parts = [part for group in _alike(kept) for part in _apart(group, TRAITS)]
    for number, (trait, part) in enumerate(parts, 1):
        several = len(parts) > 1
        yield DicomSeries(place, tuple(part), number * several, trait if several else "", 0 if several else copied)


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


def _apart(slices: list[Slice], traits: Sequence[str], name: str = "") -> list[tuple[str, list[Slice]]]:
    """Slices at one place told apart: by the first traits that split them into equal parts, until none repeats."""
    if not traits or len({place_along_normal(slice_) for slice_ in slices}) == len(slices):
        return [(name, slices)]
    parts: dict[str, list[Slice]] = {}
    for slice_ in slices:
        parts.setdefault(slice_.traits[traits[0]], []).append(slice_)
    if len(parts) == 1 or len({len(part) for part in parts.values()}) > 1 or len(parts) == len(slices):
        return _apart(slices, traits[1:], name)
    found = []
    for value, part in parts.items():
        told = f"{traits[0]} {Path(value).name if traits[0] == 'folder' else value}"
        found += _apart(part, traits[1:], f"{name}, {told}" if name else told)
    return found
