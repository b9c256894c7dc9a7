"""The documentation as a site: every page has a place in it, and none of its pages loads anything from a network."""

import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import mapping_stroke

ROOT = Path(__file__).resolve().parents[1]
NOT_PAGES = {"docs/model-card.in.md"}
MOST_BYTES = 200_000


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    """The names in `docs/conf.py`."""
    return runpy.run_path(str(ROOT / "docs" / "conf.py"))


def test_the_navigation_has_every_page_once(settings: dict[str, Any]) -> None:
    pages = [page for section in settings["sections"]().values() for page in section]
    written = {
        path.relative_to(ROOT).as_posix()
        for pattern in ("docs/**/*.md", "docs/**/*.ipynb", "benchmarks/results/*.md")
        for path in ROOT.glob(pattern)
    }
    assert len(pages) == len(set(pages))
    assert set(pages) >= written - NOT_PAGES
    assert [page for page in pages if not (ROOT / page).is_file()] == []


def test_the_navigation_follows_the_lists_of_the_documentation(settings: dict[str, Any]) -> None:
    sections = settings["sections"]()
    assert list(sections)[:5] == ["Start", "How to", "Reference", "Explanation", "Decisions"]
    assert sections["Start"][:2] == ["docs/tutorial.md", "docs/model-card.md"]
    assert sections["How to"][0] == "docs/how-to/segment-scans.md"


def test_the_generated_reference_has_every_public_name() -> None:
    text = (ROOT / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\.\. auto\w+:: mapping_stroke\.(\w+)$", text, re.MULTILINE)) == sorted(
        mapping_stroke.__all__
    )


def test_screenshots_are_small(settings: dict[str, Any]) -> None:
    script = (ROOT / "docs" / "screenshots.py").read_text(encoding="utf-8")
    names = re.findall(r'Shot\("([\w-]+\.png)"', script)
    assert names
    assert [name for name in names if (ROOT / "docs" / "images" / name).stat().st_size > MOST_BYTES] == []


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_loads_nothing_from_a_network(tmp_path: Path) -> None:
    pytest.importorskip("sphinx", reason="needs the packages of `docs`: make docs")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", "docs", "-d", str(tmp_path / "trees")]
    built = subprocess.run(
        [*command, "-D", "nb_execution_mode=off", ".", str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (built.returncode, built.stderr) == (0, "")
    pages = sorted((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 100
    for page in pages:
        loaded = re.findall(
            r"<(?:script|img|iframe)\b[^>]*\bsrc=\"([^\"]+)|<link\b[^>]*\bhref=\"([^\"]+)", page.read_text("utf-8")
        )
        assert [address for pair in loaded for address in pair if re.match(r"(https?:)?//", address)] == []
    for sheet in (tmp_path / "site").rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", sheet.read_text("utf-8")), sheet
