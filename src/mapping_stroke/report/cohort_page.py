"""The page of a cohort: counts, a table that sorts and filters, volumes and lesion overlap, in one HTML file."""

import base64
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup

from mapping_stroke.console import counted
from mapping_stroke.report.cohort_figures import draw_volumes
from mapping_stroke.report.html import asset, render
from mapping_stroke.report.style import NOT_CLINICAL, load_words
from mapping_stroke.report.tables import NONE

NO_SCAN = "no-scan"
STATUSES = {"done": "segmented", "failed": "failed", "missing": "not segmented yet", "outdated": "outdated"}
"""Words for each status of a scan, in the order of the summary."""
RATINGS = {"accept": "accepted", "doubtful": "doubtful", "reject": "rejected"}
SHOW_PICTURES = 30
"""Pictures of so many scans are shown at once; of more only on request."""


def _volume(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


HEADS: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "load_ml": ("Load, mL", _volume),
    "edited_ml": ("Corrected, mL", _volume),
    "lesions": ("Lesions", str),
    "left_ml": ("Left, mL", _volume),
    "right_ml": ("Right, mL", _volume),
    "agreement": ("Agreement", "{:.0%}".format),
    "uncertain_ml": ("Uncertain, mL", _volume),
    "similarity": ("Similarity", "{:.2f}".format),
    "dice": ("Dice", "{:.2f}".format),
}
"""Columns of numbers: heads and formats. A column without any number is left out."""


@dataclass(frozen=True)
class CohortRow:
    """One scan on the page, or one participant without a scan.

    Attributes:
        scan: Its file name, or the participant.
        status: See the columns of the cohort's table.
        reasons: Reasons for a visual check; empty if there are none.
        values: Numbers by the keys of `HEADS`; None or missing if unknown.
        page: Address of its page relative to this one; empty if there is none.
        picture: That of its picture.
        rating: `accept`, `doubtful`, `reject` or empty.
        note: What was noted with it.
        to_check: Whether it should be looked at first.
    """

    scan: str
    status: str
    reasons: tuple[str, ...]
    values: Mapping[str, float | None]
    page: str = ""
    picture: str = ""
    rating: str = ""
    note: str = ""
    to_check: bool = False

    @property
    def tags(self) -> list[str]:
        """The filters that show it."""
        found = {
            "check": self.to_check,
            "failed": self.status != "done",
            "rated": bool(self.rating),
            "unrated": self.status == "done" and not self.rating,
            "edited": self.values.get("edited_ml") is not None,
        }
        return [tag for tag, holds in found.items() if holds]

    @property
    def rated(self) -> str:
        """The rating in a word."""
        return RATINGS.get(self.rating, "")

    @property
    def page_url(self) -> str:
        """The page as a link."""
        return quote(self.page)

    @property
    def picture_url(self) -> str:
        """The picture as a link."""
        return quote(self.picture)


FILTERS = {
    "": "All",
    "check": "To check first",
    "failed": "Not segmented",
    "unrated": "Not rated",
    "rated": "Rated",
    "edited": "Corrected",
}
"""Tags and their buttons."""


@dataclass(frozen=True)
class Overlap:
    """The overlap picture of a page.

    Attributes:
        picture: PNG next to the page; None if no map could be made.
        caption: What it shows, and which scans are left out.
        links: Names of the maps, next to the page.
    """

    picture: Path | None
    caption: str
    links: Sequence[str] = ()

    @property
    def data(self) -> str:
        """The picture in base64; empty without one."""
        return base64.b64encode(self.picture.read_bytes()).decode("ascii") if self.picture else ""


def render_cohort_page(
    rows: Sequence[CohortRow], volumes_ml: Sequence[float], overlap: Overlap, table: str, dictionary: str
) -> str:
    """The page as HTML. It needs no network, and no other file except for links and pictures of single scans.

    Args:
        rows: The scans, those to check first at the top.
        volumes_ml: Final lesion volumes of the scans that count, 0 for none.
        overlap: The overlap maps.
        table: File name of the table, next to the page.
        dictionary: That of its data dictionary.
    """
    heads = {key: words for key, words in HEADS.items() if any(row.values.get(key) is not None for row in rows)}
    tags = Counter(tag for row in rows for tag in ("", *row.tags))
    return render(
        "cohort.html.j2",
        rows=rows,
        heads=[head for head, _ in heads.values()],
        cells=partial(_cells, heads=heads),
        summary=count_in_words(rows),
        filters=[(tag, words, tags[tag]) for tag, words in FILTERS.items() if tags[tag] or not tag],
        has_ratings=any(row.rating or row.note for row in rows),
        has_pictures=any(row.picture for row in rows),
        show_pictures=len(rows) <= SHOW_PICTURES,
        chart=draw_volumes(volumes_ml) if volumes_ml else Markup(""),
        volumes=_describe_volumes(volumes_ml),
        overlap=overlap,
        table=table,
        dictionary=dictionary,
        script=asset("cohort_page.js"),
        not_clinical=NOT_CLINICAL,
    )


def count_in_words(rows: Sequence[CohortRow]) -> list[str]:
    """Sentences about the numbers of scans, of those to check, and of ratings and corrections."""
    statuses, ratings = Counter(row.status for row in rows), Counter(row.rating for row in rows if row.rating)
    absent = statuses[NO_SCAN]
    scans = counted(len(rows) - absent, "scan")
    without = f" and {counted(absent, 'participant')} without one" if absent else ""
    kinds = ", ".join(f"{statuses[status]} {words}" for status, words in STATUSES.items() if statuses[status])
    sentences = [f"{scans}{without}" + (f": {kinds}." if kinds else ".")]
    sentences.append(f"{sum(row.to_check for row in rows)} to check first.")
    if ratings:
        each = ", ".join(f"{ratings[rating]} {words}" for rating, words in RATINGS.items() if ratings[rating])
        sentences.append(f"{ratings.total()} rated: {each}.")
    edited = sum(row.values.get("edited_ml") is not None for row in rows)
    if edited:
        sentences.append(f"{counted(edited, 'mask')} corrected.")
    return sentences


def _describe_volumes(volumes_ml: Sequence[float]) -> str:
    marked = [volume for volume in volumes_ml if volume > 0]
    if not marked:
        return f"No lesion in {counted(len(volumes_ml), 'scan')}." if volumes_ml else "No scan has been segmented."
    none = len(volumes_ml) - len(marked)
    middle, least, most = (load_words(of(marked)) for of in (statistics.median, min, max))
    count = f"{counted(len(marked), 'scan')} with lesions"
    return f"{count}: median {middle}, from {least} to {most}" + (f"; {none} without." if none else ".")


def _cells(row: CohortRow, heads: Mapping[str, tuple[str, Callable[[float], str]]]) -> list[tuple[str, float | None]]:
    """Text and number of each cell."""
    known = ((words, row.values.get(key)) for key, (_, words) in heads.items())
    return [(NONE if value is None else words(value), value) for words, value in known]
