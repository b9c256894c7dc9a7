"""The pages: time to write them, their size, and the time until a browser has drawn them."""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import psutil

from benchmarks.benchmark import Benchmark, require_at_least
from benchmarks.heading import describe_head
from mapping_stroke.cohort.in_python import Segmenter
from mapping_stroke.errors import ConfigError
from mapping_stroke.report.cohort_page import CohortRow, Overlap, render_cohort_page

TITLE = "Pages: time to write, size, and time until a browser has drawn them"
ROWS = 1000
FLAGS = ("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-background-networking")
"""Drawn by the processor: a machine with graphics hardware is faster."""
SETTLED_S = 5.0
"""Time until the app has started."""


@dataclass(frozen=True)
class Pages(Benchmark):
    """Measure the page of a scan, the page of 1000 scans, and the memory of the app that waits."""

    scan: Path
    """A whole head of 1 mm."""
    repeats: int = 5
    """Repeats; medians are reported."""

    def __post_init__(self) -> None:
        require_at_least("--repeats", self.repeats)
        if which("chromium") is None:
            raise ConfigError("needs Chromium; on Debian: apt-get install chromium")

    def report(self) -> str:
        """Measure, and list the medians."""
        with TemporaryDirectory() as folder:
            lines = _measure(Path(folder), self.scan, self.repeats)
        head = describe_head(TITLE, "python -m benchmarks pages --scan HEAD", ("playwright",))
        table = ["| measured | median | target |", "|---|---|---|", *lines]
        note = f"Chromium draws with the processor (SwiftShader). Medians of {self.repeats}."
        return "\n".join([*head, *table, "", note])


def _measure(folder: Path, scan: Path, repeats: int) -> list[str]:
    start = time.perf_counter()
    found = Segmenter(device="cpu")(scan)
    segment_s = time.perf_counter() - start
    pages = {"brain": folder / "brain.html", "head": folder / "head.html"}
    lines = [f"| `mapping segment`, preset `balanced`, model loaded anew | {segment_s:.1f} s | |"]
    for shown, page in pages.items():
        write_s = _median_s(lambda page=page, head=shown == "head": found.page(page, show_head=head), repeats)  # type: ignore[misc]
        lines.append(f"| page of a {shown} of 1 mm, written | {write_s:.2f} s | 2 s |")
        lines.append(f"| its size | {page.stat().st_size / 1e6:.1f} MB | 12 MB |")
    cohort = folder / "cohort.html"
    cohort.write_text(_cohort_page(), "utf-8")
    lines.append(f"| page of {ROWS} scans, size | {cohort.stat().st_size / 1e6:.1f} MB | 5 MB |")
    for what, page, ready in (
        ("a brain", pages["brain"], "document.documentElement.dataset.state === 'ready'"),
        ("a head", pages["head"], "document.documentElement.dataset.state === 'ready'"),
        (f"{ROWS} scans", cohort, "document.readyState === 'complete'"),
    ):
        draw_s = median(_open_s(page, ready) for _ in range(repeats))
        lines.append(f"| page of {what}, until it is drawn | {draw_s:.1f} s | 3 s |")
    return [*lines, f"| memory of `mapping app`, waiting | {_app_bytes(folder / 'app') / 1e6:.0f} MB | |"]


def _median_s(work: Callable[[], object], repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return median(seconds)


def _cohort_page() -> str:
    rng = np.random.default_rng(0)
    volumes_ml = rng.lognormal(2, 1.5, ROWS).tolist()
    rows = [
        CohortRow(
            f"sub-{number:04d}_ses-1_T1w",
            "done",
            ("the members agree on only 50% of the mask",) if number % 4 == 0 else (),
            {"load_ml": load, "lesions": 3, "left_ml": load / 2, "right_ml": load / 2, "agreement": 0.8},
            f"sub-{number:04d}.html",
        )
        for number, load in enumerate(volumes_ml)
    ]
    return render_cohort_page(rows, volumes_ml, Overlap(None, "None."), "cohort_lesions.tsv", "cohort_lesions.json")


def _open_s(page: Path, ready: str) -> float:
    """Time from asking for a page until it is ready and the next picture is drawn, in a browser that is running."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=which("chromium"), args=list(FLAGS))
        view = browser.new_page(viewport={"width": 1280, "height": 900})
        start = time.perf_counter()
        view.goto(page.as_uri())
        view.wait_for_function(ready, timeout=120_000)
        view.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        seconds = time.perf_counter() - start
        browser.close()
    return seconds


def _app_bytes(folder: Path) -> int:
    command = [sys.executable, "-m", "mapping_stroke.cli", "app", str(folder), "--no-browser", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as app:
        time.sleep(SETTLED_S)
        used = int(psutil.Process(app.pid).memory_info().rss)
        app.terminate()
    return used
