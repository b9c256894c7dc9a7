"""The page of a cohort, as text and in a browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from browser import Watched, watch
from mapping_stroke.report.cohort_figures import volume_bars
from mapping_stroke.report.cohort_page import SHOW_PICTURES, CohortRow, Overlap, count_in_words, render_cohort_page
from mapping_stroke.report.tables import NONE

NO_OVERLAP = Overlap(None, "There is no overlap map.")
KNOWN = {"load_ml": 27.9241, "lesions": 3, "left_ml": 0.0518, "right_ml": 0.0, "agreement": 0.4964}
ROWS = (
    CohortRow("p10", "failed", ("failed: cannot be read <i>",), {}, to_check=True),
    CohortRow("p9", "done", ("no lesion found",), {"load_ml": 0.0}, "p9.html", "a b/c#1.png", to_check=True),
    CohortRow("p2", "done", (), {"load_ml": 100.0, "edited_ml": 90.0}, "p2.html", "p2.png", "accept", "edge <b>mended"),
    CohortRow("p1", "done", ("no lesion found", "doubt"), {"load_ml": 9.0}, "p 1.html", "p1.png", "reject"),
)


def page(rows: tuple[CohortRow, ...] = ROWS, volumes_ml: tuple[float, ...] = (0.0, 90.0)) -> str:
    return render_cohort_page(rows, volumes_ml, NO_OVERLAP, "cohort_lesions.tsv", "cohort_lesions.json")


def test_numbers_are_short_and_unknown_columns_are_left_out() -> None:
    text = page((CohortRow("a", "done", (), KNOWN), CohortRow("b", "failed", (), {})))
    for cell in (">27.9<", ">3<", ">0.0518<", ">0<", ">50%<", f">{NONE}<"):
        assert cell in text, cell
    assert "Left, mL" in text
    assert "Corrected, mL" not in text
    assert "Rating" not in text


def test_names_reasons_and_notes_are_text_and_never_markup() -> None:
    text = page()
    assert "cannot be read &lt;i&gt;" in text
    assert "edge &lt;b&gt;mended" in text
    assert 'href="a%20b/c%231.png"' in text
    assert 'href="p%201.html"' in text
    assert "<i>" not in text
    assert "<b>" not in text


def test_counts_are_words() -> None:
    words = [
        "4 scans: 3 segmented, 1 failed.",
        "2 to check first.",
        "2 rated: 1 accepted, 1 rejected.",
        "1 mask corrected.",
    ]
    assert count_in_words(ROWS) == words
    absent = (CohortRow("sub-1", "done", (), {}), CohortRow("sub-2", "no-scan", ("none",), {}, to_check=True))
    assert count_in_words(absent) == ["1 scan and 1 participant without one: 1 segmented.", "1 to check first."]
    assert count_in_words([]) == ["0 scans.", "0 to check first."]


@pytest.mark.parametrize(
    ("volumes_ml", "words"),
    [
        ((), "No scan has been segmented."),
        ((0.0, 0.0), "No lesion in 2 scans."),
        ((0.0, 4.0, 16.0, 5.0), "3 scans with lesions: median 5.0 mL, from 4.0 mL to 16 mL; 1 without."),
    ],
)
def test_volumes_are_summed_up(volumes_ml: tuple[float, ...], words: str) -> None:
    assert words in page(volumes_ml=volumes_ml)


def test_bars_are_quarters_of_decades_and_hold_every_scan() -> None:
    none, bars = volume_bars([0.0, 0.0, 0.5, 1.0, 1.5, 99.9])
    assert none == 2
    assert [round(bar.low_ml, 2) for bar in bars[:5]] == [0.1, 0.18, 0.32, 0.56, 1.0]
    assert bars[-1].high_ml == pytest.approx(100)
    assert {round(bar.low_ml, 2): bar.scans for bar in bars if bar.scans} == {0.32: 1, 1.0: 2, 56.23: 1}
    wide = volume_bars([0.004, 2500.0])[1]
    assert (wide[0].low_ml, wide[-1].high_ml) == (pytest.approx(0.001), pytest.approx(10000))
    assert sum(bar.scans for bar in wide) == 2
    assert sum(bar.scans for bar in volume_bars([])[1]) == 0


def test_it_asks_no_network_and_is_the_same_each_time() -> None:
    text = page()
    assert text == page()
    for address in ("<script src", '<link rel="stylesheet"', "@import", "url("):
        assert address not in text


@pytest.fixture
def shown(browser: Browser, tmp_path: Path) -> Iterator[Watched]:
    path = tmp_path / "cohort.html"
    path.write_text(page(), "utf-8")
    for name in ("p2.png", "p1.png", "c#1.png"):
        picture = tmp_path / ("a b" if name == "c#1.png" else "") / name
        picture.parent.mkdir(exist_ok=True)
        picture.write_bytes(PIXEL)
    with watch(browser) as watched:
        watched.page.goto(path.as_uri())
        yield watched
        assert watched.errors == []
        assert [address for address in watched.requests if not address.startswith(("file:", "data:"))] == []


PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c63600000000200"
    "0148afa4710000000049454e44ae426082"
)


def names(shown: Watched) -> list[str]:
    """The visible scans from top to bottom."""
    return [text.split("\n")[0] for text in shown.page.locator("tbody tr:not([hidden]) td.scan").all_inner_texts()]


def test_it_begins_with_the_scans_to_check_and_links_their_pages(shown: Watched) -> None:
    assert names(shown) == ["p10", "p9", "p2", "p1"]
    shown.page.get_by_role("link", name="p9", exact=True).wait_for()
    links = [link.get_attribute("href") for link in shown.page.locator("td.scan a").all()]
    assert links == ["p9.html", "p2.html", "p%201.html"]


def test_a_click_on_a_head_sorts_and_another_turns_it_round(shown: Watched) -> None:
    load = shown.page.get_by_role("columnheader", name="Load, mL")
    load.get_by_role("button").click()
    assert names(shown) == ["p2", "p1", "p9", "p10"]  # what is not known comes last
    assert load.get_attribute("aria-sort") == "descending"
    load.get_by_role("button").click()
    assert names(shown) == ["p9", "p1", "p2", "p10"]
    assert load.get_attribute("aria-sort") == "ascending"
    shown.page.get_by_role("button", name="Scan", exact=True).click()
    assert names(shown) == ["p1", "p2", "p9", "p10"]  # numbers in names count as numbers
    assert load.get_attribute("aria-sort") is None
    shown.page.get_by_role("button", name="#").click()
    assert names(shown) == ["p10", "p9", "p2", "p1"]


def test_equal_rows_keep_the_order_of_checking(shown: Watched) -> None:
    reasons = shown.page.get_by_role("button", name="Reasons to check")
    reasons.click()
    assert names(shown) == ["p1", "p10", "p9", "p2"]


def test_search_and_buttons_choose_rows_also_by_keyboard(shown: Watched) -> None:
    shown.page.keyboard.press("/")
    shown.page.keyboard.type("LESION no")
    assert names(shown) == ["p9", "p1"]
    assert shown.page.inner_text("#shown") == "2 of 4 shown"
    shown.page.keyboard.press("Escape")
    assert len(names(shown)) == 4
    for button, expected in (
        ("To check first (2)", ["p10", "p9"]),
        ("Not segmented (1)", ["p10"]),
        ("Not rated (1)", ["p9"]),
        ("Rated (2)", ["p2", "p1"]),
        ("Corrected (1)", ["p2"]),
        ("All (4)", ["p10", "p9", "p2", "p1"]),
    ):
        shown.page.get_by_role("button", name=button, exact=True).focus()
        shown.page.keyboard.press("Enter")
        assert names(shown) == expected, button


def test_pictures_of_a_small_cohort_are_shown_until_switched_off(shown: Watched) -> None:
    box = shown.page.get_by_label("pictures")
    assert len(ROWS) <= SHOW_PICTURES
    assert box.is_checked()
    shown.wait_for("[...document.querySelectorAll('td img')].every((image) => image.naturalWidth === 1)")
    box.click()
    assert shown.page.locator("td img").count() == 0


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (2560, "dark"), (500, "light")])
def test_a_thousand_scans_fit_the_window_and_five_megabytes(
    browser: Browser, tmp_path: Path, width: int, scheme: str
) -> None:
    many = tuple(CohortRow(f"sub-{number:04}_T1w", "done", ("doubt " * 9,), KNOWN, "a.html") for number in range(1000))
    path = tmp_path / "many.html"
    path.write_text(page(many, (1.0,) * 1000), "utf-8")
    assert path.stat().st_size < 3e6  # the overlap picture adds half a megabyte
    with watch(browser, viewport={"width": width, "height": 900}, color_scheme=scheme) as watched:
        watched.page.goto(path.as_uri())
        watched.wait_for("document.getElementById('shown').textContent === '1000 of 1000 shown'")
        assert watched.page.evaluate("document.documentElement.scrollWidth") <= width
        assert watched.errors == []
