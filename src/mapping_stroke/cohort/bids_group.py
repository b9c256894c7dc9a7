"""`mapping bids ... group`: a table with one row per scan, and the scans to check first."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mapping_stroke.cohort.bids_scans import BidsScans
from mapping_stroke.cohort.group import (
    OUTDATED,
    SCAN_COLUMNS,
    Columns,
    GroupRow,
    make_row,
    measure_row,
    with_regions,
    write_group_files,
)
from mapping_stroke.cohort.record import Notes
from mapping_stroke.cohort.regions import recorded_regions
from mapping_stroke.cohort.results import OutputLayout, is_source
from mapping_stroke.console import track
from mapping_stroke.dataset.cases import FoundCase
from mapping_stroke.dataset.names import parse_bids_name
from mapping_stroke.errors import MappingError, RunFolderError, describe_failure
from mapping_stroke.run_folder import read_identity
from mapping_stroke.space.atlas import Atlas

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
        atlas: Adds a column per region; None for the regions that `participant` has measured, if any.

    Returns:
        The rows in the order of the participants: for all scans, for results whose scan is gone, and for participants
        without a scan.

    Raises:
        MappingError: The folder holds no such derivative, or a region has the name of another column.
    """
    output = layout.folder
    if read_identity(output).get("kind") != layout.kind:
        raise RunFolderError(f"{output}: holds no results of `mapping bids`; name the folder that `participant` wrote")
    known = Notes(layout).entries()
    columns = with_regions(BIDS_COLUMNS, atlas.regions if atlas else recorded_regions(known.values()))
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
    write_group_files(layout, rows, columns, page=True)
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
    return measure_row(layout, row, entry, atlas)
