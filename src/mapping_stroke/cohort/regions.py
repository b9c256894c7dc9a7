"""Volumes by region of the user's atlas: what a scan's stamp records of them, and those of the final mask."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from mapping_stroke.cohort.results import OutputLayout
from mapping_stroke.cohort.review import final_mask
from mapping_stroke.cohort.settings import RegionOptions
from mapping_stroke.dataset.sides import Points, lesion_points, placed_sides_ml
from mapping_stroke.errors import CaseError
from mapping_stroke.images.image import read_image
from mapping_stroke.space.atlas import ELSEWHERE, Atlas, atlas_fingerprint, read_atlas

Transform = Sequence[Sequence[float]]
"""A scan's millimetres to those of MNI152 (4 x 4), as stamps hold it."""
KEPT = 2
"""Atlases that stay in memory; a folder with results has one, rarely more."""


def choose_atlas(options: RegionOptions, columns: Iterable[str]) -> Atlas | None:
    """The user's atlas, or None; to be called before any scan is computed.

    Args:
        options: Its files.
        columns: Those of the table that gets one more for each region.

    Raises:
        MappingError: See `read_atlas`; or a region has the name of one of these columns.
    """
    if options.atlas is None or options.atlas_labels is None:
        return None
    atlas = read_atlas(options.atlas, options.atlas_labels)
    require_free(atlas.regions, columns)
    return atlas


def require_free(regions: Iterable[str], columns: Iterable[str]) -> None:
    """Raise an error if a region would overwrite a column: one named `load` would take `load_ml`."""
    clash = sorted({region_column(region) for region in regions} & set(columns))
    if clash:
        raise CaseError(f"the atlas has regions named like columns of the table ({', '.join(clash)}); rename them")


def region_column(region: str) -> str:
    """The column of a region."""
    return f"{region}_ml"


def as_columns(volumes_ml: Mapping[str, float | None]) -> dict[str, float | None]:
    """Volumes by column instead of by region."""
    return {region_column(region): ml for region, ml in volumes_ml.items()}


def recorded_volumes(entry: Mapping[str, Any]) -> dict[str, float | None]:
    """Volume by region as segmented, from a stamp; None if the place is unknown; empty without an atlas."""
    return dict(entry.get("regions", {}).get("volumes_ml", {}))


def recorded_regions(entries: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """The regions of all stamps in the order of their atlases, `elsewhere` last; none without an atlas."""
    found = dict.fromkeys(region for entry in entries for region in recorded_volumes(entry))
    return (*(region for region in found if region != ELSEWHERE), *([ELSEWHERE] if ELSEWHERE in found else []))


def recorded_atlas(entry: Mapping[str, Any]) -> Atlas:
    """The atlas that a scan was segmented with, read from where it was.

    Raises:
        MappingError: It cannot be read any more, or has changed since.
    """
    recorded = entry["regions"]
    path, table = Path(recorded["atlas"]), Path(recorded["atlas_labels"])
    found = atlas_fingerprint(path, table)
    if found != recorded["fingerprint"]:
        raise CaseError(f"{path}: the atlas has changed since the scan was segmented with it; segment the scan again")
    return _read_once(path, table, found)


@lru_cache(maxsize=KEPT)
def _read_once(path: Path, table: Path, fingerprint: str) -> Atlas:
    """An atlas whose files have this hash."""
    return read_atlas(path, table)


def final_sides(layout: OutputLayout, name: str, to_mni: Transform) -> dict[str, float | None]:
    """Columns with the volume of the final mask on each side. Raises `MappingError` if it cannot be read."""
    mask = read_image(final_mask(layout, name))
    sides = placed_sides_ml(mask.voxels > 0, mask.affine, np.array(to_mni))
    return {side: round(ml, 4) for side, ml in sides.items()}


def final_volumes(layout: OutputLayout, name: str, to_mni: Transform, atlas: Atlas) -> dict[str, float]:
    """Volume of the final mask in each region. Raises `MappingError` if it cannot be read."""
    mask = read_image(final_mask(layout, name))
    points: Points = lesion_points(mask.voxels > 0, mask.affine, np.array(to_mni))
    return atlas.rounded_ml(points, mask.voxel_volume_mm3)
