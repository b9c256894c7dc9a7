"""Pictures show brains, wherever they are, and no heads."""

import numpy as np
import pytest
from scipy import ndimage

from mapping_stroke.images.image import Image
from mapping_stroke.space.brain import Brain
from mapping_stroke.space.model_input import deface
from mapping_stroke.space.placement import PlacedScan
from mapping_stroke.space.rough_fit import Quality
from moved_heads import NEAR, brain_of, move, moved_scan

THERE = move((0, 0, 0), (0, 0, 0), size=1)
GOOD = Quality(similarity=0.4, overlap=0.95, size=(0.9, 0.95, 0.88), shear_deg=3.0)


def shown_outside(scan: Image, shown: Image, to_scan: np.ndarray, away_mm: float) -> float:
    """Share of what a scan shows that far from its brain that is still shown."""
    inside = brain_of(scan, to_scan).voxels > 0.5
    far = ndimage.distance_transform_edt(~inside, sampling=scan.spacing_mm) > away_mm
    return float((shown.voxels[far] > 1).sum() / (scan.voxels[far] > 1).sum())


@pytest.mark.parametrize("to_scan", [THERE, NEAR], ids=["in MNI152 space", "away"])
def test_of_a_head_whose_place_is_unknown_the_brain_is_shown(to_scan: np.ndarray) -> None:
    scan = moved_scan(to_scan, stripped=False, axes="LAS")
    shown = deface(scan)
    inside = brain_of(scan, to_scan).voxels > 0.9
    assert (shown.voxels[inside] == scan.voxels[inside]).mean() > 0.9
    assert shown_outside(scan, shown, to_scan, 20.0) == 0
    assert shown_outside(scan, shown, to_scan, 8.0) < 0.1


def test_a_stripped_scan_is_shown_as_it_is() -> None:
    scan = moved_scan(NEAR)
    assert deface(scan) is scan


def test_where_the_place_is_known_the_brain_found_there_is_shown() -> None:
    scan = moved_scan(NEAR, stripped=False, axes="LAS")
    brain = np.zeros(scan.shape, np.bool_)
    brain[20:30, 20:30, 20:30] = True
    placed = PlacedScan(
        scan, scan, Brain(brain, stripped=False, source="network"), np.eye(4), GOOD, left_alone=False, starts=3
    )
    shown = deface(scan, placed).voxels
    assert (shown[brain] == scan.voxels[brain]).all()
    assert not (shown != scan.voxels.min())[~ndimage.binary_dilation(brain, iterations=1)].any()


def test_a_place_that_does_not_fit_is_not_believed() -> None:
    scan = moved_scan(NEAR, stripped=False, axes="LAS")
    poor = Quality(similarity=0.0, overlap=0.1, size=(1, 1, 1), shear_deg=0.0)
    whole = np.ones(scan.shape, np.bool_)
    placed = PlacedScan(
        scan, scan, Brain(whole, stripped=True, source="shown"), np.eye(4), poor, left_alone=True, starts=0
    )
    assert shown_outside(scan, deface(scan, placed), NEAR, 20.0) == 0


def test_what_is_too_small_for_a_head_is_shown() -> None:
    scan = Image(np.random.default_rng(0).uniform(1, 2, (20, 20, 20)).astype(np.float32), np.diag([2.0, 2, 2, 1]))
    assert deface(scan) is scan


def test_what_is_not_recognised_is_hidden() -> None:
    voxels = np.random.default_rng(0).uniform(-1, 1, (40, 40, 40)).astype(np.float32)
    shown = deface(Image(voxels, np.diag([3.0, 3, 3, 1]))).voxels
    assert (shown == voxels.min()).all()
