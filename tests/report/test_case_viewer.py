"""The interactive view of cases within the report of a run."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser

from browser import watch
from mapping_stroke.images.image import Image
from mapping_stroke.report import scan_page
from mapping_stroke.report.scan_page import ScanContent, render_case_viewer
from phantoms import AFFINE, phantom


def case(number: int) -> ScanContent:
    scan, lesion = phantom(number)
    content = ScanContent(f"p{number} <b>", Image(scan, AFFINE), lesion, lesion.astype(np.float32), None, ())
    return replace(content, reference=np.roll(lesion, 1, axis=0), scores={"Dice": 0.8})


def test_only_the_first_cases_are_embedded() -> None:
    section = render_case_viewer([case(number) for number in range(6)], "Worst")
    assert [f"p{number} &lt;b&gt;, Dice 0.80" in section.html for number in range(6)] == [True] * 4 + [False] * 2


def test_a_large_case_is_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = len(render_case_viewer([case(0)], "Worst").html)
    monkeypatch.setattr(scan_page, "MOST_VOX", 1000)
    assert len(render_case_viewer([case(0)], "Worst").html) < whole


def test_cases_open_one_after_another(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    section = render_case_viewer([case(0), case(1)], "Worst")
    path.write_text(f"<!DOCTYPE html><meta charset='utf-8'><title>x</title>{section.html}", "utf-8")
    with watch(browser) as watched:
        page = watched.page
        page.goto(path.as_uri())
        places = []
        for number in (1, 0):
            page.locator(f"[data-case='{number}']").click()
            page.wait_for_selector(f"#case-stage[data-case='{number}']")
            places.append(page.evaluate("mappingViewer.place"))
            lesion = np.argwhere(phantom(number)[1]).mean(axis=0)
            assert abs(places[-1][2] - 3 * lesion[2]) < 9  # in a slice of the lesion
        assert places[0] != places[1]
        before = page.evaluate("mappingViewer.nv.drawBitmap.reduce((sum, bits) => sum + bits, 0)")
        page.locator("[data-case-layer=reference]").click()
        assert page.evaluate("mappingViewer.nv.drawBitmap.reduce((sum, bits) => sum + bits, 0)") < before
        assert watched.errors == []
        assert all(request.startswith(("file:", "data:", "blob:")) for request in watched.requests)
