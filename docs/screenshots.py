"""Take the screenshots of the documentation, from simulated scans: `make screenshots`.

Needs Chromium (on Debian: `apt-get install chromium`). The scans are those of `mapping demo`, which this command
segments in a folder of its own unless that is done.
"""

import io
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from mapping_stroke.cohort.record import Notes
from mapping_stroke.cohort.results import FlatLayout
from mapping_stroke.cohort.review import rate_scan, read_review
from mapping_stroke.cohort.settings import ScanOptions
from mapping_stroke.demo import DEMO_SCANS, show_model

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "build" / "screenshots"
IMAGES = ROOT / "docs" / "images"
STROKE, HEALTHY = (scan.name for scan in DEMO_SCANS)
MAPPING = (sys.executable, "-m", "mapping_stroke.cli")
GRAIN = ("--seed", "5", "--spacing-mm", "2")
SUBJECTS, RATINGS = 16, ("accept", "accept", "doubtful", "reject")
COLOURS, MOST_BYTES = 256, 200_000
PATIENCE_MS = 300_000
"""Without graphics hardware, the first drawing takes long."""
DRAWING_MS = 2000
"""For the next ones."""


@dataclass(frozen=True)
class Shot:
    """A picture of a page.

    Attributes:
        name: File in `docs/images`.
        address: Of the page, below the address of the app or as the file that opens from the disk.
        steps: What is done on the page before the picture is taken.
        height: Of the window in pixels; its width is 1280.
    """

    name: str
    address: str
    steps: Callable[[Page], None]
    height: int = 800


def largest_lesion(page: Page) -> None:
    """Wait for the view, and go to the largest lesion."""
    page.wait_for_selector("html[data-render]", state="attached")
    page.get_by_role("button", name="Go to lesion 1").click()
    page.mouse.move(0, 0)
    page.wait_for_timeout(DRAWING_MS)


def correct(page: Page) -> None:
    """Go there and open the tools that correct the mask."""
    page.wait_for_selector("html[data-review=ready]", state="attached")
    largest_lesion(page)
    page.get_by_role("button", name="Correct the mask").click()
    page.mouse.move(0, 0)
    page.wait_for_timeout(DRAWING_MS)


def settle(page: Page) -> None:
    """Wait for all pictures."""
    page.wait_for_load_state("networkidle")


SHOTS = (
    Shot("scan-page.png", (WORK / "demo" / "segment" / f"{STROKE}.html").as_uri(), largest_lesion, height=820),
    Shot("app.png", f"scan/{STROKE}", correct, height=880),
    Shot("cohort-page.png", (WORK / "cohort" / "results" / "cohort.html").as_uri(), settle, height=980),
)


def prepare() -> None:
    """Segment the simulated scans and a simulated cohort, and rate some of them."""
    shutil.rmtree(WORK, ignore_errors=True)  # of another model, perhaps
    show_model(WORK / "demo", ())
    shutil.copytree(WORK / "demo" / "segment", WORK / "app")
    rate_scan(FlatLayout(WORK / "app"), HEALTHY, "accept", "no lesion to be seen", 0)
    cohort, results = WORK / "cohort" / "scans", WORK / "cohort" / "results"
    subprocess.run([*MAPPING, "simulate", cohort, "--subjects", str(SUBJECTS), *GRAIN], check=True)
    scans = sorted(cohort.glob("**/*_T1w.nii.gz"))
    subprocess.run([*MAPPING, "segment", *scans, "-o", results, "--preset", "fast", "--overwrite"], check=True)
    layout = FlatLayout(results)
    for entry, rating in zip(Notes(layout).stamps(), RATINGS, strict=False):
        rate_scan(layout, entry, rating, "", read_review(layout, entry).revision)
    layout.end(Notes(layout).entries(), ScanOptions())


@contextmanager
def served() -> Iterator[str]:
    """The address of the app while it runs."""
    command = [*MAPPING, "app", str(WORK / "app"), "--no-browser", "--port", "0"]
    app = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert app.stdout is not None
        yield next(word for line in app.stdout for word in line.split() if word.startswith("http://"))
    finally:
        app.terminate()
        app.wait()


def take(browser: Browser, shot: Shot, app: str) -> None:
    """Take one picture, with few colours so that it stays small."""
    page = browser.new_page(viewport={"width": 1280, "height": shot.height}, color_scheme="light")
    page.set_default_timeout(PATIENCE_MS)
    page.goto(shot.address if "://" in shot.address else app + shot.address)
    shot.steps(page)
    picture = Image.open(io.BytesIO(page.screenshot(timeout=PATIENCE_MS))).convert("RGB")
    page.close()
    target = IMAGES / shot.name
    picture.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(target, optimize=True)
    if target.stat().st_size > MOST_BYTES:
        raise SystemExit(f"{target}: {target.stat().st_size} bytes, expected at most {MOST_BYTES}; take fewer colours")
    print(f"{target.relative_to(ROOT)}: {target.stat().st_size // 1000} kB")


def main() -> None:
    """Take all."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        raise SystemExit("make screenshots: no Chromium on this machine; on Debian: apt-get install chromium")
    prepare()
    with sync_playwright() as playwright, served() as app:
        flags = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        for shot in SHOTS:
            take(browser, shot, app)
        browser.close()


if __name__ == "__main__":
    main()
