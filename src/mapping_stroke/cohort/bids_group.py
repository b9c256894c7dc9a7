"""`mapping bids ... group`: a table with one row per scan, and the scans to check first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32

from mapping_stroke.cohort.bids_scans import BidsScans
from mapping_stroke.cohort.group import OUTDATED, SCAN_COLUMNS, Columns, GroupRow, make_row, write_group_files
from mapping_stroke.cohort.record import Notes
from mapping_stroke.cohort.results import OutputLayout, is_source
from mapping_stroke.cohort.review import final_mask
from mapping_stroke.console import track
from mapping_stroke.dataset.cases import FoundCase
from mapping_stroke.dataset.names import parse_bids_name
from mapping_stroke.dataset.sides import Points, lesion_points
from mapping_stroke.errors import SCAN_FAILURES, CaseError, ImageError, MappingError, RunFolderError, describe_failure
from mapping_stroke.files import read_csv
from mapping_stroke.images.image import read_image
from mapping_stroke.images.nifti import Affine
from mapping_stroke.run_folder import read_identity

NUMBER_COLUMNS, NAME_COLUMNS = ("index", "label", "id", "value"), ("name", "region", "label_name", "structure")
"""Column names in the table of an atlas, ignoring case; the first that exists is used."""
ELSEWHERE = "elsewhere"
"""The column for voxels in no region."""


@dataclass(frozen=True, eq=False)
class Atlas:
    """Regions in MNI152 space.

    Attributes:
        labels: Region number of each voxel, 0 for none.
        affine: Voxel index to RAS millimetres.
        names: Region names by number, in the order of the table.
    """

    labels: Int32[np.ndarray, "x y z"]
    affine: Affine
    names: Mapping[int, str]

    @property
    def regions(self) -> tuple[str, ...]:
        """The regions of `volumes_ml`."""
        return (*dict.fromkeys(self.names.values()), ELSEWHERE)

    def volumes_ml(self, points: Points, voxel_mm3: float) -> dict[str, float]:
        """Volume in every region and `elsewhere`, in mL. The centre of a voxel decides its region."""
        to_index = np.linalg.inv(self.affine)
        # nearest voxel: labels cannot be interpolated
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
        path: Label image with whole numbers.
        table: Tab- or comma-separated: a column of numbers (`index`, `label`, ...) and one of names (`name`, ...); the
            volumes of regions with equal names are added.

    Raises:
        MappingError: A file cannot be read, the image holds other numbers, or the table lacks a column or any region.
    """
    image = read_image(path)
    labels = np.rint(image.voxels)
    if np.abs(labels - image.voxels).max() > 1e-3 or labels.min() < 0:
        raise ImageError(f"{path}: holds values other than whole numbers from 0, expected a label atlas")
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
        raise CaseError(f"{table}: a row lacks a whole number or a name ({error}); correct it") from error
    return {index: label for index, label in names.items() if index != 0}


BIDS_COLUMNS: Columns = {
    "participant_id": ("The person", ""),
    "session_id": ("The visit; n/a if the data set has no sessions", ""),
    "scan": ("The T1w scan, relative to the data set; n/a for a participant without one", ""),
    **SCAN_COLUMNS,
    "status": (
        "`done`, `failed`, `missing` (not segmented yet), `outdated` (the numbers belong to a scan that has been "
        "replaced or removed since), or `no-scan` (a participant without a T1w scan)",
        "",
    ),
}
"""The columns without those of an atlas."""


NO_SCAN = "no-scan"
"""Status of a participant without a scan."""
REPLACED = "its scan has been replaced since it was segmented: the numbers belong to the old one; rerun `participant`"
GONE = "its scan is no longer in the data set: the numbers belong to the old one; put it back, or remove its results"


def write_group(bids_dir: Path, layout: OutputLayout, scans: BidsScans, atlas: Atlas | None = None) -> list[GroupRow]:
    """Write the table, the overlap maps and the page from the results of the participants' runs.

    Args:
        bids_dir: Data set.
        layout: Layout of its derivative.
        scans: Scans of the data set.
        atlas: Adds a column per region.

    Returns:
        The rows in the order of the participants: for all scans, for results whose scan is gone, and for participants
        without a scan.

    Raises:
        MappingError: The folder holds no such derivative.
    """
    output = layout.folder
    if read_identity(output).get("kind") != layout.kind:
        raise RunFolderError(f"{output}: holds no results of `mapping bids`; name the folder that `participant` wrote")
    known = Notes(layout).entries()
    rows = [
        _row(layout, name, _first_columns(bids_dir, case), _with_age(known.get(name, {}), case.scan), atlas)
        for name, case in track(scans.cases.items(), "Checking for changed scans", len(scans.cases))
    ]
    for name in scans.gone(name for name, entry in known.items() if entry["status"] == "done"):
        entry = known[name]
        case = _gone_case(bids_dir, name, entry)
        gone = {**entry, "status": OUTDATED, "outdated": GONE}
        rows.append(_row(layout, name, _first_columns(bids_dir, case), gone, atlas))
    listed = {row.values["participant_id"] for row in rows}
    rows += [_row_without(label, why) for label, why in scans.without.items() if f"sub-{label}" not in listed]
    # a stable sort, so that each participant's scans keep their order
    rows.sort(key=lambda row: str(row.values["participant_id"]))
    regions = {f"{name}_ml": (f"Volume in {name} of the atlas", "mL") for name in (atlas.regions if atlas else ())}
    # a region named `load` would overwrite the column `load_ml`
    clash = sorted(set(regions) & set(BIDS_COLUMNS))
    if clash:
        raise CaseError(f"the atlas has regions named like columns of the table ({', '.join(clash)}); rename them")
    write_group_files(layout, rows, {**BIDS_COLUMNS, **regions}, page=True)
    return rows


def _with_age(entry: Mapping[str, Any], scan: Path) -> Mapping[str, Any]:
    """The entry of a scan, marked as outdated if the file has been replaced since."""
    if entry.get("status") != "done":
        return entry
    try:
        outdated = "" if is_source(entry["source"], scan) else REPLACED
    except (MappingError, OSError) as error:
        outdated = f"its scan can no longer be read, so it may have been replaced: {describe_failure(error, scan)}"
    return {**entry, "status": OUTDATED, "outdated": outdated} if outdated else entry


def _first_columns(bids_dir: Path, case: FoundCase) -> dict[str, Any]:
    """The first columns of a row."""
    return {
        "participant_id": f"sub-{case.subject}",
        "session_id": f"ses-{case.session}" if case.session else None,
        "scan": case.scan.relative_to(bids_dir).as_posix(),
    }


def _gone_case(bids_dir: Path, name: str, entry: Mapping[str, Any]) -> FoundCase:
    """The case of a scan that is no longer in the data set, even if the data set has been moved."""
    parsed = parse_bids_name(name)
    entities = parsed.entities if parsed else {}
    scan = Path(entry["source"].get("scan", name))
    inside = scan if scan.is_relative_to(bids_dir) else bids_dir / scan.name
    return FoundCase(name, entities.get("sub", ""), entities.get("ses", ""), "", inside, None)


def _row_without(label: str, why: str) -> GroupRow:
    participant = f"sub-{label}"
    values = {"participant_id": participant, "status": NO_SCAN, "review": "yes", "review_reasons": why}
    return GroupRow("", participant, values, (why,))


def _row(
    layout: OutputLayout, name: str, first: Mapping[str, Any], entry: Mapping[str, Any], atlas: Atlas | None
) -> GroupRow:
    row = make_row(layout, name, first["scan"].rsplit("/", 1)[-1], first, entry)
    if not atlas or row.to_mni is None:
        return row
    try:
        return replace(row, values=row.values | _regions_ml(layout, name, row.to_mni, atlas))
    except SCAN_FAILURES as error:
        reasons = (*row.reasons, f"volumes by region are unknown: {describe_failure(error)}")
        values = row.values | {"review": "yes", "review_reasons": "; ".join(reasons)}
        return replace(row, values=values, reasons=reasons, unread=True)


def _regions_ml(layout: OutputLayout, name: str, to_mni: Sequence[Sequence[float]], atlas: Atlas) -> dict[str, float]:
    """Volume of the final mask in each region, in mL."""
    mask = read_image(final_mask(layout, name))
    points = lesion_points(mask.voxels > 0, mask.affine, np.array(to_mni))
    return {f"{region}_ml": round(ml, 4) for region, ml in atlas.volumes_ml(points, mask.voxel_volume_mm3).items()}
