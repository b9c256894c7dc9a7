"""The app as a person uses it: drop, watch, look, rate, correct, go on."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from app_server import running
from browser import SLOW_MS, Watched, watch
from mapping_stroke.images.image import read_image, write_image
from phantoms import AFFINE, phantom
from small_models import write_seeing_model

DROP = """async ([name, bytes]) => {
  const data = new DataTransfer();
  data.items.add(new File([Uint8Array.from(bytes)], name));
  const event = new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
  document.getElementById("drop").dispatchEvent(event);
}"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_seeing_model(tmp_path_factory.mktemp("model") / "seeing.mapping").path


@pytest.fixture(scope="module")
def dropped(browser: Browser, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two phantoms and a broken file, dropped on the page of a new folder."""
    folder = tmp_path_factory.mktemp("app")
    with running(folder / "results", model) as address, watch(browser) as watched:
        page = watched.page
        page.goto(address)
        for number in range(2):
            scan = write_scan(folder / f"p{number}.nii.gz", number)
            page.evaluate(DROP, [scan.name, list(scan.read_bytes())])
        page.set_input_files("#files", [write_broken(folder / "broken.nii.gz")])
        page.wait_for_function("document.querySelectorAll('.job.done').length === 2", timeout=SLOW_MS)
        page.wait_for_selector(".job.failed", timeout=SLOW_MS)
        assert "broken.nii.gz" in page.inner_text(".job.failed")
        assert "expected" in page.inner_text(".job.failed .failure") or "read" in page.inner_text(
            ".job.failed .failure"
        )
        page.wait_for_selector("text=Scans (3)")
        assert watched.errors == []
        assert all(request.startswith((address, "data:", "blob:")) for request in watched.requests)
    return folder / "results"


def write_scan(path: Path, number: int) -> Path:
    write_image(path, phantom(number)[0], AFFINE)
    return path


def write_broken(path: Path) -> Path:
    path.write_text("no image")
    return path


def open_scan(page: Page, address: str, name: str) -> None:
    page.goto(f"{address}scan/{name}")
    page.wait_for_selector("html[data-review=ready]", state="attached")
    page.wait_for_selector("html[data-render]", state="attached")


def shown_voxels(watched: Watched) -> int:
    return int(watched.page.evaluate("mappingViewer.nv.drawBitmap.reduce((sum, value) => sum + (value & 1), 0)"))


def draw_a_line(page: Page) -> None:
    box = page.locator("#view").bounding_box()
    assert box is not None
    x, y, width, height = page.evaluate("Array.from(mappingViewer.nv.screenSlices[0].leftTopWidthHeight)")
    page.mouse.move(box["x"] + x + width * 0.45, box["y"] + y + height * 0.5)
    page.mouse.down()
    page.mouse.move(box["x"] + x + width * 0.55, box["y"] + y + height * 0.5, steps=4)
    page.mouse.up()


def test_what_was_dropped_is_copied_and_segmented(dropped: Path) -> None:
    mask = read_image(dropped / "p0_mask.nii.gz")
    np.testing.assert_array_equal(mask.voxels > 0, phantom(0)[1])
    copied = sorted(path.name for path in dropped.with_name("results-uploads").iterdir())
    assert copied == ["broken.nii.gz", "p0.nii.gz", "p1.nii.gz"]


def test_a_rating_by_keyboard_alone(dropped: Path, browser: Browser, model: Path) -> None:
    with running(dropped, model) as address, watch(browser) as watched:
        page = watched.page
        page.goto(address)
        page.wait_for_selector("text=Scans (3)")
        page.locator("#scans a").first.focus()
        page.keyboard.press("Enter")
        page.wait_for_selector("html[data-review=ready]", state="attached")
        page.keyboard.press("y")
        page.wait_for_selector("#rate-accept[aria-pressed=true]")
        first = page.inner_text("h1")
        page.keyboard.press("l")
        page.wait_for_selector("text=Scans (3)")
        assert "accept" in page.locator("#scans tr", has_text=first).inner_text()
        page.fill("#find", first)
        page.wait_for_selector("text=Scans (1 of 3)")
        page.fill("#find", "")
        page.select_option("#which", "failed")
        page.wait_for_selector("text=Scans (1 of 3)")
        assert watched.errors == []


def test_a_correction_survives_a_restart(dropped: Path, browser: Browser, model: Path) -> None:
    with running(dropped, model) as address, watch(browser) as watched:
        page = watched.page
        open_scan(page, address, "p1")
        assert shown_voxels(watched) == 125
        page.keyboard.press("e")
        draw_a_line(page)
        drawn = shown_voxels(watched)
        assert drawn > 125
        page.keyboard.press("z")
        assert shown_voxels(watched) == 125
        page.locator("input[aria-label^='Mark all']").fill("1")
        page.wait_for_timeout(500)
        assert shown_voxels(watched) >= 125
        page.keyboard.press("s")
        page.wait_for_selector("text=The mask was corrected")
        saved = shown_voxels(watched)
        assert watched.errors == []
    edited = read_image(dropped / "p1_desc-edited_mask.nii.gz")
    assert (edited.voxels > 0).sum() == saved
    np.testing.assert_array_equal(read_image(dropped / "p1_mask.nii.gz").voxels > 0, phantom(1)[1])
    with running(dropped, model) as address, watch(browser) as watched:
        open_scan(watched.page, address, "p1")
        assert shown_voxels(watched) == saved
        watched.page.keyboard.press("l")
        watched.page.wait_for_selector("text=(corrected)")
        assert f"{saved * 0.027:.2f} (corrected)" in watched.page.locator("#scans tr", has_text="p1").inner_text()


def test_an_older_window_is_told_and_keeps_its_drawing(dropped: Path, browser: Browser, model: Path) -> None:
    with running(dropped, model) as address, watch(browser) as old, watch(browser) as new:
        for watched in (old, new):
            open_scan(watched.page, address, "p0")
        new.page.keyboard.press("u")
        new.page.wait_for_selector("#rate-doubtful[aria-pressed=true]")
        old.page.keyboard.press("e")
        old.page.keyboard.press("s")
        old.page.wait_for_selector("text=changed in another window")
        assert old.page.evaluate("mappingReview.editing")
        assert not (dropped / "p0_desc-edited_mask.nii.gz").exists()


def test_switching_layers_leaves_a_drawing_alone(dropped: Path, browser: Browser, model: Path) -> None:
    with running(dropped, model) as address, watch(browser) as watched:
        page = watched.page
        open_scan(page, address, "p0")
        before = shown_voxels(watched)
        page.keyboard.press("e")
        draw_a_line(page)
        drawn = shown_voxels(watched)
        assert drawn > before
        for key in "1231":
            page.keyboard.press(key)
        assert shown_voxels(watched) == drawn
        page.once("dialog", lambda dialog: dialog.accept())
        page.keyboard.press("q")
        page.wait_for_function("!mappingReview.editing")
        assert shown_voxels(watched) == before
        assert page.is_checked("[data-layer=probability]")
        assert page.evaluate("[mappingViewer.visible.probability, mappingViewer.nv.volumes[1].opacity]") == [True, 1]
        page.keyboard.press("1")
        assert shown_voxels(watched) == 0
        assert watched.errors == []


def test_a_note_and_a_rating_at_once_are_both_kept(dropped: Path, browser: Browser, model: Path) -> None:
    with running(dropped, model) as address, watch(browser) as watched:
        page = watched.page
        open_scan(page, address, "p0")
        page.fill("textarea", "motion")
        page.evaluate("""() => {
            document.querySelector("textarea").dispatchEvent(new Event("change"));
            document.getElementById("rate-reject").click();
        }""")
        page.wait_for_selector("#rate-reject[aria-pressed=true]")
        page.click("text=All scans")
        page.wait_for_selector("#scans tr:has-text('p0'):has-text('reject'):has-text('motion')")
        assert watched.errors == []


def test_keys_of_the_page_are_not_the_librarys(dropped: Path, browser: Browser, model: Path) -> None:
    with running(dropped, model) as address, watch(browser) as watched:
        page = watched.page
        open_scan(page, address, "p0")
        page.focus("#view")
        mode = page.evaluate("mappingViewer.nv.opts.dragMode")
        page.keyboard.press("m")
        assert page.evaluate("mappingViewer.nv.opts.dragMode") == mode
        page.keyboard.press("v")
        place = page.evaluate("mappingViewer.place")
        for key in ("ArrowLeft", "ArrowLeft", "ArrowUp", "PageDown"):
            page.keyboard.press(key)
        moved = np.subtract(page.evaluate("mappingViewer.place"), place)
        np.testing.assert_allclose(moved, [6, 3, -3], atol=0.01)  # voxels of 3 mm; RAS
        assert watched.errors == []


def test_the_list_keeps_the_focus_and_names_the_folder_that_was_opened(
    dropped: Path, browser: Browser, model: Path, tmp_path: Path
) -> None:
    with running(dropped, model) as address, watch(browser) as watched:
        page = watched.page
        page.goto(address)
        page.locator("#scans a").first.focus()
        page.evaluate("refresh()")
        assert page.evaluate("document.activeElement.tagName") == "A"
        page.route("**/state", lambda route: route.abort())
        page.evaluate("refresh()")
        page.wait_for_selector("#message:has-text('does not answer')")
        page.unroute("**/state")
        page.evaluate("refresh()")
        assert page.inner_text("#message") == ""
        page.fill("#path", str(shutil.copytree(dropped, tmp_path / "other")))
        with page.expect_navigation():
            page.click("#open button")
        assert f"{tmp_path / 'other'}-uploads" in page.inner_text("main")
