"""The picture of placed scans: what it shows, and that it shows nothing else."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import ndimage

from mapping_stroke.images.image import Image, Mask, reorient
from mapping_stroke.report.overview import SECTIONS, PlacedRow, Section, draw_placements
from mapping_stroke.report.slices import HEIGHTS, Cut, choose_cuts, draw_native, reorient_to_ras
from mapping_stroke.space.brain import Brain
from mapping_stroke.space.model_input import deface
from mapping_stroke.space.placement import PlacedScan
from mapping_stroke.space.rough_fit import Quality
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


def drawn(scan: PlacedScan, path: Path, shown: Image | None = None, lesion: Mask | None = None) -> bytes:
    draw_placements([PlacedRow("scan", scan, shown or deface(scan.scan, scan), lesion)], path)
    return path.read_bytes()


def test_nothing_but_the_brain_and_its_edge_is_shown(placed: PlacedScan, tmp_path: Path) -> None:
    head = replace(placed, brain=replace(placed.brain, stripped=False))
    away = ~ndimage.binary_dilation(head.brain.mask, iterations=3)
    with_face = Image(np.where(away, np.float32(0.9), head.scan.voxels), head.scan.affine)
    changed = replace(head, scan=with_face, corrected=with_face)
    assert drawn(changed, tmp_path / "face.png") == drawn(head, tmp_path / "brain.png")


def test_the_scan_moves_and_the_lines_stay(placed: PlacedScan, tmp_path: Path) -> None:
    aside = replace(placed, to_mni=move((0, 0, 0), (0, 12, 0), size=1))
    assert drawn(aside, tmp_path / "aside.png") != drawn(placed, tmp_path / "placed.png")


def test_a_scan_without_a_brain_leaves_its_row_dark(placed: PlacedScan, tmp_path: Path) -> None:
    none = replace(placed, brain=replace(placed.brain, mask=np.zeros_like(placed.brain.mask)))
    rows = [PlacedRow(name, scan, scan.scan) for name, scan in (("none", none), ("one", placed))]
    draw_placements(rows, tmp_path / "two.png")
    assert (tmp_path / "two.png").stat().st_size > 5000


def test_what_is_cut_off_and_what_is_marked_is_seen(placed: PlacedScan, tmp_path: Path) -> None:
    lesion = np.zeros_like(placed.brain.mask)
    lesion[30:40, 50:60, 40:50] = True
    cut = replace(placed, brain=replace(placed.brain, mask=placed.brain.mask & ~lesion))
    whole, marked, missing = (
        drawn(scan, tmp_path / "picture.png", placed.scan, mask)
        for scan, mask in ((placed, None), (placed, lesion), (cut, None))
    )
    assert len({whole, marked, missing}) == 3


def test_sections_go_through_the_lesions_where_they_are_largest(placed: PlacedScan) -> None:
    lesion = np.zeros_like(placed.brain.mask)
    lesion[30:34, 50, 20] = lesion[31, 50:55, 20] = True
    low, high = reorient_to_ras(placed.scan, placed.brain.mask, None).reach_vox(2)
    axial = [round(low + share * (high - low)) for share in HEIGHTS]
    cuts = choose_cuts(reorient_to_ras(placed.scan, placed.brain.mask, lesion))
    assert cuts[0] == Cut(2, 20)  # the nearest of the axial ones
    assert cuts[1:] == [Cut(2, axial[1]), Cut(2, axial[2]), Cut(1, 50), Cut(0, 31)]
    assert choose_cuts(reorient_to_ras(placed.scan, placed.brain.mask, None))[:3] == [Cut(2, index) for index in axial]


def test_the_picture_does_not_depend_on_how_the_scan_is_stored(placed: PlacedScan, tmp_path: Path) -> None:
    marked = Image(placed.brain.mask.astype(np.float32), placed.scan.affine)
    scan, mask = (reorient(image, "PSL") for image in (placed.scan, marked))
    turned = replace(placed, scan=scan, corrected=scan, brain=replace(placed.brain, mask=mask.voxels > 0))
    rows = [reorient_to_ras(each.scan, each.brain.mask, None) for each in (placed, turned)]
    np.testing.assert_array_equal(rows[0].scan.voxels, rows[1].scan.voxels)
    np.testing.assert_array_equal(rows[0].brain, rows[1].brain)
    assert choose_cuts(rows[0]) == choose_cuts(rows[1])
    places = [[row.place_mm(cut) for cut in choose_cuts(row)] for row in rows]
    np.testing.assert_allclose(places[0], places[1])


def test_voxels_of_unequal_edges_are_shown_in_true_proportions() -> None:
    """A ball in slices of 6 mm is as high as it is wide, the right of the patient is at the left of the picture."""
    affine = np.diag([2.0, 3.0, 6.0, 1.0])
    x, y, z = np.indices((40, 30, 16))
    ball = (2 * x - 40) ** 2 + (3 * y - 45) ** 2 + (6 * z - 48) ** 2 < 30**2
    grid = Figure().subplots(1, 5)
    draw_native(list(grid), reorient_to_ras(Image(ball.astype(np.float32), affine), ball, None))
    for axes in grid:
        (right, left), top = axes.get_xlim(), axes.get_ylim()[1]
        assert right > left
        assert axes.get_aspect() == 1
        outline = np.concatenate([path.vertices for path in axes.collections[0].get_paths()])
        assert outline[:, 0].max() < right
        assert outline[:, 1].max() < top
    across, up = np.ptp(outline, axis=0)
    assert across == pytest.approx(60, abs=6)
    assert up == pytest.approx(60, abs=12)


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_is_one_layer_at_its_place(section: Section) -> None:
    grid = section.grid
    axis, place_mm = section.axis, section.place_mm
    assert grid.shape[axis] == 1
    assert grid.affine[axis, 3] == place_mm
