"""A headless Chromium that notes every error and every request."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

FLAGS = (
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
SLOW_MS = 60_000
"""Machines that test are slow, and draw without graphics hardware."""


@dataclass
class Watched:
    """A page, and what it did beside being shown.

    Attributes:
        page: The page.
        errors: Messages of the console, and of scripts that failed.
        requests: Addresses that were asked for over a network.
    """

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def wait_until_ready(self) -> None:
        """Wait until the view of a scan is drawn."""
        self.page.wait_for_selector("html[data-render]", state="attached")
        assert self.page.evaluate("document.documentElement.dataset.state") == "ready"

    def wait_for(self, expression: str) -> None:
        """Wait until an expression is true. Playwright's own way needs a page whose policy allows `eval`."""
        deadline = time.monotonic() + SLOW_MS / 1000
        while not self.page.evaluate(expression):
            assert time.monotonic() < deadline, expression
            self.page.wait_for_timeout(50)

    def pixels(self) -> bytes:
        """What the view shows."""
        self.page.evaluate("mappingViewer.shown")
        self.page.wait_for_timeout(100)
        return self.page.locator("#view").screenshot()


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no Chromium on this machine; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def watch(browser: Browser, **options: object) -> Iterator[Watched]:
    """A new page of 1280 x 900 pixels, or with other options of Playwright's `new_page`."""
    page = browser.new_page(**{"viewport": {"width": 1280, "height": 900}, **options})
    page.set_default_timeout(SLOW_MS)
    watched = Watched(page)
    page.on("console", lambda message: watched.errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: watched.errors.append(str(error)))
    page.on("request", lambda request: watched.requests.append(request.url))
    try:
        yield watched
    finally:
        page.close()
