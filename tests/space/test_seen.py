"""What models see of scans in their own space, in MNI152 space, with a head and without."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from mapping_stroke.dataset.grid import ATLAS_GRID
from mapping_stroke.dataset.preprocess import PreprocessSpec, prepare_scan
from mapping_stroke.errors import ConfigError
from mapping_stroke.images.image import Image
from mapping_stroke.networks.cards import BundleCard
from mapping_stroke.space import model_input as module
from mapping_stroke.space.brain import Brain
from mapping_stroke.space.model_input import make_model_input
from mapping_stroke.space.placement import PlacedScan, place_scan
from moved_heads import NEAR, brain_of, move, moved_scan
from small_models import model_card

THERE = move((0, 0, 0), (0, 0, 0), size=1)


def head_at(to_scan: np.ndarray) -> Image:
    return moved_scan(to_scan, stripped=False, axes="LAS")


@pytest.fixture(scope="module")
def native() -> PlacedScan:
    return place_scan(head_at(NEAR), "native")


@pytest.fixture(autouse=True)
def places_once(native: PlacedScan, monkeypatch: pytest.MonkeyPatch) -> None:
    """The head in its own space is registered once for all tests."""

    @cache
    def place(scan: Image, space: str, brain: None) -> PlacedScan:
        return native if scan is native.scan and space != "mni" else place_scan(scan, space)

    monkeypatch.setattr(module, "place_scan", place)


def card(**changes: object) -> BundleCard:
    return model_card(**changes)


def test_a_model_for_mni152_space_sees_a_scan_there_and_maps_come_back(native: PlacedScan) -> None:
    seen = make_model_input(native.scan, card(space="MNI152"), "auto")
    assert (seen.image.shape, seen.image.affine.tolist()) == (ATLAS_GRID.shape, ATLAS_GRID.affine.tolist())
    np.testing.assert_array_equal(seen.image.voxels, native.on_atlas().voxels)
    assert seen.registered is seen.placed is not None
    back = seen.bring_back(seen.image.voxels)
    assert back.shape == native.scan.shape
    assert np.corrcoef(back[native.brain.mask], native.corrected.voxels[native.brain.mask])[0, 1] > 0.9


@pytest.mark.parametrize("space", ["unknown", "native"])
def test_a_model_for_another_space_sees_scans_as_they_are_unless_told_otherwise(native: PlacedScan, space: str) -> None:
    seen = make_model_input(native.scan, card(space=space), "auto")
    assert seen.image is native.scan
    assert seen.placed is None
    assert seen.bring_back(native.scan.voxels) is native.scan.voxels
    assert make_model_input(native.scan, card(space=space), "native").image.shape == ATLAS_GRID.shape


def test_a_scan_that_is_said_to_lie_in_mni152_space_is_not_touched(native: PlacedScan) -> None:
    assert make_model_input(native.scan, card(space="MNI152"), "mni").image is native.scan


def test_a_scan_in_mni152_space_is_seen_as_it_is() -> None:
    scan = head_at(THERE)
    seen = make_model_input(scan, card(space="MNI152"), "auto")
    assert seen.image is scan
    assert seen.placed is not None
    assert seen.placed.left_alone
    assert seen.registered is None


@pytest.mark.parametrize("stripped", [True, False])
def test_a_model_for_brains_sees_no_head(stripped: bool) -> None:
    scan = moved_scan(THERE, stripped=stripped)
    seen = make_model_input(scan, card(space="MNI152", shows="brain"), "auto")
    inside, near = brain_of(scan, THERE).voxels > 0.9, brain_of(scan, THERE).voxels > 0
    assert (seen.image.voxels[inside] == scan.voxels[inside]).mean() > 0.98
    outside = (seen.image.voxels[~near] != 0).mean()
    assert outside < 0.05
    assert (seen.image is scan) == stripped


def whole_box_z_scored(scan: Image) -> Image:
    return Image((scan.voxels - scan.voxels.mean()) / scan.voxels.std(), scan.affine)


def lowered(scan: Image) -> Image:
    return Image(scan.voxels.round() - 20, scan.affine)


@pytest.mark.parametrize("change", [whole_box_z_scored, lowered])
def test_a_stripped_scan_is_seen_without_its_background_whatever_that_is(change: Callable[[Image], Image]) -> None:
    scan = moved_scan(THERE, stripped=True)
    changed = change(scan)
    seen = make_model_input(changed, card(space="MNI152", shows="brain"), "mni").image
    read, right = (prepare_scan(image, PreprocessSpec()).voxels for image in (seen, scan))
    assert read.shape == right.shape
    assert (np.abs(read - right) < 0.01).mean() > 0.999  # but for values of 0 at the brain's edge
    assert make_model_input(changed, card(space="MNI152", shows="head"), "mni").image is changed


def test_a_registered_one_too(native: PlacedScan, monkeypatch: pytest.MonkeyPatch) -> None:
    brain = moved_scan(THERE, stripped=True)
    scan = Image(np.where(brain.voxels > 0, brain.voxels + 5, np.float32(5)), brain.affine)
    placed = replace(
        native,
        scan=scan,
        corrected=scan,
        brain=Brain(brain.voxels > 0, stripped=True, source="shown"),
        to_mni=np.eye(4),
    )
    monkeypatch.setattr(module, "place_scan", lambda *_: placed)
    seen = make_model_input(scan, card(space="MNI152", shows="brain"), "native")
    assert seen.on_atlas
    assert seen.placed is placed
    assert seen.image.voxels[0, 0, 0] == seen.image.voxels[:, :, -1].max() == 0 < placed.on_atlas().voxels[0, 0, 0]


def test_in_its_own_space_too(native: PlacedScan) -> None:
    wanted = np.where(native.brain.mask, native.scan.voxels, 0)
    np.testing.assert_array_equal(make_model_input(native.scan, card(shows="brain"), "auto").image.voxels, wanted)
    there = make_model_input(native.scan, card(shows="brain"), "native").image.voxels
    np.testing.assert_array_equal(there, native.on_atlas(brain_only=True).voxels)


def test_an_unknown_space_is_refused(native: PlacedScan) -> None:
    with pytest.raises(ConfigError, match="expected one of auto, native, mni"):
        make_model_input(native.scan, card(), "talairach")
