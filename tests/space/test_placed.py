"""Scans anywhere are brought to MNI152 space and back; what cannot be is said."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from mapping_stroke.dataset.grid import ATLAS_GRID, atlas_grid
from mapping_stroke.dataset.template_fit import find_places, fit_template
from mapping_stroke.errors import ConfigError, RegistrationError
from mapping_stroke.images.image import Image, read_image
from mapping_stroke.space import brain
from mapping_stroke.space import rough_fit as search
from mapping_stroke.space.brain_network import extract_brain
from mapping_stroke.space.placement import PlacedScan, place_scan
from mapping_stroke.space.template import read_template
from moved_heads import NEAR, brain_of, error_mm, head, move, moved_scan

FAR = move((25, -15, 20), (40, -30, 35))


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def scan_free_centre() -> np.ndarray:
    """A frame at the left surface of the template's brain."""
    frame = np.eye(4)
    frame[:3, 3] = (-55, -20, 15)
    return frame


@pytest.fixture(scope="module", params=["brain", "head"])
def placed(request: pytest.FixtureRequest) -> PlacedScan:
    return place_scan(moved_scan(FAR, stripped=request.param == "brain", axes="PSL"))


def test_a_scan_far_off_is_registered(placed: PlacedScan) -> None:
    assert error_mm(np.linalg.inv(placed.to_mni), FAR) < 2
    assert not placed.left_alone
    assert placed.starts > 0
    assert placed.quality.complaints() == []
    assert placed.warnings == ()
    assert placed.quality.size == pytest.approx((0.93, 0.93, 0.93), abs=0.03)


def test_its_brain_is_found_on_its_own_grid(placed: PlacedScan) -> None:
    truth = brain_of(placed.scan, FAR).voxels > 0.5
    assert placed.brain.mask.shape == placed.scan.shape
    assert dice(placed.brain.mask, truth) > 0.93


def test_on_the_atlas_grid_it_looks_like_the_template(placed: PlacedScan) -> None:
    template = read_template()
    there = placed.on_atlas(brain_only=True)
    assert there.shape == ATLAS_GRID.shape
    small = there.voxels[: 2 * 98, : 2 * 116, : 2 * 94].reshape(98, 2, 116, 2, 94, 2).mean(axis=(1, 3, 5))
    inside = template.brain[:98, :116, :94] > 0.9
    assert np.corrcoef(small[inside], template.t1[:98, :116, :94][inside])[0, 1] > 0.85


def test_a_map_on_the_atlas_grid_comes_back_to_where_it_belongs(placed: PlacedScan) -> None:
    x, y, z = np.indices(ATLAS_GRID.shape) + np.reshape(ATLAS_GRID.origin_mm, (3, 1, 1, 1))
    ball = np.clip(13 - np.sqrt((x + 30) ** 2 + (y + 20) ** 2 + (z - 20) ** 2), 0, 1).astype(np.float32)
    back = placed.from_atlas(ball)
    assert back.shape == placed.scan.shape
    assert 0 <= back.min() <= back.max() <= 1
    centre = placed.scan.affine[:3, :3] @ np.argwhere(back > 0.5).mean(axis=0) + placed.scan.affine[:3, 3]
    wanted = np.linalg.inv(placed.to_mni) @ [-30, -20, 20, 1]
    assert np.linalg.norm(centre - wanted[:3]) < 0.5
    volume_mm3 = (back > 0.5).sum() * placed.scan.voxel_volume_mm3
    assert volume_mm3 == pytest.approx((ball > 0.5).sum() * 0.93**3, rel=0.15)


def test_a_network_may_have_a_grid_of_its_own(placed: PlacedScan) -> None:
    grid = atlas_grid(3.0)
    there = placed.on_atlas(grid)
    assert there.shape == grid.shape
    assert there.spacing_mm == (3, 3, 3)
    back = placed.from_atlas(there.voxels, grid)
    assert np.corrcoef(back[placed.brain.mask], placed.corrected.voxels[placed.brain.mask])[0, 1] > 0.8


def test_what_is_kept_is_plain(placed: PlacedScan) -> None:
    kept = placed.to_json()
    np.testing.assert_array_equal(kept["to_mni"], placed.to_mni)
    assert kept["left_alone"] is False
    volume_ml = placed.brain.mask.sum() * placed.scan.voxel_volume_mm3 / 1000
    assert placed.brain.to_json(placed.scan) == {"source": placed.brain.source, "volume_ml": round(volume_ml, 1)}


def test_a_scan_in_mni_space_is_left_alone() -> None:
    scan = moved_scan(move((1, -0.5, 0), (0.5, 1, -0.5), size=0.99))
    placed = place_scan(scan)
    assert placed.left_alone
    assert placed.corrected is scan
    np.testing.assert_array_equal(placed.to_mni, np.eye(4))


@pytest.mark.parametrize("stripped", [pytest.param(True, marks=pytest.mark.slow), False])
def test_a_scan_whose_origin_was_set_at_about_the_right_place_is_registered(*, stripped: bool) -> None:
    nearly_there = move((3, -1, 0), (1, -2, 5), size=0.96)
    scan = moved_scan(nearly_there, stripped=stripped)
    assert fit_template(scan).in_place, "the quick look does not notice"
    placed = place_scan(scan)
    assert not placed.left_alone
    assert error_mm(np.linalg.inv(placed.to_mni), nearly_there) < 2


def test_in_mni_space_a_scan_on_the_atlas_grid_keeps_every_voxel() -> None:
    voxels = np.random.default_rng(0).random(ATLAS_GRID.shape, dtype=np.float32)
    scan = Image(voxels, ATLAS_GRID.affine)
    placed = place_scan(scan, "mni")
    np.testing.assert_array_equal(placed.on_atlas().voxels, voxels)
    assert placed.from_atlas(voxels) is voxels


def test_a_scan_that_is_said_to_lie_in_mni_space_is_believed() -> None:
    placed = place_scan(moved_scan(FAR), "mni")
    assert placed.left_alone
    assert placed.quality.complaints() != []


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough to tell what will do from what will not."""
    monkeypatch.setattr(search, "COARSE", replace(search.COARSE, steps=20))
    monkeypatch.setattr(search, "FINE", replace(search.FINE, steps=3))


@pytest.mark.usefixtures("few_steps")
def test_what_is_no_brain_is_reported_and_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "waves", lambda: iter([[np.eye(3)]]))
    noise = np.random.default_rng(0).uniform(1, 2, (50, 60, 50)).astype(np.float32)
    with pytest.raises(RegistrationError, match="the template fits nowhere"):
        place_scan(Image(noise, np.diag([3.0, 3, 3, 1])))  # it is taken for air
    voxels = ndimage.gaussian_filter(noise, 2.0)
    with pytest.raises(RegistrationError, match=r"could not be registered to MNI152 from .* starts .*similarity"):
        place_scan(Image(voxels, np.diag([3.0, 3, 3, 1])))


def test_an_empty_scan_is_reported() -> None:
    with pytest.raises(RegistrationError, match="the template fits nowhere"):
        place_scan(Image(np.zeros((40, 40, 40), np.float32), np.diag([4.0, 4, 4, 1])))


def test_other_starts_are_tried_until_one_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = move((0, 0, 0), (50, 0, 0))
    small, looked = moved_scan(truth), []
    monkeypatch.setattr(search, "waves", lambda: iter([[np.eye(3)], [np.eye(3)]]))

    def overlap_at(place: np.ndarray) -> float:
        looked.append(place)
        return 0.9 if len(looked) > 1 else 0.1

    found = search.search(small, overlap_at)
    assert found.starts == 1 + len(find_places(small, [np.eye(3)])), "only the best of the first wave was refined"
    assert len(looked) == 2
    assert error_mm(found.place, truth) < 2


def test_a_mask_of_the_user_is_believed() -> None:
    scan = moved_scan(NEAR, stripped=False)
    mask = brain_of(scan, NEAR).voxels > 0.5
    placed = place_scan(scan, brain=mask)
    assert placed.brain.mask is mask
    assert placed.brain.source == "given"
    assert error_mm(np.linalg.inv(placed.to_mni), NEAR) < 2


def test_if_the_network_fails_the_template_finds_the_brain_and_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    scan = moved_scan(NEAR, stripped=False)
    truth = brain_of(scan, NEAR).voxels > 0.5
    for all_brain, why in ((False, "it recognised no brain"), (True, "its brain has .* mL")):
        monkeypatch.setattr(brain, "extract_brain", lambda scan, whole=all_brain: np.full(scan.shape, whole))
        placed = place_scan(scan)
        assert placed.brain.source == "template"
        assert dice(placed.brain.mask, truth) > 0.9
        assert error_mm(np.linalg.inv(placed.to_mni), NEAR) < 2
        assert re.search(f"by the network failed \\({why}.*derived from the template.*--brain", placed.warnings[0])


@pytest.mark.slow
def test_a_turned_head_in_which_the_network_fails_is_shown_to_it_upright(monkeypatch: pytest.MonkeyPatch) -> None:
    place = move((10, -15, 8), (30, -20, 15))
    scan = moved_scan(place, stripped=False)
    seen: list[tuple[int, ...]] = []

    def fails_at_first(image: Image) -> np.ndarray:
        seen.append(image.shape)
        return extract_brain(image) if len(seen) > 1 else np.zeros(image.shape, np.bool_)

    monkeypatch.setattr(brain, "extract_brain", fails_at_first)
    placed = place_scan(scan)
    assert len(seen) == 2
    assert placed.brain.source == "network"
    assert placed.warnings == ()
    assert error_mm(np.linalg.inv(placed.to_mni), place) < 2


def test_tissue_that_was_cut_off_is_told_with_its_volume() -> None:
    scan = moved_scan(NEAR)
    x, y, z = np.indices(scan.shape)
    side = np.linalg.inv(NEAR @ scan_free_centre()) @ scan.affine @ np.stack([x, y, z, np.ones_like(x)]).reshape(4, -1)
    away = np.linalg.norm(side[:3], axis=0).reshape(scan.shape)
    cut = Image(np.where(away < 30, 0, scan.voxels).astype(np.float32), scan.affine)
    (told,) = place_scan(cut).warnings
    told_ml = float(re.search(r"about (\d+) mL of connected tissue are missing from the brain", told).group(1))
    truth_ml = ((away < 30) & (brain_of(scan, NEAR).voxels > 0.5)).sum() * scan.voxel_volume_mm3 / 1000
    assert 0.3 * truth_ml < told_ml < 1.1 * truth_ml


def test_a_brain_beyond_the_field_of_view_is_told() -> None:
    scan = moved_scan(NEAR)
    part = Image(np.ascontiguousarray(scan.voxels[:, :, : scan.shape[2] // 2]), scan.affine)
    assert any("mL of the brain lie outside its field of view" in line for line in place_scan(part).warnings)


def test_an_unknown_space_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected one of auto, native, mni"):
        place_scan(head(stripped=True), "talairach")


@pytest.mark.slow
def test_real_scans_in_their_own_space_are_registered(shared: Path) -> None:
    paths = sorted((shared / "data" / "native").glob("*_T1w.nii.gz"))
    assert paths
    for path in paths:
        placed = place_scan(read_image(path))
        assert not placed.left_alone, path.name
        assert placed.brain.stripped == ("stripped" in path.name), path.name
        assert 900 < placed.brain.volume_ml(placed.scan) < 2000, path.name
        assert placed.warnings == (), path.name
