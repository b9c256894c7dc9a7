"""Contrast of lesions to the tissue around them, on volumes small enough to compute by hand."""

import numpy as np
import pytest

from mapping_stroke.evaluation.audit import lesion_contrasts
from mapping_stroke.images.image import Image

EDGE = 24


def brain(spread: float) -> np.ndarray:
    """Ones and a spread around them, in a checkerboard: its standard deviation is the spread."""
    board = np.indices((EDGE,) * 3).sum(0) % 2
    return (1 + spread * (2 * board - 1)).astype(np.float32)


def test_a_lesion_is_compared_with_the_tissue_around_it() -> None:
    healthy = brain(0.1)
    mask = np.zeros((EDGE,) * 3, bool)
    mask[8:12, 8:12, 8:12] = True
    scan = Image(np.where(mask, np.float32(0.4), healthy), np.eye(4))
    (lesion,) = lesion_contrasts(scan, mask, Image(healthy, np.eye(4)))
    assert lesion.volume_ml == pytest.approx(0.064)
    assert lesion.cnr == pytest.approx(6.0, abs=0.05)
    assert lesion.change == pytest.approx(6.0, abs=1.05), "the middle of 5 and 7 times the spread"


def test_each_lesion_has_its_own_contrast_and_the_others_are_not_its_surroundings() -> None:
    mask = np.zeros((EDGE,) * 3, bool)
    mask[4:8, 4:8, 4:8] = mask[4:8, 4:8, 11:15] = True
    voxels = brain(0.1)
    voxels[4:8, 4:8, 4:8], voxels[4:8, 4:8, 11:15] = 0.4, 0.8
    contrasts = lesion_contrasts(Image(voxels, np.eye(4)), mask)
    assert sorted(round(one.cnr) for one in contrasts) == [2, 6]
    assert all(np.isnan(one.change) for one in contrasts)


def test_nothing_around_tells_no_contrast_and_no_lesion_no_row() -> None:
    mask = np.zeros((EDGE,) * 3, bool)
    assert lesion_contrasts(Image(brain(0.1), np.eye(4)), mask) == ()
    mask[2:5, 2:5, 2:5] = True
    alone = Image(np.where(mask, np.float32(1), np.float32(0)), np.eye(4))
    (lesion,) = lesion_contrasts(alone, mask)
    assert np.isnan(lesion.cnr)
    assert lesion.volume_ml == pytest.approx(0.027)
