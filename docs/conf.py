"""The documentation as a site, by Sphinx: `make docs`.

The source folder is the whole checkout (`sphinx-build -c docs . build/site`), so that a link from one Markdown file to
another is the same in a checkout and in the site. Nothing that the pages load comes from a network.

Why Sphinx: in November 2026, MkDocs has had no release for two years, and the successor of its usual theme is at 0.1.
"""

import re
from pathlib import Path
from typing import Any

from mapping_stroke import __version__

ROOT = Path(__file__).resolve().parents[1]
LISTS = ROOT / "docs" / "README.md"
"""Its lists are the navigation."""

INDEX = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="refresh" content="0; url=README.html">
<title>MAPPING</title>
<a href="README.html">MAPPING</a>
</html>
"""

project = "MAPPING"
author = project_copyright = "The MAPPING maintainers"
version = release = __version__
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "README"
include_patterns = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "container/README.md",
    "benchmarks/results/*.md",
    "docs/*.md",
    "docs/*/*.md",
    "docs/*/*.ipynb",
]
# The first two would be pages; the others are never searched.
exclude_patterns = ["docs/model-card.in.md", "**/.ipynb_checkpoints", ".*", "build", "demo", "src", "tests", "viewer"]

myst_heading_anchors = 4
nb_execution_mode = "cache"  # until the notebook changes, or `build` is removed
nb_execution_cache_path = str(ROOT / "build" / "notebooks")
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 1200
nb_merge_streams = True
nb_ipywidgets_js: dict[str, Any] = {}  # they would come from a network

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
default_role = "code"  # of `words` in docstrings
napoleon_numpy_docstring = False
napoleon_attr_annotations = False  # they are in the signature of the class

html_theme = "furo"
html_title = f"MAPPING {__version__}"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_search_summary = False  # they are fetched, which browsers refuse for pages that are opened from the disk


def sections() -> dict[str, list[str]]:
    """The navigation: the pages below each heading, by their path in the checkout and in the order of `docs/README.md`.

    Pages that its text names before the first list come first, and what lies outside `docs` comes last.
    """
    found: dict[str, list[str]] = {"Start": []}
    for line in LISTS.read_text("utf-8").splitlines():
        if heading := re.match(r"\*\*(.+?)\*\*", line):
            found[heading[1]] = []
        targets = re.findall(r"\]\(([^)#:]+\.(?:md|ipynb))\)", line)
        list(found.values())[-1].extend(f"docs/{target}" for target in targets)
    found["Start"].append("docs/README.md")
    found["Measurements"] = ["benchmarks/results/README.md"]
    found["Measurements"] += sorted(
        path.relative_to(ROOT).as_posix() for path in ROOT.glob("benchmarks/results/[!R]*.md")
    )
    found["Project"] = ["CHANGELOG.md", "CONTRIBUTING.md", "container/README.md"]
    return found


def add_navigation(app: Any, name: str, source: list[str]) -> None:
    """Append the navigation to the first page, unseen: the theme shows it beside every page."""
    if name != root_doc:
        return
    for heading, pages in sections().items():
        entries = "\n".join(page.rpartition(".")[0] for page in pages)
        source[0] += f"\n\n```{{toctree}}\n:hidden:\n:caption: {heading}\n\n{entries}\n```\n"


def leave_out_widgets(app: Any, name: str, *_: object) -> None:
    """Leave out the state of Jupyter widgets: megabytes of voxels for scripts that the pages do not load."""
    app.env.nb_metadata.get(name, {}).get("js_files", {}).pop("ipywidgets_state", None)


def add_index(app: Any, error: Exception | None) -> None:
    """Lead from the folder to the first page."""
    if error is None:
        Path(app.outdir, "index.html").write_text(INDEX, "utf-8")


def setup(app: Any) -> None:
    """Register these functions with Sphinx."""
    app.connect("source-read", add_navigation)
    app.connect("html-page-context", leave_out_widgets, priority=400)  # before MyST-NB adds it to the page
    app.connect("build-finished", add_index)
