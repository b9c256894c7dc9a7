"""A cohort at a glance: one HTML page, the scans that a person should look at first on top, each with its picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from mapping_stroke.console import counted

HEADS = {
    "load_ml": ("Load, mL", "{:.3g}"),
    "lesions": ("Lesions", "{}"),
    "left_ml": ("Left, mL", "{:.3g}"),
    "right_ml": ("Right, mL", "{:.3g}"),
    "agreement": ("Agreement", "{:.0%}"),
}
"""Columns of the page, with their heads and how their numbers are written."""


@dataclass(frozen=True)
class CohortRow:
    """One scan on the page, or one participant without a scan.

    Attributes:
        scan: Its file name, or the participant.
        status: See the columns of the group's table.
        reasons: Why a person should look at it; empty if nothing speaks for that.
        values: A number for every key of `HEADS`, or None.
        picture: Path relative to the page; empty where there is none.
    """

    scan: str
    status: str
    reasons: tuple[str, ...]
    values: Mapping[str, float | None]
    picture: str

    @property
    def cells(self) -> list[str]:
        """The values as they are shown, in the order of `HEADS`."""
        known = ((form, self.values[key]) for key, (_, form) in HEADS.items())
        return ["n/a" if value is None else form.format(value) for form, value in known]

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
    heads = [head for head, _ in HEADS.values()]
    absent = sum(row.status == "no-scan" for row in rows)
    scans = counted(len(rows) - absent, "scan") + (
        f" and {counted(absent, 'participant')} without one" if absent else ""
    )
    return template.render(rows=rows, scans=scans, heads=heads, flagged=flagged, version=version("mapping-stroke"))
