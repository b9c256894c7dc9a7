"""The notebook of the documentation runs, and is stored without results."""

import re
from ast import literal_eval
from pathlib import Path
from typing import Any

import pytest

from small_models import write_seeing_model

REASON = "needs the packages of `dev`: pip install nbclient nbformat ipykernel"
nbformat = pytest.importorskip("nbformat", reason=REASON)
nbclient = pytest.importorskip("nbclient", reason=REASON)
pytest.importorskip("ipykernel", reason=REASON)

NOTEBOOK = Path(__file__).resolve().parents[1] / "docs" / "how-to" / "notebook.ipynb"
QUICK = """
from pathlib import Path

from mapping_stroke import demo
from mapping_stroke.dataset.grid import atlas_grid
from mapping_stroke.networks import bundle

demo.GRID = atlas_grid(4.0)
bundle.BUNDLED = Path("models")
"""
"""Run before the notebook's own cells: with scans of 1 mm and the bundled model they would take minutes."""


@pytest.fixture(scope="module")
def notebook() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


def outputs(cell: Any, kind: str) -> list[str]:
    """What a cell that was run shows, in one of the forms that it offers."""
    return [output["data"][kind] for output in cell["outputs"] if kind in output.get("data", {})]


def run_in(folder: Path, notebook: Any, first: str = "") -> list[Any]:
    """The code cells of the notebook after a run in a folder, the given one first."""
    run = nbformat.from_dict(notebook)
    run.cells.insert(0, nbformat.v4.new_code_cell(first))
    nbclient.NotebookClient(run, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    return [cell for cell in run.cells if cell["cell_type"] == "code"]


@pytest.mark.filterwarnings("default")  # those of Jupyter are not ours
def test_the_notebook_runs(notebook: Any, tmp_path: Path) -> None:
    write_seeing_model(tmp_path / "models" / "default.mapping")
    cells = run_in(tmp_path, notebook, QUICK)
    (found,) = [cell for cell in cells if cell["source"].startswith("segmenter = ")]
    assert "data:image/png;base64," in outputs(found, "text/html")[0]
    assert re.search(r"<Segmentation of simulated-stroke: .* lesion", outputs(found, "text/plain")[0])
    said = "".join(output["text"] for output in found["outputs"] if output.get("name") == "stdout")
    assert said.startswith("   0% reading and placing the scan\n")
    assert said.endswith(" 100% done\n")
    (saved,) = [cell for cell in cells if ".save(" in cell["source"]]
    assert "simulated-stroke_lesions.tsv" in outputs(saved, "text/plain")[0]
    assert (tmp_path / "notebook-results" / "simulated-stroke_mask.nii.gz").is_file()
    assert outputs(cells[-1], "text/plain")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_with_the_bundled_model_it_finds_the_simulated_stroke(notebook: Any, tmp_path: Path) -> None:
    cells = run_in(tmp_path, notebook)
    (scores,) = [literal_eval(outputs(cell, "text/plain")[0]) for cell in cells if "ms.score(" in cell["source"]]
    assert scores["dice"] > 0.8


def test_the_notebook_is_stored_without_results(notebook: Any) -> None:
    for cell in notebook.cells:
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None


def test_its_links_lead_somewhere(notebook: Any) -> None:
    text = "\n".join(cell["source"] for cell in notebook.cells if cell["cell_type"] == "markdown")
    assert [link for link in re.findall(r"\]\(([^)#\s]+)", text) if not (NOTEBOOK.parent / link).exists()] == []
