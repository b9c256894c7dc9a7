"""A cohort at a glance: one HTML page, the scans that a person should look at first on top, each with its picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

HEADS = {
    "load_ml": "Load, mL",
    "lesions": "Lesions",
    "left_ml": "Left, mL",
    "right_ml": "Right, mL",
    "agreement": "Agreement",
}
"""Columns of the page."""


@dataclass(frozen=True)
class CohortRow:
    """One scan on the page.

    Attributes:
        scan: Its file name.
        status: `done`, `failed` or `missing`.
        reasons: Why a person should look at it; empty if nothing speaks for that.
        values: Text for every key of `HEADS`.
        picture: Path relative to the page; empty where there is none.
    """

    scan: str
    status: str
    reasons: tuple[str, ...]
    values: Mapping[str, str]
    picture: str

    @property
    def picture_url(self) -> str:
        """The picture as a link."""
        return quote(self.picture)


def write_cohort_page(rows: Sequence[CohortRow]) -> str:
    """The page, rows in the order given; pictures are linked, not held."""
    environment = Environment(
        loader=PackageLoader("mapping_stroke.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    template = environment.get_template("cohort.html.j2")
    flagged = sum(bool(row.reasons) for row in rows)
    return template.render(rows=rows, heads=HEADS, flagged=flagged, version=version("mapping-stroke"))
