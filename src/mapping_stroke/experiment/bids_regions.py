"""Where lesions lie: volumes by hemisphere, and by the regions of an atlas that the user gives."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, Int32

from mapping_stroke.errors import CaseError, ImageError
from mapping_stroke.files import read_csv
from mapping_stroke.image import Affine, Mask, read_image

Points = Float64[np.ndarray, "n 3"]  # RAS millimetres in MNI152 space
NUMBER_COLUMNS, NAME_COLUMNS = ("index", "label", "id", "value"), ("name", "region", "label_name", "structure")
"""Of an atlas's table, in any case; the first that is there counts."""
ELSEWHERE = "elsewhere"
"""What lies in no region."""


def lesion_points(mask: Mask, affine: Affine, to_mni: Affine) -> Points:
    """Where the centres of a mask's voxels lie in MNI152 space."""
    place = to_mni @ affine
    points: Points = np.argwhere(mask) @ place[:3, :3].T + place[:3, 3]
    return points


def hemisphere_ml(points: Points, voxel_mm3: float) -> dict[str, float]:
    """Volume left and right of MNI152's midplane x = 0, in mL; voxels on it count half on either side."""
    x = points[:, 0]
    middle = float((x == 0).sum()) / 2
    return {
        "left_ml": (float((x < 0).sum()) + middle) * voxel_mm3 / 1000,
        "right_ml": (float((x > 0).sum()) + middle) * voxel_mm3 / 1000,
    }


@dataclass(frozen=True, eq=False)
class Atlas:
    """Regions in MNI152 space.

    Attributes:
        labels: Number of the region of each voxel, 0 for none.
        affine: Voxel index to RAS millimetres.
        names: Of the regions by number, in the order of the table.
    """

    labels: Int32[np.ndarray, "x y z"]
    affine: Affine
    names: Mapping[int, str]

    @property
    def regions(self) -> tuple[str, ...]:
        """What `volumes_ml` tells volumes of."""
        return (*dict.fromkeys(self.names.values()), ELSEWHERE)

    def volumes_ml(self, points: Points, voxel_mm3: float) -> dict[str, float]:
        """Volume in every region, in mL, and `elsewhere`; each voxel counts where its centre lies."""
        to_index = np.linalg.inv(self.affine)
        index = np.rint(points @ to_index[:3, :3].T + to_index[:3, 3]).astype(np.int64)
        inside = ((index >= 0) & (index < self.labels.shape)).all(axis=1)
        found = np.zeros(len(points), np.int64)
        found[inside] = self.labels[tuple(index[inside].T)]
        volumes = dict.fromkeys(self.regions, 0.0)
        for number, count in zip(*np.unique(found, return_counts=True), strict=True):
            volumes[self.names.get(int(number), ELSEWHERE)] += float(count) * voxel_mm3 / 1000
        return volumes


def read_atlas(path: Path, table: Path) -> Atlas:
    """Read an atlas in MNI152 space and the table of its regions.

    Args:
        path: Image of whole numbers.
        table: Tab- or comma-separated: a column of numbers (`index`, `label`, ...) and one of names (`name`, ...);
            several numbers may have one name, whose volumes are then added.

    Raises:
        MappingError: A file cannot be read, the image holds other numbers, or the table lacks a column or any region.
    """
    image = read_image(path)
    labels = np.rint(image.voxels)
    if np.abs(labels - image.voxels).max() > 1e-3 or labels.min() < 0:
        raise ImageError(f"{path}: holds other values than whole numbers from 0, expected an atlas of labels")
    return Atlas(labels.astype(np.int32), image.affine, _read_names(table))


def _read_names(table: Path) -> dict[int, str]:
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
        names = {int(row[number]): row[name].strip() for row in rows}
    except (TypeError, ValueError, AttributeError) as error:
        raise CaseError(f"{table}: a row has no whole number or no name ({error}); correct it") from error
    return {index: label for index, label in names.items() if index != 0}


def uncertain_ml(spread: Float32[np.ndarray, "x y z"], voxel_mm3: float, least: float) -> float:
    """Volume where the members' standard deviation is above a level, in mL."""
    return float((spread > least).sum()) * voxel_mm3 / 1000
