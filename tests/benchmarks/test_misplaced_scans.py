"""Scans made for the benchmarks of native space: they lie where they are said to lie."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks import misplaced_scans
from benchmarks.misplaced_scans import MisplacedScan, Plan, misplace
from mapping_stroke.evaluation.metrics import dice
from mapping_stroke.images.image import write_image
from mapping_stroke.space.resample import resample
from mapping_stroke.space.template import read_template


@pytest.fixture(scope="module")
def brain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template's brain at 2 mm, as a scan in MNI152 space."""
    template = read_template()
    path = tmp_path_factory.mktemp("brains") / "sub-01_T1w.nii.gz"
    write_image(path, np.where(template.brain > 0.5, 0.1 + template.t1, 0).astype(np.float32), template.affine)
    return path


@pytest.fixture(scope="module", params=[None, "head"])
def made(request: pytest.FixtureRequest, brain: Path) -> Iterator[MisplacedScan]:
    plan = Plan(brain, request.param, 30.0 if request.param else 0.0, 25.0, 40.0, (3.0, 2.0, 2.0), "PSL")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(misplaced_scans, "SPACING_MM", 3.0)
        yield misplace(plan, np.random.default_rng(0))


def test_it_is_scanned_as_planned(made: MisplacedScan) -> None:
    assert made.scan.orientation == "PSL"
    assert sorted(made.scan.spacing_mm) == pytest.approx([2, 2, 3])
    assert made.plan.name == "sub-01"
    assert made.scan.shape == made.brain.shape == made.lesions.shape


def test_the_truth_says_where_the_brain_lies(made: MisplacedScan) -> None:
    template = read_template()
    to_template = np.linalg.inv(made.truth @ template.affine) @ made.scan.affine
    assert dice(resample(template.brain, to_template, made.scan.shape) > 0.5, made.brain) > 0.95
    to_unmoved = np.linalg.inv(made.truth @ made.unmoved.affine) @ made.scan.affine
    laid = resample(made.unmoved.voxels, to_unmoved, made.scan.shape)
    np.testing.assert_allclose(laid[made.brain], made.scan.voxels[made.brain], atol=1e-3)


def test_it_is_turned_shifted_and_resized_as_planned(made: MisplacedScan) -> None:
    axes = made.truth[:3, :3] / np.linalg.norm(made.truth[:3, :3], axis=0)
    assert np.degrees(np.arccos((np.trace(axes) - 1) / 2)) == pytest.approx(25)
    assert all(0.85 <= size <= 1.02 for size in np.linalg.norm(made.truth[:3, :3], axis=0))


def test_simulated_lesions_have_about_the_planned_load(made: MisplacedScan) -> None:
    load_ml = made.lesions.sum() * made.scan.voxel_volume_mm3 / 1000
    size = np.linalg.det(made.truth[:3, :3])
    assert load_ml == pytest.approx(made.plan.load_ml * size, rel=0.25)
    assert not (made.lesions & ~made.brain).sum() > 0.1 * made.lesions.sum()
