"""`mapping bids ... group`: one row per scan, and which scans to check first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mapping_stroke.cohort.bids_derivative import KIND, Atlas, bids_output, lesion_points
from mapping_stroke.cohort.bids_scans import BidsScans
from mapping_stroke.cohort.record import Notes
from mapping_stroke.cohort.results import PICTURE_SUFFIX, is_source
from mapping_stroke.console import track
from mapping_stroke.dataset.cases import FoundCase
from mapping_stroke.dataset.names import parse_bids_name
from mapping_stroke.errors import SCAN_FAILURES, CaseError, MappingError, RunFolderError, describe_failure
from mapping_stroke.files import may_be_file, write_csv, write_json, write_text
from mapping_stroke.images.image import read_image
from mapping_stroke.report.pages import HEADS, CohortRow, write_cohort_page
from mapping_stroke.run_folder import MASK_SUFFIX, read_identity


@dataclass(frozen=True)
class Limits:
    """Beyond these a scan is flagged: rather too often than too seldom, and nothing is refused."""

    similarity: float = 0.30
    """Right registrations had 0.35 and more; below 0.15 one is refused. See `benchmarks/results/registration.md`."""
    overlap: float = 0.75
    """Right registrations had 0.80 and more; below 0.60 one is refused."""
    agreement: float = 0.6
    """Share of the members that see a voxel of the mask, mean over the mask."""
    uncertain_ml: float = 10.0
    """Volume about which the members disagree: at least this, and at least the share below of the load."""
    uncertain_share: float = 0.25
    load_ml: float = 300.0
    """No lesion load in ATLAS R2.0 is much above this."""
    lesions: int = 15


LIMITS = Limits()


def review_reasons(entry: Mapping[str, Any], name: str, limits: Limits = LIMITS) -> list[str]:
    """Why a person should look at a scan, a phrase each; empty where nothing speaks for it.

    Args:
        entry: What `run.json` says of the scan, and under `outdated` why that is not of the scan as it is now; empty if
            nothing is known.
        name: Of the scan: its entities and `T1w`.
        limits: Beyond which a number is a reason.
    """
    if not entry:
        return ["not segmented yet"]
    if entry["status"] == "failed":
        return [f"failed: {entry.get('error', 'nobody knows why')}"]
    outdated = [entry["outdated"]] if "outdated" in entry else []
    return [*outdated, *_of_name(name), *_of_place(entry, limits), *_of_lesions(entry, limits), *entry["warnings"]]


def _of_name(name: str) -> list[str]:
    parsed = parse_bids_name(name)
    if parsed is None or not parsed.medium:
        return []
    return [f"contrast medium (ce-{parsed.medium}): enhancing tissue may be marked or missed"]


def _of_place(entry: Mapping[str, Any], limits: Limits) -> list[str]:
    similarity, overlap = (entry["measures"].get(name) for name in ("similarity", "overlap"))
    if similarity is None or (similarity >= limits.similarity and overlap >= limits.overlap):
        return []
    return [f"the registration is doubtful: similarity {similarity:.2f}, overlap {overlap:.2f}"]


def _of_lesions(entry: Mapping[str, Any], limits: Limits) -> list[str]:
    load_ml, lesions, measures = entry["load_ml"], entry["lesions"], entry["measures"]
    agreement, uncertain_ml = measures["agreement"], measures["uncertain_ml"]
    reasons = []
    if lesions == 0:
        reasons.append("no lesion found")
    if load_ml > limits.load_ml:
        reasons.append(f"a load of {load_ml:.0f} mL is extraordinarily large")
    if lesions > limits.lesions:
        reasons.append(f"{lesions} lesions are many")
    if agreement is not None and agreement < limits.agreement:
        reasons.append(f"the members agree on {agreement:.0%} of the mask only")
    if uncertain_ml is not None and uncertain_ml >= max(limits.uncertain_ml, limits.uncertain_share * load_ml):
        reasons.append(f"the members disagree about {uncertain_ml:.1f} mL")
    return reasons


TABLE, DICTIONARY, PAGE = "group_lesions.tsv", "group_lesions.json", "group.html"
NOT_AVAILABLE = "n/a"
"""How BIDS writes what is not known or not defined."""

COLUMNS: Mapping[str, tuple[str, str]] = {
    "participant_id": ("The person", ""),
    "session_id": ("The visit; n/a where the data set has none", ""),
    "scan": ("The T1w scan, relative to the data set; n/a for a participant without one", ""),
    "status": (
        "`done`, `failed`, `missing` (not segmented yet), `outdated` (the numbers are of a scan that was replaced "
        "since, or is gone), or `no-scan` (a participant without a T1w scan)",
        "",
    ),
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


OUTDATED, NO_SCAN = "outdated", "no-scan"
"""Values of `status`."""
REPLACED = "its scan was replaced since it was segmented: the numbers are of the old one; run `participant` again"
GONE = "its scan is no longer in the data set: the numbers are of the one that was; put it back, or remove its results"


@dataclass(frozen=True, eq=False)
class GroupRow:
    """One scan in the table, or one participant without a scan.

    Attributes:
        values: By column; None for what is not known.
        reasons: Why a person should look at it.
        picture: Relative to the derivative; empty where there is none.
        unread: Its mask could not be read, so that the volumes by region are unknown.
    """

    values: dict[str, Any]
    reasons: tuple[str, ...]
    picture: str = ""
    unread: bool = False


def write_group(bids_dir: Path, output: Path, scans: BidsScans, atlas: Atlas | None = None) -> list[GroupRow]:
    """Write the table, its dictionary and the page, from what the participants' runs left in a derivative.

    Args:
        bids_dir: Data set.
        output: Its derivative.
        scans: Of the data set.
        atlas: Adds a column for each of its regions.

    Returns:
        The rows, in the order of the participants: of all scans, of results whose scan is gone, and of participants
        without a scan.

    Raises:
        MappingError: The folder holds no such derivative.
    """
    if read_identity(output).get("kind") != KIND:
        raise RunFolderError(f"{output}: holds no results of `mapping bids`; name the folder that `participant` wrote")
    known = _known(output)
    rows = [
        _row(output, name, _whose(bids_dir, case), _as_it_is(known.get(name, {}), case.scan), atlas)
        for name, case in track(scans.cases.items(), "Looking for changed scans", len(scans.cases))
    ]
    for name in scans.gone(name for name, entry in known.items() if entry["status"] == "done"):
        entry = known[name]
        case = _gone_case(bids_dir, name, entry)
        rows.append(_row(output, name, _whose(bids_dir, case), {**entry, "status": OUTDATED, "outdated": GONE}, atlas))
    told = {row.values["participant_id"] for row in rows}
    rows += [_row_without(label, why) for label, why in scans.without.items() if f"sub-{label}" not in told]
    rows.sort(key=lambda row: str(row.values["participant_id"]))
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


def _as_it_is(entry: Mapping[str, Any], scan: Path) -> Mapping[str, Any]:
    """What is known of a scan; why that is `outdated`, if it is of another scan than lies there now."""
    if entry.get("status") != "done":
        return entry
    try:
        outdated = "" if is_source(entry["source"], scan) else REPLACED
    except (MappingError, OSError) as error:
        outdated = f"its scan cannot be read any more, so it may have been replaced: {describe_failure(error, scan)}"
    return {**entry, "status": OUTDATED, "outdated": outdated} if outdated else entry


def _whose(bids_dir: Path, case: FoundCase) -> dict[str, Any]:
    """The first columns of a row."""
    return {
        "participant_id": f"sub-{case.subject}",
        "session_id": f"ses-{case.session}" if case.session else None,
        "scan": case.scan.relative_to(bids_dir).as_posix(),
    }


def _gone_case(bids_dir: Path, name: str, entry: Mapping[str, Any]) -> FoundCase:
    """The case of a scan that is in the data set no more, wherever that lay then."""
    parsed = parse_bids_name(name)
    entities = parsed.entities if parsed else {}
    scan = Path(entry["source"].get("scan", name))
    inside = scan if scan.is_relative_to(bids_dir) else bids_dir / scan.name
    return FoundCase(name, entities.get("sub", ""), entities.get("ses", ""), "", inside, None)


def _row_without(label: str, why: str) -> GroupRow:
    values = {"participant_id": f"sub-{label}", "status": NO_SCAN, "review": "yes", "review_reasons": why}
    return GroupRow(values, (why,))


def _row(output: Path, name: str, whose: Mapping[str, Any], entry: Mapping[str, Any], atlas: Atlas | None) -> GroupRow:
    reasons = review_reasons(entry, name)
    values = {**whose, "status": entry.get("status", "missing")}
    unread = False
    if values["status"] in ("done", OUTDATED):
        values |= _numbers(entry)
        if atlas and "to_mni" in entry["measures"]:
            try:
                values |= _regions_ml(output, name, entry["measures"]["to_mni"], atlas)
            except SCAN_FAILURES as error:
                reasons.append(f"volumes by region are unknown: {describe_failure(error)}")
                unread = True
    values |= {"review": "yes" if reasons else "no", "review_reasons": "; ".join(reasons) or None}
    picture = bids_output(name, PICTURE_SUFFIX)
    shown = "load_ml" in values and may_be_file(output / picture)
    return GroupRow(values, tuple(reasons), picture if shown else "", unread)


def _numbers(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that the stamp of a scan tells."""
    values = {column: entry[column] for column in ("load_ml", "lesions", "largest_probability")}
    values |= {column: value for column, value in entry["measures"].items() if column in COLUMNS}
    return values | {"warnings": "; ".join(entry["warnings"]) or None}


def _regions_ml(output: Path, name: str, to_mni: Sequence[Sequence[float]], atlas: Atlas) -> dict[str, float]:
    mask = read_image(output / bids_output(name, MASK_SUFFIX))
    points = lesion_points(mask.voxels > 0, mask.affine, np.array(to_mni))
    return {f"{region}_ml": round(ml, 4) for region, ml in atlas.volumes_ml(points, mask.voxel_volume_mm3).items()}


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
    scan = values.get("scan", values["participant_id"]).rsplit("/", 1)[-1]
    return CohortRow(scan, values["status"], row.reasons, {column: values.get(column) for column in HEADS}, row.picture)
