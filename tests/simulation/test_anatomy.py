from dataclasses import replace

import pytest
import torch

from mapping_stroke.errors import ImageError
from mapping_stroke.simulation.brain import Brain, build_brain, guess_tissues

from .conftest import GRID, head


def test_intensities_come_on_one_scale(brain: Brain) -> None:
    found = [round(float(value), 2) for value in brain.t1.unique()]
    assert found == [0, 0.25, 0.65, 1]
    assert not brain.t1[~brain.inside].any()


def test_the_ventricles_are_the_csf_in_the_middle(brain: Brain) -> None:
    x, y, z = brain.grid.axes_mm(brain.device)
    inside = ((x.abs() - 12) / 8) ** 2 + ((y + 18) / 30) ** 2 + ((z - 9) / 14) ** 2 < 1
    assert torch.equal(brain.ventricles, inside)


def test_depth_grows_inwards(brain: Brain) -> None:
    middle = [length // 2 for length in brain.grid.shape]
    line = brain.depth_mm[: middle[0], middle[1], middle[2]]
    assert bool((line.diff()[line[1:] > 3] > 0).all())
    assert 55 < float(brain.depth_mm.max()) < 75


def test_tissues_are_found_where_none_are_given(brain: Brain) -> None:
    grey, white = guess_tissues(brain.t1, brain.inside)
    torch.testing.assert_close(grey, brain.grey, atol=0.05, rtol=0)
    torch.testing.assert_close(white, brain.white, atol=0.05, rtol=0)


def test_a_scan_without_brain_is_refused() -> None:
    with pytest.raises(ImageError, match=r"holds 0 mL above 0 .* skull-stripped"):
        build_brain(torch.zeros(GRID.shape), None, GRID)


def test_a_scan_that_is_not_in_mni_space_is_refused() -> None:
    t1, _ = head(GRID)
    with pytest.raises(ImageError, match=r"has its centre at \(-?\d+, 42, 9\) mm, expected about \(0, -18, 9\)"):
        build_brain(t1, None, replace(GRID, origin_mm=(-98.0, -74.0, -72.0)))


def test_a_scan_with_dark_white_matter_is_refused() -> None:
    t1, labels = head(GRID)
    tissues = torch.stack([labels == 2, labels == 3]).float()
    with pytest.raises(ImageError, match="expected rising intensities as in a T1-weighted scan"):
        build_brain((120 - t1) * (t1 > 0), tissues, GRID)


def test_a_scan_of_one_intensity_is_refused() -> None:
    t1, _ = head(GRID)
    with pytest.raises(ImageError, match="does not show three tissues"):
        build_brain((t1 > 0).float(), None, GRID)
