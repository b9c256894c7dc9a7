"""All scans of an output folder: what a person should check first, a table, a lesion overlap map, and a page."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mapping_stroke.cohort.overlap import OverlapFacts, PlacedMask, write_overlap
from mapping_stroke.cohort.regions import (
    as_columns,
    final_sides,
    final_volumes,
    recorded_atlas,
    recorded_regions,
    recorded_volumes,
    region_column,
    require_free,
)
from mapping_stroke.cohort.results import PAGE_SUFFIX, PICTURE_SUFFIX, OutputLayout
from mapping_stroke.cohort.review import LIMITS, Review, final_mask, is_outdated, read_review, review_reasons
from mapping_stroke.console import counted, warn
from mapping_stroke.errors import SCAN_FAILURES, describe_failure
from mapping_stroke.files import may_be_file, write_csv, write_json, write_text
from mapping_stroke.images.image import read_image
from mapping_stroke.space.atlas import Atlas

if TYPE_CHECKING:
    from mapping_stroke.report.cohort_page import CohortRow, Overlap

NOT_AVAILABLE = "n/a"
"""The BIDS notation for unknown or undefined values."""
OUTDATED = "outdated"
"""Status of a scan that was replaced or removed after it was segmented."""
SETTLED = ("accept", "reject")
"""Ratings of scans that need no further check."""
REJECTED, UNPLACED, UNREADABLE = "rated reject", "place in MNI152 space not known", "mask cannot be read"
"""Reasons why a scan is not in the overlap map."""
Columns = Mapping[str, tuple[str, str]]
"""Meaning and unit of each column of a table."""
SCAN_COLUMNS: Columns = {
    "status": ("`done` or `failed`", ""),
    "review": ("`yes` if a person should look at the scan before its numbers are used", ""),
    "review_reasons": ("Reasons for the review, separated by `; `", ""),
    "load_ml": ("Volume of all lesions as segmented, in the space of the scan", "mL"),
    "lesions": ("Number of lesions (face-connected)", ""),
    "largest_ml": ("Volume of the largest lesion", "mL"),
    "left_ml": ("Volume left of the midplane of MNI152 (x < 0), in the space of the scan", "mL"),
    "right_ml": ("Volume right of it", "mL"),
    "agreement": ("Share of the predictions that mark a voxel of the mask, mean over the mask, 0 to 1", ""),
    "uncertain_ml": ("Volume in which the standard deviation of P(lesion) over the predictions is above 0.25", "mL"),
    "largest_probability": ("Largest P(lesion) in the scan", ""),
    "similarity": ("Of the registration: share of the variance explained by the template's tissues, 0 to 1", ""),
    "overlap": ("Of the registration: Dice of the template's brain and the scan's, 0 to 1", ""),
    "warnings": ("Doubts about the scan, separated by `; `", ""),
    "rating": ("Rating by a person: `accept`, `doubtful` or `reject`", ""),
    "note": ("Note by a person", ""),
    "edited_ml": ("Volume of the mask that a person has corrected", "mL"),
    "dice": ("Dice of the final mask against the reference that was given; n/a without one", ""),
}
"""Columns that do not depend on the layout."""
COHORT_COLUMNS: Columns = {"scan": ("Name of the scan, with which its files begin", ""), **SCAN_COLUMNS}


SIDES = ("left_ml", "right_ml")
UNREVIEWED = Review()


@dataclass(frozen=True, eq=False)
class GroupRow:
    """One scan in the table, or one participant without a scan.

    Attributes:
        name: Name of the scan's results; empty for a participant without a scan.
        label: Text for the page.
        values: Value of each column; None or missing if unknown.
        reasons: Reasons for a review.
        review: What a person has said about it.
        to_mni: The scan's millimetres to those of MNI152 (4 x 4); None if unknown.
        unread: Whether its mask or its atlas could not be read, so that volumes by side or region are unknown.
    """

    name: str
    label: str
    values: dict[str, Any]
    reasons: tuple[str, ...]
    review: Review = UNREVIEWED
    to_mni: Sequence[Sequence[float]] | None = None
    unread: bool = False

    @property
    def is_done(self) -> bool:
        """Whether its numbers belong to the scan as it is now."""
        return bool(self.values["status"] == "done")

    @property
    def to_check(self) -> bool:
        """Whether a person should look at it first."""
        return bool(self.values["review"] == "yes")

    @property
    def final_ml(self) -> float:
        """Volume of the final mask."""
        return float(self.values["load_ml"] if self.review.edited_ml is None else self.review.edited_ml)


def make_row(
    layout: OutputLayout, name: str, label: str, first: Mapping[str, Any], entry: Mapping[str, Any]
) -> GroupRow:
    """The row of a scan.

    Args:
        layout: The output folder.
        name: Name of its results.
        label: Text for the page.
        first: The columns that depend on the layout.
        entry: See `review_reasons`.
    """
    reasons = review_reasons(entry, name)
    values: dict[str, Any] = {**first, "status": entry.get("status", "missing")}
    review, measures = UNREVIEWED, entry.get("measures", {})
    settled = False
    if "load_ml" in entry:
        review = read_review(layout, name)
        doubts = _doubts(layout, name, review)
        settled = review.rating in SETTLED and values["status"] == "done" and not doubts
        reasons += doubts
        values |= _numbers(entry, measures)
        values |= {"rating": review.rating or None, "note": review.note or None, "edited_ml": review.edited_ml}
        values["dice"] = review.edited_dice if review.edited else entry.get("scores", {}).get("dice")
    values |= {"review": "yes" if reasons and not settled else "no", "review_reasons": "; ".join(reasons) or None}
    return GroupRow(name, label, values, tuple(reasons), review, measures.get("to_mni"))


def _doubts(layout: OutputLayout, name: str, review: Review) -> list[str]:
    """Reasons for another look at a scan that a person has reviewed."""
    doubts = ["rated doubtful"] if review.rating == "doubtful" else []
    if is_outdated(layout, name, review):
        doubts.append("it was segmented again after its mask was corrected: check the corrected mask")
    return doubts


def _numbers(entry: Mapping[str, Any], measures: Mapping[str, Any]) -> dict[str, Any]:
    """The columns taken from the stamp of a scan."""
    values = {column: entry[column] for column in ("load_ml", "lesions", "largest_probability")}
    values |= {column: value for column, value in measures.items() if column in SCAN_COLUMNS}
    return values | {"warnings": "; ".join(entry["warnings"]) or None}


def measure_row(layout: OutputLayout, row: GroupRow, entry: Mapping[str, Any], atlas: Atlas | None = None) -> GroupRow:
    """The row with the volumes by region, and those by side if its mask was corrected: of the final mask.

    Args:
        layout: The output folder.
        row: The row.
        entry: See `review_reasons`.
        atlas: Regions; None for those that the scan was segmented with, if any.

    Returns:
        A volume that cannot be measured, because the mask or the atlas cannot be read, is unknown and a reason for a
        review.
    """
    segmented = recorded_volumes(entry) if atlas is None else {}
    row = replace(row, values=row.values | as_columns(segmented))
    to_mni, corrected = row.to_mni, bool(row.review.edited)
    if to_mni is None:
        return row
    if corrected:
        row = _measured(row, "volumes by side are unknown", SIDES, lambda: final_sides(layout, row.name, to_mni))
    if atlas is not None or (segmented and corrected):
        columns = [*map(region_column, atlas.regions if atlas else segmented)]
        used = recorded_atlas if atlas is None else lambda _: atlas
        row = _measured(
            row,
            "volumes by region are unknown",
            columns,
            lambda: as_columns(final_volumes(layout, row.name, to_mni, used(entry))),
        )
    return row


def _measured(
    row: GroupRow, failure: str, columns: Iterable[str], measure: Callable[[], dict[str, float | None]]
) -> GroupRow:
    """A row with measured columns; if that fails, they are unknown."""
    try:
        return replace(row, values=row.values | measure())
    except SCAN_FAILURES as error:
        reasons = (*row.reasons, f"{failure}: {describe_failure(error)}")
        told = {"review": "yes", "review_reasons": "; ".join(reasons)}
        return replace(row, values=row.values | dict.fromkeys(columns) | told, reasons=reasons, unread=True)


def with_regions(columns: Columns, regions: Iterable[str]) -> Columns:
    """The columns of a table with one more for each region of an atlas; raises `CaseError` if one is taken."""
    require_free(regions, columns)
    return {**columns, **{region_column(name): (f"Volume in {name} of the atlas", "mL") for name in regions}}


def worst_first(rows: Sequence[GroupRow], *, settled_last: bool = True) -> list[GroupRow]:
    """Rows that were not segmented first, then those with the most reasons for review, then the largest loads.

    Args:
        rows: The rows.
        settled_last: Whether what was rated, and needs no other look, comes last.
    """
    return sorted(
        rows,
        key=lambda row: (
            row.is_done,
            settled_last and not row.to_check and row.review.rating in SETTLED,
            -len(row.reasons),
            -(row.values.get("load_ml") or 0.0),
        ),
    )


def write_cohort(layout: OutputLayout, scans: Mapping[str, Mapping[str, Any]], *, page: bool) -> list[GroupRow]:
    """Write the files about all scans of a folder of `mapping segment`, see `write_group_files`.

    Args:
        layout: The folder.
        scans: The entries of `run.json`, by name.
        page: Also write the page and draw the overlap picture.
    """
    rows = [
        measure_row(layout, make_row(layout, name, name, {"scan": name}, entry), entry) for name, entry in scans.items()
    ]
    write_group_files(layout, rows, with_regions(COHORT_COLUMNS, recorded_regions(scans.values())), page=page)
    return rows


def write_group_files(layout: OutputLayout, rows: Sequence[GroupRow], columns: Columns, *, page: bool) -> None:
    """Write the table, its data dictionary, the lesion overlap maps and the page.

    Args:
        layout: The output folder, whose `group` names the files.
        rows: All scans in the order of the table.
        columns: Columns of the table.
        page: Also write the page and draw the overlap picture.
    """
    folder, names = layout.folder, layout.group
    filled = [{column: _cell(row.values.get(column)) for column in columns} for row in rows]
    write_csv(folder / names.table, tuple(columns), filled, delimiter="\t")
    write_json(folder / names.dictionary, _dictionary(columns))
    overlap = _write_overlap(layout, rows)
    if not page:
        return
    from mapping_stroke.report.cohort_page import render_cohort_page

    volumes_ml = [row.final_ml for row in rows if row.is_done and row.review.rating != "reject"]
    shown = [_on_page(layout, row) for row in worst_first(rows)]
    drawn = _overlap_on_page(layout, overlap)
    write_text(folder / names.page, render_cohort_page(shown, volumes_ml, drawn, names.table, names.dictionary))


def _write_overlap(layout: OutputLayout, rows: Sequence[GroupRow]) -> OverlapFacts:
    """Write the overlap maps of the scans that count, and warn of masks that cannot be read."""
    masks, left_out = [], dict[str, list[str]]()
    for row in rows:
        if not row.is_done:
            continue
        reason = REJECTED if row.review.rating == "reject" else UNPLACED if row.to_mni is None else None
        if reason:
            left_out.setdefault(reason, []).append(row.name)
        elif row.to_mni is not None:
            masks.append(PlacedMask(row.name, final_mask(layout, row.name), row.to_mni))
    facts = write_overlap(layout.folder, layout.group, masks, left_out)
    for name, reason in facts.unreadable.items():
        warn(f"{name}: is not in the lesion overlap map, as its mask cannot be read ({reason})")
    return facts


def _overlap_on_page(layout: OutputLayout, facts: OverlapFacts) -> "Overlap":
    """Draw the overlap maps, unless the picture shows them already, and describe them."""
    from mapping_stroke.report.cohort_page import Overlap

    folder, names = layout.folder, layout.group
    reasons = {**facts.left_out, **({UNREADABLE: [*facts.unreadable]} if facts.unreadable else {})}
    left_out = "; ".join(f"{counted(len(scans), 'scan')} ({reason})" for reason, scans in reasons.items())
    without = f" Left out: {left_out}." if left_out else ""
    if not facts.scans:
        return Overlap(None, f"There is no overlap map, as no scan can be in it.{without}")
    picture = folder / names.overlap_picture
    if not picture.is_file():
        from mapping_stroke.report.cohort_figures import draw_overlap

        counts, mirrored = (
            read_image(folder / name).voxels.astype(np.uint16) for name in (names.overlap, names.mirrored)
        )
        draw_overlap(counts, mirrored, facts.scans, picture)
    caption = (
        f"{counted(facts.scans, 'scan')} in MNI152 space; at most {facts.most} overlap in a voxel, or "
        f"{facts.most_mirrored} with both sides on one hemisphere.{without}"
    )
    return Overlap(picture, caption, (names.overlap, names.mirrored))


def _on_page(layout: OutputLayout, row: GroupRow) -> "CohortRow":
    from mapping_stroke.report.cohort_page import HEADS, CohortRow

    def existing(suffix: str) -> str:
        path = layout.relative(row.name, suffix) if "load_ml" in row.values else ""
        return path if path and may_be_file(layout.folder / path) else ""

    return CohortRow(
        scan=row.label,
        status=row.values["status"],
        reasons=row.reasons,
        values={column: row.values.get(column) for column in HEADS},
        page=existing(PAGE_SUFFIX),
        picture=existing(PICTURE_SUFFIX),
        rating=row.review.rating,
        note=row.review.note,
        to_check=row.to_check,
    )


def _cell(value: Any) -> str:
    if value is None:
        return NOT_AVAILABLE
    return " ".join(str(value).split())


def _dictionary(columns: Columns) -> dict[str, Any]:
    described: dict[str, dict[str, Any]] = {
        column: {"Description": f"{text}.", **({"Units": unit} if unit else {})}
        for column, (text, unit) in columns.items()
    }
    described["review"]["Levels"] = {"yes": "look at the scan", "no": "no reason to, or rated already"}
    described["review_reasons"]["Limits"] = vars(LIMITS)
    return described
