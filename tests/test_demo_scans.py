"""The scans of `mapping demo`: what they are, and that they are made once."""

import json
from pathlib import Path

import numpy as np
import pytest

from mapping_stroke import demo as module
from mapping_stroke.dataset.grid import ATLAS_GRID, atlas_grid
from mapping_stroke.dataset.scan_checks import check_scan
from mapping_stroke.demo import DEMO_SCANS, make_demo_scans
from mapping_stroke.errors import RunFolderError
from mapping_stroke.images.image import read_image
from mapping_stroke.lesions import find_lesions

STROKE, HEALTHY = DEMO_SCANS


@pytest.fixture(scope="module")
def coarse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "scans"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "GRID", atlas_grid(4.0))
        make_demo_scans(folder)
    return folder


def test_the_stroke_has_its_truth_beside_it_and_the_healthy_brain_has_none(coarse: Path) -> None:
    assert sorted(path.name for path in coarse.iterdir()) == [
        "run.json", "simulated-healthy.nii.gz", "simulated-stroke.nii.gz", "simulated-stroke_reference.nii.gz",
    ]  # fmt: skip
    scan, truth = read_image(STROKE.scan(coarse)), read_image(STROKE.truth(coarse))
    assert scan.shape == truth.shape == atlas_grid(4.0).shape
    assert (scan.voxels[truth.voxels > 0] > 0).all()
    assert json.loads((coarse / "run.json").read_text())["simulated"] is True


def test_what_is_there_is_not_made_again_and_what_is_missing_is(coarse: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRID", atlas_grid(4.0))
    before = {path.name: path.stat().st_mtime_ns for path in coarse.iterdir()}
    whole = read_image(STROKE.truth(coarse)).voxels
    make_demo_scans(coarse)
    assert {path.name: path.stat().st_mtime_ns for path in coarse.iterdir()} == before
    STROKE.truth(coarse).unlink()
    make_demo_scans(coarse)
    np.testing.assert_array_equal(read_image(STROKE.truth(coarse)).voxels, whole)
    assert HEALTHY.scan(coarse).stat().st_mtime_ns == before["simulated-healthy.nii.gz"]


def test_scans_of_another_grid_are_not_mixed_with_them(coarse: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GRID", atlas_grid(3.0))
    with pytest.raises(RunFolderError, match="differs in grid"):
        make_demo_scans(coarse)


@pytest.mark.slow
def test_at_full_size_the_stroke_is_a_typical_one_in_a_whole_stripped_brain(tmp_path: Path) -> None:
    make_demo_scans(tmp_path)
    sizes_ml = find_lesions(read_image(STROKE.truth(tmp_path)).voxels > 0).sizes_vox / 1000
    assert 10 < sizes_ml.sum() < 40
    assert len(sizes_ml) == 2
    for demo in DEMO_SCANS:
        scan = read_image(demo.scan(tmp_path))
        assert scan.shape == ATLAS_GRID.shape
        assert check_scan(scan) == []
