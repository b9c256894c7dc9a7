"""`mapping bids ... group`: a table with one row per scan, and the scans to check first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32

from mapping_stroke.cohort.bids_derivative import bids_output
from mapping_stroke.cohort.bids_scans import BidsScans
from mapping_stroke.cohort.record import Notes
from mapping_stroke.cohort.results import PICTURE_SUFFIX, OutputLayout, is_source
from mapping_stroke.console import track
from mapping_stroke.dataset.cases import FoundCase
from mapping_stroke.dataset.names import parse_bids_name
from mapping_stroke.dataset.sides import Points, lesion_points
from mapping_stroke.errors import SCAN_FAILURES, CaseError, ImageError, MappingError, RunFolderError, describe_failure
from mapping_stroke.files import may_be_file, read_csv, write_csv, write_json, write_text
from mapping_stroke.images.image import read_image
from mapping_stroke.images.nifti import Affine
from mapping_stroke.report.pages import HEADS, CohortRow, write_cohort_page
from mapping_stroke.run_folder import MASK_SUFFIX, read_identity

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


@dataclass(frozen=True)
class Limits:
    """Limits beyond which a scan is flagged for review. They rather flag too many scans than too few."""

    similarity: float = 0.30
    """Correct registrations had at least 0.35; below 0.15 one is refused. See `benchmarks/results/registration.md`."""
    overlap: float = 0.75
    """Correct registrations had at least 0.80; below 0.60 one is refused."""
    agreement: float = 0.6
    """Share of the members that mark a voxel of the mask, mean over the mask."""
    uncertain_ml: float = 10.0
    """Volume on which the members disagree: at least this, and at least the share below of the load."""
    uncertain_share: float = 0.25
    load_ml: float = 300.0
    """Hardly any lesion load in ATLAS R2.0 exceeds this."""
    lesions: int = 15


LIMITS = Limits()


def review_reasons(entry: Mapping[str, Any], name: str, limits: Limits = LIMITS) -> list[str]:
    """Reasons to review a scan, one phrase each, if there are any.

    Args:
        entry: The scan's entry in `run.json`, with the key `outdated` if the scan has changed since; empty if nothing
            is known.
        name: Name of the scan: its entities and `T1w`.
        limits: Numbers beyond them are reasons.
    """
    if not entry:
        return ["not segmented yet"]
    if entry["status"] == "failed":
        return [f"failed: {entry.get('error', 'reason not recorded')}"]
    outdated = [entry["outdated"]] if "outdated" in entry else []
    return [
        *outdated,
        *_name_reasons(name),
        *_fit_reasons(entry, limits),
        *_lesion_reasons(entry, limits),
        *entry["warnings"],
    ]


def _name_reasons(name: str) -> list[str]:
    parsed = parse_bids_name(name)
    if parsed is None or not parsed.medium:
        return []
    return [f"contrast medium (ce-{parsed.medium}): enhancing tissue may be marked or missed"]


def _fit_reasons(entry: Mapping[str, Any], limits: Limits) -> list[str]:
    similarity, overlap = (entry["measures"].get(name) for name in ("similarity", "overlap"))
    if similarity is None or (similarity >= limits.similarity and overlap >= limits.overlap):
        return []
    return [f"the registration is doubtful: similarity {similarity:.2f}, overlap {overlap:.2f}"]


def _lesion_reasons(entry: Mapping[str, Any], limits: Limits) -> list[str]:
    load_ml, lesions, measures = entry["load_ml"], entry["lesions"], entry["measures"]
    agreement, uncertain_ml = measures["agreement"], measures["uncertain_ml"]
    reasons = []
    if lesions == 0:
        reasons.append("no lesion found")
    if load_ml > limits.load_ml:
        reasons.append(f"a load of {load_ml:.0f} mL is unusually large")
    if lesions > limits.lesions:
        reasons.append(f"{lesions} lesions are unusually many")
    if agreement is not None and agreement < limits.agreement:
        reasons.append(f"the members agree on only {agreement:.0%} of the mask")
    if uncertain_ml is not None and uncertain_ml >= max(limits.uncertain_ml, limits.uncertain_share * load_ml):
        reasons.append(f"the members disagree on {uncertain_ml:.1f} mL")
    return reasons


TABLE, DICTIONARY, PAGE = "group_lesions.tsv", "group_lesions.json", "group.html"
NOT_AVAILABLE = "n/a"
"""The BIDS notation for unknown or undefined values."""

COLUMNS: Mapping[str, tuple[str, str]] = {
    "participant_id": ("The person", ""),
    "session_id": ("The visit; n/a if the data set has no sessions", ""),
    "scan": ("The T1w scan, relative to the data set; n/a for a participant without one", ""),
    "status": (
        "`done`, `failed`, `missing` (not segmented yet), `outdated` (the numbers belong to a scan that has been "
        "replaced or removed since), or `no-scan` (a participant without a T1w scan)",
        "",
    ),
    "review": ("`yes` if a person should look at the scan before its numbers are used", ""),
    "review_reasons": ("Reasons for the review, separated by `; `", ""),
    "load_ml": ("Volume of all lesions, in the space of the scan", "mL"),
    "lesions": ("Number of lesions (face-connected)", ""),
    "largest_ml": ("Volume of the largest lesion", "mL"),
    "left_ml": ("Volume left of the midplane of MNI152 (x < 0), in the space of the scan", "mL"),
    "right_ml": ("Volume right of it", "mL"),
    "agreement": ("Share of the members that mark a voxel of the mask, mean over the mask, 0 to 1", ""),
    "uncertain_ml": ("Volume in which the members' standard deviation of P(lesion) is above 0.25", "mL"),
    "largest_probability": ("Largest P(lesion) in the scan", ""),
    "similarity": ("Of the registration: share of the variance explained by the template's tissues, 0 to 1", ""),
    "overlap": ("Of the registration: Dice of the template's brain and the scan's, 0 to 1", ""),
    "warnings": ("Doubts about the scan, separated by `; `", ""),
}
"""Meaning and unit of each column of the table."""


OUTDATED, NO_SCAN = "outdated", "no-scan"
"""Values of `status`."""
REPLACED = "its scan has been replaced since it was segmented: the numbers belong to the old one; rerun `participant`"
GONE = "its scan is no longer in the data set: the numbers belong to the old one; put it back, or remove its results"


@dataclass(frozen=True, eq=False)
class GroupRow:
    """One scan in the table, or one participant without a scan.

    Attributes:
        values: Value of each column; None if unknown.
        reasons: Reasons for a review.
        picture: Path of its picture relative to the derivative; empty if there is none.
        unread: Whether its mask could not be read, so that the volumes by region are unknown.
    """

    values: dict[str, Any]
    reasons: tuple[str, ...]
    picture: str = ""
    unread: bool = False


def write_group(bids_dir: Path, layout: OutputLayout, scans: BidsScans, atlas: Atlas | None = None) -> list[GroupRow]:
    """Write the table, its data dictionary and the page from the results of the participants' runs.

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
    known = _known(layout)
    rows = [
        _row(output, name, _first_columns(bids_dir, case), _with_age(known.get(name, {}), case.scan), atlas)
        for name, case in track(scans.cases.items(), "Checking for changed scans", len(scans.cases))
    ]
    for name in scans.gone(name for name, entry in known.items() if entry["status"] == "done"):
        entry = known[name]
        case = _gone_case(bids_dir, name, entry)
        gone = {**entry, "status": OUTDATED, "outdated": GONE}
        rows.append(_row(output, name, _first_columns(bids_dir, case), gone, atlas))
    listed = {row.values["participant_id"] for row in rows}
    rows += [_row_without(label, why) for label, why in scans.without.items() if f"sub-{label}" not in listed]
    # a stable sort, so that each participant's scans keep their order
    rows.sort(key=lambda row: str(row.values["participant_id"]))
    regions = [f"{name}_ml" for name in atlas.regions] if atlas else []
    # a region named `load` would overwrite the column `load_ml`
    clash = sorted(set(regions) & set(COLUMNS))
    if clash:
        raise CaseError(f"the atlas has regions named like columns of the table ({', '.join(clash)}); rename them")
    filled = [{column: _cell(row.values.get(column)) for column in (*COLUMNS, *regions)} for row in rows]
    write_csv(output / TABLE, (*COLUMNS, *regions), filled, delimiter="\t")
    write_json(output / DICTIONARY, _dictionary(regions))
    write_text(output / PAGE, write_cohort_page([_on_page(row) for row in worst_first(rows)]))
    return rows


def worst_first(rows: Sequence[GroupRow]) -> list[GroupRow]:
    """Rows that were not segmented first, then those with the most reasons for review, then the largest loads."""
    return sorted(
        rows,
        key=lambda row: (row.values["status"] == "done", -len(row.reasons), -(row.values.get("load_ml") or 0.0)),
    )


def _known(layout: OutputLayout) -> dict[str, dict[str, Any]]:
    notes = Notes(layout)
    done = {name: {"status": "done", **stamp} for name, stamp in notes.stamps().items()}
    return done | {name: {"status": "failed", **entry} for name, entry in notes.failures().items()}


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
    values = {"participant_id": f"sub-{label}", "status": NO_SCAN, "review": "yes", "review_reasons": why}
    return GroupRow(values, (why,))


def _row(output: Path, name: str, first: Mapping[str, Any], entry: Mapping[str, Any], atlas: Atlas | None) -> GroupRow:
    reasons = review_reasons(entry, name)
    values = {**first, "status": entry.get("status", "missing")}
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
    has_picture = "load_ml" in values and may_be_file(output / picture)
    return GroupRow(values, tuple(reasons), picture if has_picture else "", unread)


def _numbers(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The columns taken from the stamp of a scan."""
    values = {column: entry[column] for column in ("load_ml", "lesions", "largest_probability")}
    values |= {column: value for column, value in entry["measures"].items() if column in COLUMNS}
    return values | {"warnings": "; ".join(entry["warnings"]) or None}


def _regions_ml(output: Path, name: str, to_mni: Sequence[Sequence[float]], atlas: Atlas) -> dict[str, float]:
    mask = read_image(output / bids_output(name, MASK_SUFFIX))
    points = lesion_points(mask.voxels > 0, mask.affine, np.array(to_mni))
    return {f"{region}_ml": round(ml, 4) for region, ml in atlas.volumes_ml(points, mask.voxel_volume_mm3).items()}


def _cell(value: Any) -> str:
    if value is None:
        return NOT_AVAILABLE
    return " ".join(str(value).split())


def _dictionary(regions: Sequence[str]) -> dict[str, Any]:
    described: dict[str, dict[str, Any]] = {
        column: {"Description": f"{text}.", **({"Units": unit} if unit else {})}
        for column, (text, unit) in COLUMNS.items()
    }
    described["review"]["Levels"] = {"yes": "look at the scan", "no": "no reason to"}
    described["review_reasons"]["Limits"] = vars(LIMITS)
    own = {column: {"Description": f"Volume in {column[:-3]} of the atlas.", "Units": "mL"} for column in regions}
    return described | own


def _on_page(row: GroupRow) -> CohortRow:
    values = row.values
    scan = values.get("scan", values["participant_id"]).rsplit("/", 1)[-1]
    return CohortRow(scan, values["status"], row.reasons, {column: values.get(column) for column in HEADS}, row.picture)
