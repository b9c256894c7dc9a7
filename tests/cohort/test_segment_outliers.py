"""A few voxels of values that no tissue has change no mask, and networks learn from what they will be shown."""

import json
from pathlib import Path

import numpy as np
import pytest

from mapping_stroke.cli import main
from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.evaluation.metrics import dice
from mapping_stroke.images.image import Mask, read_image, write_image
from mapping_stroke.stages.arrays import make_arrays
from phantoms import phantom
from small_models import write_seeing_model

AFFINE = np.diag([-1.5, 1.5, 1.5, 1.0])
CLUSTER = (slice(9, 12), slice(20, 23), slice(17, 20))
"""27 of about 30 000 voxels."""


def fine_phantom() -> tuple[np.ndarray, Mask]:
    """A phantom on voxels of half the edge, and its lesion."""
    coarse, lesion = (np.kron(part, np.ones((2, 2, 2))) for part in phantom(0))
    noise = np.random.default_rng(1).normal(0, 3, coarse.shape)
    return np.where(coarse > 0, coarse + noise, 0).astype(np.float32), lesion > 0


def scattered(scan: np.ndarray, value: float) -> np.ndarray:
    loud = scan.copy()
    places = np.random.default_rng(2).choice(scan.size, scan.size // 1000, replace=False)
    loud.flat[places] = value
    return loud


def clustered(scan: np.ndarray, value: float, places: tuple[slice, slice, slice] = CLUSTER) -> np.ndarray:
    loud = scan.copy()
    loud[places] = value
    return loud


def test_outliers_change_no_mask_and_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clean, lesion = fine_phantom()
    scans = {
        "clean": clean,
        "high": clustered(clean, 32000),
        "low": clustered(clean, -32000),
        "outside": clustered(clean, 32000, (slice(0, 3),) * 3),
        "scattered": scattered(clean, 5000),
    }
    for name, scan in scans.items():
        write_image(tmp_path / "in" / f"{name}.nii.gz", scan, AFFINE)
    model = write_seeing_model(tmp_path / "small.mapping").path
    out = tmp_path / "out"
    assert main(["segment", str(tmp_path / "in"), "-o", str(out), "--model", str(model), "--device", "cpu"]) == 0
    masks = {name: read_image(out / f"{name}_mask.nii.gz").voxels > 0 for name in scans}
    assert dice(masks["clean"], lesion) > 0.8
    told = json.loads((out / "run.json").read_text())["record"]["scans"]
    for name in scans.keys() - {"clean"}:
        assert dice(masks[name], masks["clean"]) >= 0.97, name
        assert any("far beyond all others" in line for line in told[name]["warnings"]), name
    assert not any("far beyond" in line for line in told["clean"]["warnings"])
    assert "high.nii.gz: 27 voxels hold 32000, far beyond" in " ".join(capsys.readouterr().err.split())


def test_training_reads_a_scan_with_outliers_as_segmenting_does(tmp_path: Path) -> None:
    clean, lesion = fine_phantom()
    write_image(tmp_path / "lesion.nii.gz", lesion, AFFINE)
    for name, scan in (("clean", clean), ("loud", clustered(clean, 32000))):
        write_image(tmp_path / f"{name}.nii.gz", scan, AFFINE)
    cases = [(name, tmp_path / f"{name}.nii.gz", tmp_path / "lesion.nii.gz") for name in ("clean", "loud")]
    made = make_arrays(tmp_path / "arrays", cases, PreprocessSpec(3.0))
    np.testing.assert_allclose(made["loud"].scan, made["clean"].scan, atol=0.5)


def test_prepare_tells_of_outliers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clean, lesion = fine_phantom()
    write_image(tmp_path / "data" / "p0_T1w.nii.gz", clustered(clean, -32000), AFFINE)
    write_image(tmp_path / "data" / "p0_lesion.nii.gz", lesion, AFFINE)
    assert main(["prepare", str(tmp_path / "data"), "-o", str(tmp_path / "run")]) == 0
    assert "27 voxels hold -32000, far beyond all others" in " ".join(capsys.readouterr().err.split())
