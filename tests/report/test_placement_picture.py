"""The picture of placed scans: what it shows, and that it shows nothing else."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mapping_stroke.image import Image
from mapping_stroke.report.placement_picture import SECTIONS, Section, draw_placements
from mapping_stroke.space.brain import Brain
from mapping_stroke.space.placed import PlacedScan
from mapping_stroke.space.quality import Quality
from mapping_stroke.space.template import read_template
from moved_heads import move


@pytest.fixture(scope="module")
def placed() -> PlacedScan:
    """The template itself, in its place."""
    template = read_template()
    scan = Image(template.t1, template.affine)
    quality = Quality(0.5, 1.0, (1.0, 1.0, 1.0), 0.0)
    return PlacedScan(
        scan,
        scan,
        Brain(template.brain > 0.5, stripped=True, source="shown"),
        np.eye(4),
        quality,
        left_alone=True,
        starts=0,
    )


def drawn(scan: PlacedScan, path: Path) -> bytes:
    draw_placements({"scan": scan}, path)
    return path.read_bytes()


def test_nothing_but_the_brain_is_shown(placed: PlacedScan, tmp_path: Path) -> None:
    face = np.where(placed.brain.mask, placed.scan.voxels, np.float32(0.9))
    with_face = replace(placed, corrected=Image(face, placed.scan.affine))
    assert drawn(with_face, tmp_path / "face.png") == drawn(placed, tmp_path / "brain.png")


def test_the_scan_moves_and_the_lines_stay(placed: PlacedScan, tmp_path: Path) -> None:
    aside = replace(placed, to_mni=move((0, 0, 0), (0, 12, 0), size=1))
    assert drawn(aside, tmp_path / "aside.png") != drawn(placed, tmp_path / "placed.png")


def test_a_scan_without_a_brain_leaves_its_row_dark(placed: PlacedScan, tmp_path: Path) -> None:
    draw_placements(
        {"none": replace(placed, brain=replace(placed.brain, mask=np.zeros_like(placed.brain.mask))), "one": placed},
        tmp_path / "two.png",
    )
    assert (tmp_path / "two.png").stat().st_size > 5000


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_is_one_layer_at_its_place(section: Section) -> None:
    grid = section.grid
    axis, place_mm = section.axis, section.place_mm
    assert grid.shape[axis] == 1
    assert grid.affine[axis, 3] == place_mm
