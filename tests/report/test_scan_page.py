"""The page of one scan, as text and in a browser."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser

from browser import Watched, watch
from mapping_stroke.images.image import Image
from mapping_stroke.inference.segmentation import LesionRow
from mapping_stroke.report import html
from mapping_stroke.report.page_grid import MOST_VOX
from mapping_stroke.report.scan_page import ScanContent, render_scan_page

SHAPE = (40, 48, 36)
AFFINE = np.array([[-4.0, 0, 0, 80], [0, 4, 0, -96], [0, 0, 4, -72], [0, 0, 0, 1]])
"""4 mm, left to right."""


def content() -> ScanContent:
    """A ball as a brain, with a block of 4 x 5 x 6 voxels in its left half and one of 2 x 2 x 2 in its right."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, edge) for edge in SHAPE), indexing="ij")
    inside = x**2 + y**2 + z**2 < 0.8
    large, small = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    large[26:30, 20:25, 15:21] = True
    small[12:14, 30:32, 20:22] = True
    mask = large | small
    scan = np.where(inside, 100 + 20 * y, 0).astype(np.float32)
    scan[mask] = 30
    probability = np.where(mask, 0.9, 0.02).astype(np.float32)
    lesions = (row(1, 120 * 0.064, (28 - 0.5) * -4 + 80, 22, 17.5), row(2, 8 * 0.064, 12.5 * -4 + 80, 30.5, 20.5))
    return ScanContent(
        name="sub-1_T1w",
        scan=Image(scan, AFFINE),
        mask=mask,
        probability=probability,
        uncertainty=(probability / 4).astype(np.float32),
        lesions=lesions,
        brain=inside,
        to_mni=np.eye(4),
        warnings=("the outline of <the brain> is doubtful",),
        facts=(("Model", "small"),),
        methods=("Lesions were segmented by MAPPING.",),
        citations=("Huo et al. 2022",),
    )


def page_of(shown: ScanContent) -> str:
    return render_scan_page(shown)[0]


def row(number: int, volume_ml: float, x_mm: float, y_vox: float, z_vox: float) -> LesionRow:
    return LesionRow(number, volume_ml, x_mm, y_vox * 4 - 96, z_vox * 4 - 72, 0.95, 0.9, 0.1, 0.75)


def test_it_names_lesions_sides_doubts_and_methods() -> None:
    page = page_of(content())
    for text in (
        "2 lesions, 8.2 mL",
        "7.7 mL left and 0.51 mL right",
        ">left</td>",
        ">right</td>",
        "&lt;the brain&gt; is doubtful",
        "Lesions were segmented by MAPPING.",
        "Huo et al. 2022",
        "For research only, not for clinical use.",
    ):
        assert text in page, text
    assert "<the brain>" not in page


def test_a_scan_of_unknown_place_has_no_sides() -> None:
    page = page_of(replace(content(), to_mni=None))
    assert "left and" not in page
    assert ">Side<" not in page


def test_a_scan_without_lesions_says_so() -> None:
    nothing = replace(content(), mask=np.zeros(SHAPE, bool), lesions=())
    assert "No lesion was marked." in page_of(nothing)


def test_the_same_scan_gives_the_same_bytes_and_asks_no_network() -> None:
    page = page_of(content())
    assert page == page_of(content())
    for address in ("<script src", '<link rel="stylesheet"', "@import", "url(http"):
        assert address not in page


def test_a_large_scan_is_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = len(page_of(content()))
    monkeypatch.setattr("mapping_stroke.report.page_grid.MOST_VOX", 10_000)
    assert len(page_of(content())) < whole - 5_000
    assert MOST_VOX > 256 * 256 * 128  # a whole head of 1 mm stays as it is


def test_without_the_viewer_a_page_is_written_and_says_so(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(html, "VIEWER", "absent.js.gz")
    html.viewer_library.cache_clear()
    path = tmp_path / "scan.html"
    path.write_text(page_of(content()), "utf-8")
    html.viewer_library.cache_clear()
    assert "pages lack their interactive view" in capsys.readouterr().err
    with watch(browser) as watched:
        watched.page.goto(path.as_uri())
        watched.page.wait_for_selector("text=was installed without the viewer")
        assert watched.page.locator("[data-lesion]").count() == 2


@pytest.fixture(scope="module")
def shown(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    path = tmp_path_factory.mktemp("page") / "scan.html"
    reference = np.roll(content().mask, 3, axis=1)
    path.write_text(page_of(replace(content(), reference=reference, scores={"Dice": 0.4})), "utf-8")
    with watch(browser) as watched:
        watched.page.goto(path.as_uri())
        watched.wait_until_ready()
        yield watched


def place(shown: Watched) -> list[float]:
    return [round(value, 1) for value in shown.page.evaluate("mappingViewer.place")]


def test_every_layer_changes_what_is_drawn(shown: Watched) -> None:
    for name in ("mask", "brain", "probability", "uncertainty", "reference"):
        before = shown.pixels()
        shown.page.locator(f"[data-layer={name}]").click()
        assert shown.pixels() != before, name
        shown.page.locator(f"[data-layer={name}]").click()
        assert shown.pixels() == before, name


def test_a_click_on_a_lesion_goes_there(shown: Watched) -> None:
    second, first = content().lesions[1], content().lesions[0]
    shown.page.get_by_role("button", name="Go to lesion 2").click()
    assert np.abs(np.subtract(place(shown), (second.x_mm, second.y_mm, second.z_mm))).max() < 4
    assert "P(lesion) 0.90" in shown.page.inner_text("#place")
    shown.page.get_by_role("button", name="Go to lesion 1").click()
    assert np.abs(np.subtract(place(shown), (first.x_mm, first.y_mm, first.z_mm))).max() < 4


def test_keys_do_the_same(shown: Watched) -> None:
    shown.page.get_by_role("button", name="Go to lesion 1").click()
    first = place(shown)
    shown.page.keyboard.press("n")
    assert place(shown) != first
    shown.page.keyboard.press("p")
    assert place(shown) == first
    box = shown.page.locator("[data-layer=probability]")
    shown.page.keyboard.press("3")
    assert box.is_checked()
    shown.page.keyboard.press("3")
    assert not box.is_checked()


@pytest.mark.parametrize(("key", "view"), [("m", "mosaic"), ("a", "axial"), ("d", "3-D"), ("v", "planes")])
def test_views(shown: Watched, key: str, view: str) -> None:
    before = shown.pixels()
    shown.page.keyboard.press(key)
    assert shown.page.locator(f"[data-view='{view}']").get_attribute("aria-pressed") == "true"
    assert shown.pixels() != before


def test_nothing_fails_and_nothing_leaves_the_page(shown: Watched) -> None:
    assert shown.errors == []
    assert [address for address in shown.requests if not address.startswith(("file:", "data:", "blob:"))] == []


def test_it_is_usable_in_a_narrow_window_and_without_motion(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "scan.html"
    path.write_text(page_of(content()), "utf-8")
    narrow = {"viewport": {"width": 500, "height": 800}, "reduced_motion": "reduce"}
    with watch(browser, **narrow) as watched:
        watched.page.goto(path.as_uri())
        watched.wait_until_ready()
        assert watched.page.evaluate("document.documentElement.scrollWidth") <= 500
        assert watched.errors == []
