"""The table of a cohort: one row per scan, what was found, where, how sure, and whether a person should look at it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mapping_stroke.dataset.cases import FoundCase
from mapping_stroke.errors import CaseError, RunFolderError
from mapping_stroke.experiment.bids_outputs import KIND, bids_output
from mapping_stroke.experiment.bids_regions import Atlas, lesion_points
from mapping_stroke.experiment.bids_review import LIMITS, review_reasons
from mapping_stroke.experiment.segment_files import PICTURE_SUFFIX
from mapping_stroke.experiment.segment_notes import Notes
from mapping_stroke.files import write_csv, write_json, write_text
from mapping_stroke.image import read_image
from mapping_stroke.report.cohort_page import HEADS, CohortRow, write_cohort_page
from mapping_stroke.run_folder import MASK_SUFFIX, read_identity

TABLE, DICTIONARY, PAGE = "group_lesions.tsv", "group_lesions.json", "group.html"
NOT_AVAILABLE = "n/a"
"""How BIDS writes what is not known or not defined."""

COLUMNS: Mapping[str, tuple[str, str]] = {
    "participant_id": ("The person", ""),
    "session_id": ("The visit; n/a where the data set has none", ""),
    "scan": ("The T1w scan, relative to the data set", ""),
    "status": ("`done`, `failed`, or `missing` where it was not segmented yet", ""),
    "review": ("`yes` where a person should look at the scan before its numbers are used", ""),
    "review_reasons": ("Why, separated by `; `", ""),
    "load_ml": ("Volume of all lesions, in the space of the scan", "mL"),
    "lesions": ("Number of lesions (face-connected)", ""),
    "largest_ml": ("Volume of the largest lesion", "mL"),
    "left_ml": ("Volume left of the midplane of MNI152 (x < 0), in the space of the scan", "mL"),
    "right_ml": ("Volume right of it", "mL"),
    "agreement": ("Share of the members that see a voxel of the mask, mean over the mask, 0 to 1", ""),
    "uncertain_ml": ("Volume in which the members' standard deviation of P(lesion) is above 0.25", "mL"),
    "largest_probability": ("Largest P(lesion) in the scan", ""),
    "similarity": ("Of the registration: share of the variation that the template's tissues explain, 0 to 1", ""),
    "overlap": ("Of the registration: Dice of the template's brain and the scan's, 0 to 1", ""),
    "warnings": ("What is doubtful about the scan, separated by `; `", ""),
}
"""Of the table: what each means, and its unit."""


@dataclass(frozen=True, eq=False)
class GroupRow:
    """One scan in the table.

    Attributes:
        values: By column; None for what is not known.
        reasons: Why a person should look at it.
        picture: Relative to the derivative; empty where there is none.
    """

    values: dict[str, Any]
    reasons: tuple[str, ...]
    picture: str


def write_group(
    bids_dir: Path, output: Path, scans: Mapping[str, FoundCase], atlas: Atlas | None = None
) -> list[GroupRow]:
    """Write the table, its dictionary and the page, from what the participants' runs left in a derivative.

    Args:
        bids_dir: Data set.
        output: Its derivative.
        scans: Of the data set, by the name of their results.
        atlas: Adds a column for each of its regions.

    Returns:
        The rows, in the order of the scans.

    Raises:
        MappingError: The folder holds no such derivative, or a mask in it cannot be read.
    """
    if read_identity(output).get("kind") != KIND:
        raise RunFolderError(f"{output}: holds no results of `mapping bids`; name the folder that `participant` wrote")
    known = _known(output)
    rows = [_row(bids_dir, output, name, case, known.get(name, {}), atlas) for name, case in scans.items()]
    regions = [f"{name}_ml" for name in atlas.regions] if atlas else []
    clash = sorted(set(regions) & set(COLUMNS))
    if clash:
        raise CaseError(f"the atlas has regions that are named like columns ({', '.join(clash)}); rename them")
    filled = [{column: _shown(row.values.get(column)) for column in (*COLUMNS, *regions)} for row in rows]
    write_csv(output / TABLE, (*COLUMNS, *regions), filled, delimiter="\t")
    write_json(output / DICTIONARY, _dictionary(regions))
    write_text(output / PAGE, write_cohort_page([_on_page(row) for row in worst_first(rows)]))
    return rows


def worst_first(rows: Sequence[GroupRow]) -> list[GroupRow]:
    """What was not segmented, then what has most reasons to be looked at, then the largest loads."""
    return sorted(
        rows,
        key=lambda row: (row.values["status"] == "done", -len(row.reasons), -(row.values.get("load_ml") or 0.0)),
    )


def _known(output: Path) -> dict[str, dict[str, Any]]:
    notes = Notes(output, bids_output)
    done = {name: {"status": "done", **stamp} for name, stamp in notes.stamps().items()}
    return done | {name: {"status": "failed", **entry} for name, entry in notes.failures().items()}


def _row(
    bids_dir: Path, output: Path, name: str, case: FoundCase, entry: Mapping[str, Any], atlas: Atlas | None
) -> GroupRow:
    reasons = tuple(review_reasons(entry, name))
    values = {
        "participant_id": f"sub-{case.subject}",
        "session_id": f"ses-{case.session}" if case.session else None,
        "scan": case.scan.relative_to(bids_dir).as_posix(),
        "status": entry.get("status", "missing"),
        "review": "yes" if reasons else "no",
        "review_reasons": "; ".join(reasons) or None,
    }
    if values["status"] != "done":
        return GroupRow(values, reasons, "")
    measures = entry["measures"]
    values |= {column: entry[column] for column in ("load_ml", "lesions", "largest_probability")}
    values |= {column: value for column, value in measures.items() if column in COLUMNS}
    values["warnings"] = "; ".join(entry["warnings"]) or None
    if atlas and "to_mni" in measures:
        values |= {f"{region}_ml": ml for region, ml in _regions_ml(output, name, measures["to_mni"], atlas).items()}
    picture = bids_output(name, PICTURE_SUFFIX)
    return GroupRow(values, reasons, picture if (output / picture).is_file() else "")


def _regions_ml(output: Path, name: str, to_mni: Sequence[Sequence[float]], atlas: Atlas) -> dict[str, float]:
    mask = read_image(output / bids_output(name, MASK_SUFFIX))
    points = lesion_points(mask.voxels > 0, mask.affine, np.array(to_mni))
    return {region: round(ml, 4) for region, ml in atlas.volumes_ml(points, mask.voxel_volume_mm3).items()}


def _shown(value: Any) -> str:
    if value is None:
        return NOT_AVAILABLE
    return " ".join(str(value).split())


def _dictionary(regions: Sequence[str]) -> dict[str, Any]:
    described: dict[str, dict[str, Any]] = {
        column: {"Description": f"{text}.", **({"Units": unit} if unit else {})}
        for column, (text, unit) in COLUMNS.items()
    }
    described["review"]["Levels"] = {"yes": "look at it", "no": "nothing speaks for that"}
    described["review_reasons"]["Limits"] = vars(LIMITS)
    own = {column: {"Description": f"Volume in {column[:-3]} of the atlas.", "Units": "mL"} for column in regions}
    return described | own


def _on_page(row: GroupRow) -> CohortRow:
    values = row.values
    scan = values["scan"].rsplit("/", 1)[-1]
    return CohortRow(scan, values["status"], row.reasons, {column: values.get(column) for column in HEADS}, row.picture)
