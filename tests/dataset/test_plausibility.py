"""What is told of a scan that is not of the kind that a model was trained on."""

import numpy as np
import pytest

from mapping_stroke.dataset import scan_checks as plausibility
from mapping_stroke.dataset.scan_checks import doubt_scan, grid_turn_deg
from mapping_stroke.dataset.template_fit import TemplateFit
from mapping_stroke.images.image import Image
from mapping_stroke.images.nifti import Affine
from template_scans import template_scan

CONTRAST, PLACE, GRID, NOTHING = (
    "do not look like those of a T1w",
    "not lie in MNI152",
    "grid is turned",
    "not resemble",
)
SCAN = Image(np.ones((2, 2, 2), np.float32), np.eye(4))


def turned(deg: float) -> Image:
    cos, sin = np.cos(np.deg2rad(deg)), np.sin(np.deg2rad(deg))
    affine: Affine = np.array([[-cos, 0, sin, 0], [0, 1, 0, 0], [sin, 0, cos, 0], [0, 0, 0, 1]]) @ np.diag([1, 2, 3, 1])
    return Image(SCAN.voxels, affine)


@pytest.mark.parametrize(
    ("found", "scan", "told"),
    [
        (TemplateFit(0.3, in_place=True, contrast=0.3), SCAN, []),
        (TemplateFit(0.3, in_place=True, contrast=-0.1), SCAN, [CONTRAST]),
        (TemplateFit(0.3, in_place=False, contrast=0.3), SCAN, [PLACE]),
        (TemplateFit(0.3, in_place=False, contrast=-0.1), SCAN, [CONTRAST, PLACE]),
        (TemplateFit(0.01, in_place=False, contrast=-0.1), SCAN, [NOTHING]),
        (TemplateFit(0.3, in_place=True, contrast=0.3), turned(20), [GRID]),
        (TemplateFit(0.3, in_place=True, contrast=0.3), turned(10), []),
        (TemplateFit(0.3, in_place=False, contrast=0.3), turned(20), [PLACE]),
    ],
)
def test_what_is_found_is_told_in_one_line_each(
    found: TemplateFit, scan: Image, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plausibility, "fit_template", lambda scan: found)
    lines = doubt_scan(scan, t1w=True, mni152=True)
    assert len(lines) == len(told)
    assert all(part in line and "\n" not in line for part, line in zip(told, lines, strict=True))


def test_only_what_the_model_needs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    flair = Image(template_scan("FLAIR").voxels, np.diag([4.0, 4.0, 4.0, 1.0]))
    (contrast,) = doubt_scan(flair, t1w=True, mni152=False)
    (place,) = doubt_scan(flair, t1w=False, mni152=True)
    assert CONTRAST in contrast
    assert PLACE in place
    monkeypatch.setattr(plausibility, "fit_template", None)
    assert doubt_scan(flair, t1w=False, mni152=False) == []


@pytest.mark.parametrize("deg", [0, 5, 30, 45])
def test_a_grid_is_turned_by_its_angle_to_the_next_axes(deg: float) -> None:
    assert grid_turn_deg(turned(deg)) == pytest.approx(deg, abs=1e-5)
    assert grid_turn_deg(turned(deg + 90)) == pytest.approx(deg, abs=1e-5)
