"""An atlas of the user in MNI152 space: its regions, and the volume of a lesion in each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int32, Int64

from mapping_stroke.dataset.sides import Points
from mapping_stroke.errors import CaseError, ImageError
from mapping_stroke.files import fingerprint, read_csv, sha256
from mapping_stroke.images.image import Image, read_image
from mapping_stroke.images.nifti import UNPLACED, UNSIZED, Affine
from mapping_stroke.space.template import read_template

Labels = Int32[np.ndarray, "x y z"]  # region number of each voxel, 0 for none

NUMBER_COLUMNS, NAME_COLUMNS = ("index", "label", "id", "value"), ("name", "region", "label_name", "structure")
"""Column names in the table of an atlas, ignoring case; the first that exists is used."""
ELSEWHERE = "elsewhere"
"""The name of all voxels in no region."""
DECIMALS = 4
"""Of volumes in mL, in files."""
INDEX_DECIMALS = 3
"""Voxel indices are rounded to this, so that a centre between two voxels of the atlas does not go by the last bit."""
LARGEST_LABEL = 2**24 - 1
"""Images hold float32, which does not tell larger whole numbers apart."""
LEAST_IN_BRAIN = 0.3
"""Share of the labelled voxels that must lie in the template's brain: boxes drawn around lobes have about a half, an
image whose origin is one of its corners about a tenth."""
CHECKED_VOX = 20_000
"""So many labelled voxels tell whether an atlas lies in MNI152 space."""


@dataclass(frozen=True, eq=False)
class Atlas:
    """Regions in MNI152 space.

    Attributes:
        labels: Region number of each voxel, 0 for none.
        affine: Voxel index to RAS millimetres.
        names: Region names by number, in the order of the table.
        path: The label image.
        table: The table of its regions.
        fingerprint: Hash of both files.
    """

    labels: Labels
    affine: Affine
    names: Mapping[int, str]
    path: Path
    table: Path
    fingerprint: str

    @property
    def regions(self) -> tuple[str, ...]:
        """The regions of `volumes_ml`."""
        return (*dict.fromkeys(self.names.values()), ELSEWHERE)

    def numbers_at(self, points: Points) -> Int64[np.ndarray, " n"]:
        """The region number at each point; 0 for none, and outside the image."""
        to_index = np.linalg.inv(self.affine)
        # nearest voxel: labels cannot be interpolated
        index = np.rint(np.round(points @ to_index[:3, :3].T + to_index[:3, 3], INDEX_DECIMALS)).astype(np.int64)
        inside = ((index >= 0) & (index < self.labels.shape)).all(axis=1)
        found = np.zeros(len(points), np.int64)
        found[inside] = self.labels[tuple(index[inside].T)]
        return found

    def volumes_ml(self, points: Points, voxel_mm3: float) -> dict[str, float]:
        """Volume in every region and `elsewhere`, in mL. The centre of a voxel decides its region."""
        volumes = dict.fromkeys(self.regions, 0.0)
        numbers, counts = np.unique(self.numbers_at(points), return_counts=True)
        for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
            volumes[self._name(number)] += float(count) * voxel_mm3 / 1000
        return volumes

    def rounded_ml(self, points: Points, voxel_mm3: float) -> dict[str, float]:
        """`volumes_ml` as in files."""
        return {region: round(ml, DECIMALS) for region, ml in self.volumes_ml(points, voxel_mm3).items()}

    def main_regions(self, points: Points, lesions: Int64[np.ndarray, " n"]) -> tuple[str, ...]:
        """The region with the largest part of each lesion, perhaps `elsewhere`; of equal ones the first of the table.

        Args:
            points: Voxel centres in MNI152 space.
            lesions: Number of the lesion of each point, from 1 on without gaps.
        """
        regions = self.regions
        numbers, where = np.unique(self.numbers_at(points), return_inverse=True)
        region_of = np.array([regions.index(self._name(number)) for number in numbers.tolist()], np.int64)
        counts = np.zeros((lesions.max(initial=0) + 1, len(regions)), np.int64)
        np.add.at(counts, (lesions, region_of[where]), 1)
        return tuple(regions[index] for index in counts[1:].argmax(axis=1))

    def _name(self, number: int) -> str:
        return self.names.get(number, ELSEWHERE)


def read_atlas(path: Path, table: Path) -> Atlas:
    """Read an atlas in MNI152 space and the table of its regions.

    Args:
        path: Label image with whole numbers.
        table: Tab- or comma-separated: a column of numbers (`index`, `label`, ...) and one of names (`name`, ...); the
            volumes of regions with equal names are added.

    Raises:
        MappingError: A file cannot be read; the image holds other numbers, has no place, or lies elsewhere; or the
            table lacks a column or any region, or does not fit the image.
    """
    image, names = read_image(path), _read_names(table)
    labels = _labels(path, image)
    _require_place(path, image)
    if not np.isin(labels, list(names)).any():
        raise CaseError(f"{table}: none of its numbers occurs in {path}; name the table of this atlas")
    return Atlas(labels, image.affine, names, path, table, atlas_fingerprint(path, table))


def atlas_fingerprint(path: Path, table: Path) -> str:
    """Hash of the two files of an atlas."""
    return fingerprint([sha256(path), sha256(table)])


def _labels(path: Path, image: Image) -> Labels:
    labels = np.rint(image.voxels)
    if np.abs(labels - image.voxels).max() > 1e-3 or labels.min() < 0:
        raise ImageError(f"{path}: holds values other than whole numbers from 0, expected a label atlas")
    if labels.max() > LARGEST_LABEL:
        raise ImageError(
            f"{path}: holds the number {labels.max():.0f}, expected at most {LARGEST_LABEL}; number its regions anew"
        )
    whole: Labels = labels.astype(np.int32)
    return whole


def _require_place(path: Path, image: Image) -> None:
    """Raise an error unless the labelled voxels may lie in MNI152 space."""
    unknown = tuple(text.partition(":")[0] for text in (UNPLACED, UNSIZED))
    for warning in image.warnings:
        if warning.startswith(unknown):
            found = warning.partition(":")[0]
            raise ImageError(f"{path}: {found}, expected an atlas in MNI152 space; save it with its affine")
    marked = np.argwhere(image.voxels > 0)
    if not len(marked):
        raise ImageError(f"{path}: has no labelled voxel, expected a label atlas")
    index = marked[:: max(len(marked) // CHECKED_VOX, 1)]
    share = _share_in_brain(index @ image.affine[:3, :3].T + image.affine[:3, 3])
    if share < LEAST_IN_BRAIN:
        raise ImageError(
            f"{path}: only {share:.0%} of its labelled voxels lie in the brain of MNI152 space, expected an atlas "
            "there; register it to MNI152, or take its version in MNI152 space"
        )


def _share_in_brain(points: Points) -> float:
    template = read_template()
    to_index = np.linalg.inv(template.affine)
    index = np.rint(points @ to_index[:3, :3].T + to_index[:3, 3]).astype(np.int64)
    inside = ((index >= 0) & (index < template.brain.shape)).all(axis=1)
    return float((template.brain[tuple(index[inside].T)] > 0).sum()) / len(points)


def _read_names(table: Path) -> dict[int, str]:
    """Region names by number, in the order of the table; row 0, the background, is left out."""
    if not table.is_file():
        raise CaseError(f"{table}: no such file; name the table of the atlas's regions")
    rows = read_csv(table, delimiter="," if table.suffix.lower() == ".csv" else "\t")
    columns = {column.lower().strip(): column for column in (rows[0] if rows else {}) if column}
    number = next((columns[name] for name in NUMBER_COLUMNS if name in columns), None)
    name = next((columns[name] for name in NAME_COLUMNS if name in columns), None)
    if number is None or name is None:
        raise CaseError(
            f"{table}: has the columns {', '.join(columns) or 'none'}, expected one of numbers "
            f"({', '.join(NUMBER_COLUMNS)}) and one of names ({', '.join(NAME_COLUMNS)})"
        )
    try:
        listed = [(int(row[number]), " ".join(row[name].split())) for row in rows]
    except (TypeError, ValueError, AttributeError) as error:
        raise CaseError(f"{table}: a row lacks a whole number or a name ({error}); correct it") from error
    return _checked_names(table, [(index, label) for index, label in listed if index != 0])


def _checked_names(table: Path, listed: Sequence[tuple[int, str]]) -> dict[int, str]:
    names: dict[int, str] = {}
    for index, label in listed:
        if not label:
            raise CaseError(f"{table}: a row lacks a whole number or a name (number {index}); correct it")
        if label == ELSEWHERE:
            raise CaseError(f"{table}: a region is named {ELSEWHERE!r}, as what lies in no region is; rename it")
        if names.setdefault(index, label) != label:
            raise CaseError(f"{table}: number {index} has two names, {names[index]!r} and {label!r}; correct it")
    return names
