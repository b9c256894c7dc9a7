"""An interactive view of a few scored cases within another page: the mask beside the reference, and the probability."""

from collections.abc import Sequence

from markupsafe import Markup

from mapping_stroke.report.html import asset, embedded_json, render, viewer_library, viewer_licences
from mapping_stroke.report.page_grid import make_page_grid
from mapping_stroke.report.pages import Section
from mapping_stroke.report.scan_page import ScanContent, pack_volumes
from mapping_stroke.report.slices import view

MOST_CASES = 4
MOST_VOX = 1_500_000
"""Voxels of each case: a brain in steps of 2 mm, so that the page stays below 10 MB."""


def render_case_viewer(cases: Sequence[ScanContent], title: str) -> Section:
    """A section that opens one case at a time.

    Args:
        cases: Cases with reference and scores; the first `MOST_CASES` are taken. Their scans must be defaced.
        title: Title of the section.
    """
    shown = cases[:MOST_CASES]
    volumes = []
    for content in shown:
        viewer = view(content.scan)
        volumes.append(pack_volumes(content, viewer, make_page_grid(viewer, MOST_VOX)))
    html = render(
        "case_viewer.html.j2",
        cases=shown,
        volumes=embedded_json(volumes),
        library=viewer_library(),
        licences=viewer_licences(),
        scripts=[asset("viewer.js"), asset("cases.js")],
        title=title,
    )
    return Section("cases", title, Markup(html))  # escaped by the template
