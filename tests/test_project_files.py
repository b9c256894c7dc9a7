"""The files that other programs read about this project agree with each other."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def citation() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_citation_file_has_what_its_format_requires(citation: dict[str, Any]) -> None:
    assert citation["cff-version"] == "1.2.0"
    assert citation["message"]
    assert citation["title"]
    for work in (citation, citation["preferred-citation"], *citation["references"]):
        assert work["type"] in {"software", "article"}
        assert work["title"]
        assert all("name" in author or {"family-names", "given-names"} <= set(author) for author in work["authors"])


def test_the_citation_file_names_the_paper_and_this_version(citation: dict[str, Any], project: dict[str, Any]) -> None:
    assert citation["title"] == project["name"]
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"] == "Apache-2.0"
    assert citation["preferred-citation"]["url"] == "https://arxiv.org/abs/2211.15486"
    assert [author["family-names"] for author in citation["preferred-citation"]["authors"]] == [
        "Huo", "Chen", "Liu", "Boels", "Granados", "Ourselin", "Sparks",
    ]  # fmt: skip


def test_the_licence_is_the_whole_apache_text() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_every_direct_dependency_is_pinned_and_torch_exactly(project: dict[str, Any]) -> None:
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pins = {_normal(line.split("==")[0]) for line in constraints.splitlines() if "==" in line}
    extras = project["optional-dependencies"]
    wanted = project["dependencies"] + extras["train"] + extras["dev"] + extras["docs"]
    names = {_normal(re.split(r"[\[<>=~! ]", requirement)[0]) for requirement in wanted}
    assert names - pins == {"mapping-stroke"}
    assert "\ntorch==2.13.0\n" in constraints


def test_the_change_log_has_an_unreleased_part_that_tells_changed_results() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## [Unreleased]" in text
    assert "### Changes results" in text


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_viewer_in_the_package_is_the_locked_one_with_its_licences() -> None:
    wanted = json.loads((ROOT / "viewer/package.json").read_text())["dependencies"]["@niivue/niivue"]
    lock = json.loads((ROOT / "viewer/package-lock.json").read_text())
    assert lock["packages"]["node_modules/@niivue/niivue"]["version"] == wanted
    assert "resolved" not in json.dumps(lock)  # it would name a registry
    licences = (ROOT / "src/mapping_stroke/report/viewer/niivue-licences.txt").read_text()
    assert licences.startswith(f"NiiVue {wanted}\n")
    for name in ("@niivue/niivue", "fflate", "gl-matrix", "nifti-reader-js"):
        assert f"\n{name} " in licences
