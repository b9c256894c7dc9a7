"""Schemes that the paper does not have: named, trained, predicted; and the row that the documentation adds."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from mapping_stroke.cli import main
from mapping_stroke.run_folder import RunFolder
from mapping_stroke.training import schemes
from mapping_stroke.training.schemes import EXTRA_SCHEMES
from phantoms import write_phantoms

pytestmark = pytest.mark.usefixtures("nano")

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "add-a-scheme.md"
TRAIN = ("--size", "tiny", "--device", "cpu", "--epochs", "1")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, nano: None) -> RunFolder:
    root = tmp_path_factory.mktemp("extra")
    run = RunFolder(root / "run")
    assert main(["prepare", str(write_phantoms(root / "data", 4, 0)), "-o", str(run.path)]) == 0
    assert main(["folds", str(run.path), "--number", "2"]) == 0
    return run


def table_of_the_page() -> Any:
    """`EXTRA_SCHEMES` with the new row, as the page shows it."""
    names: dict[str, Any] = {}
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    exec(compile(blocks[0], PAGE.name, "exec"), names)
    return names["EXTRA_SCHEMES"]


@pytest.mark.slow
def test_extra_schemes_are_trained_where_they_are_named(run: RunFolder) -> None:
    assert main(["train", str(run.path), *TRAIN, "--schemes", "carvemix", "mixup"]) == 0
    for stage in ("predict", "postprocess", "evaluate", "report"):
        assert main([stage, str(run.path)]) == 0, stage
    hashes = []
    for scheme in EXTRA_SCHEMES:
        card = json.loads((run.member(scheme.name, 1) / "member.json").read_text())
        assert card["scheme"] == scheme.name
        hashes.append(card["weights_sha256"])
    assert len(set(hashes)) == 2
    page = run.report_html.read_text(encoding="utf-8")
    assert "4 members (CarveMix, Mixup)" in page


def test_the_row_that_the_page_adds_is_all_it_takes(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    *known, new = table_of_the_page()
    assert tuple(known) == EXTRA_SCHEMES
    monkeypatch.setattr(schemes, "EXTRA_SCHEMES", (*known, new))
    assert main(["train", str(run.path), *TRAIN, "--folds", "0", "--schemes", new.name]) == 0
    recipe = json.loads((run.member(new.name, 0) / "recipe.json").read_text())
    assert recipe["settings"]["scheme"]["mixing"] == new.mixing == "carvemix"
    assert (run.member(new.name, 0) / "weights.safetensors").is_file()
