"""The lesion overlap map: worked examples, mirror images, and what the map on disk says about itself."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapping_stroke.cohort import overlap as module
from mapping_stroke.cohort.group_files import GroupFiles
from mapping_stroke.cohort.overlap import OverlapCount, OverlapFacts, PlacedMask, place_mask, write_overlap
from mapping_stroke.dataset.grid import ATLAS_GRID
from mapping_stroke.images.image import read_image, write_image

FILES = GroupFiles("cohort")
HERE = np.eye(4)
MIDDLE = 98
"""Index of x = 0."""


def block(x: slice, y: slice = slice(50, 52), z: slice = slice(60, 61)) -> np.ndarray:
    mask = np.zeros(ATLAS_GRID.shape, bool)
    mask[x, y, z] = True
    return mask


def count(*masks: np.ndarray) -> OverlapCount:
    counted = OverlapCount()
    for mask in masks:
        counted.add(*place_mask(mask, HERE @ ATLAS_GRID.affine))
    return counted


def row(volume: np.ndarray, x: slice) -> list[int]:
    return volume[x, 50, 60].tolist()


def test_two_blocks_overlap_where_both_are() -> None:
    counted = count(block(slice(10, 13)), block(slice(12, 15)))
    assert row(counted.counts, slice(9, 16)) == [0, 1, 1, 2, 1, 1, 0]
    assert counted.counts.sum() == 2 * 2 * 3
    assert counted.scans == 2


def test_a_right_lesion_is_mirrored_onto_the_left() -> None:
    left, right = block(slice(MIDDLE - 5, MIDDLE - 3)), block(slice(MIDDLE + 5, MIDDLE + 8))
    mirrored = count(left, right).mirrored
    assert row(mirrored, slice(MIDDLE - 8, MIDDLE - 2)) == [0, 1, 1, 2, 1, 0]
    assert not mirrored[MIDDLE + 1 :].any()


def test_a_scan_with_lesions_on_both_sides_counts_once_and_so_does_the_midplane() -> None:
    both = block(slice(MIDDLE - 2, MIDDLE + 3))
    mirrored = count(both).mirrored
    assert row(mirrored, slice(MIDDLE - 3, MIDDLE + 2)) == [0, 1, 1, 1, 0]


@settings(max_examples=8, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 196), st.integers(1, 9)), min_size=1, max_size=3))
def test_a_mirrored_cohort_has_the_same_mirrored_map(ends: Sequence[tuple[int, int]]) -> None:
    masks = [block(slice(start, start + length)) for start, length in ends]
    one, other = count(*masks), count(*(mask[::-1] for mask in masks))
    np.testing.assert_array_equal(one.mirrored, other.mirrored)
    np.testing.assert_array_equal(one.counts, other.counts[::-1])
    folded = one.counts[: MIDDLE + 1].astype(int) + one.counts[MIDDLE:][::-1]
    assert (one.mirrored[: MIDDLE + 1] <= folded).all()
    assert one.mirrored.max() <= len(masks)


def test_a_mask_on_the_grid_itself_stays_as_it_is() -> None:
    mask = np.random.default_rng(0).random(ATLAS_GRID.shape) < 0.0001
    mask[[0, -1], 100, 100] = True
    box, placed = place_mask(mask, ATLAS_GRID.affine)
    whole = np.zeros(ATLAS_GRID.shape, bool)
    whole[box] = placed
    np.testing.assert_array_equal(whole, mask)


def test_a_coarse_oblique_mask_keeps_its_volume_and_centre() -> None:
    angle = 0.3
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[:2, :2] = 3 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    affine[:3, 3] = (10, -20, 5)
    mask = np.zeros((12, 12, 12), bool)
    mask[3:8, 4:8, 2:9] = True
    box, placed = place_mask(mask, affine)
    assert placed.sum() == pytest.approx(mask.sum() * 27, rel=0.02)
    index = np.argwhere(placed).mean(axis=0) + [edge.start for edge in box]
    centre = affine[:3, :3] @ np.argwhere(mask).mean(axis=0) + affine[:3, 3]
    np.testing.assert_allclose(index + ATLAS_GRID.origin_mm, centre, atol=0.1)


def test_an_empty_mask_reaches_nothing() -> None:
    assert place_mask(np.zeros((4, 4, 4), bool), ATLAS_GRID.affine)[1].size == 0


def test_a_mask_outside_the_grid_reaches_nothing() -> None:
    far = np.eye(4)
    far[:3, 3] = 500
    assert not place_mask(np.ones((4, 4, 4), bool), far)[1].any()


def mask_file(folder: Path, name: str, mask: np.ndarray) -> PlacedMask:
    write_image(folder / f"{name}.nii.gz", mask, ATLAS_GRID.affine)
    return PlacedMask(name, folder / f"{name}.nii.gz", HERE.tolist())


def test_maps_are_made_anew_only_for_other_masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    masks = [mask_file(tmp_path, "a", block(slice(10, 13))), mask_file(tmp_path, "b", block(slice(12, 15)))]
    facts = write_overlap(tmp_path, FILES, masks, {"rated reject": ["c"]})
    assert (facts.scans, facts.most, facts.most_mirrored) == (2, 2, 2)
    stored = json.loads((tmp_path / FILES.overlap_facts).read_text())
    assert (stored["scans"], stored["left_out"]) == (2, {"rated reject": ["c"]})
    assert read_image(tmp_path / FILES.overlap).voxels.sum() == 12
    with monkeypatch.context() as patch:
        patch.setattr(module, "read_image", lambda *_: pytest.fail("a mask was read again"))
        assert write_overlap(tmp_path, FILES, masks, {"rated reject": ["c"]}) == facts
    (tmp_path / FILES.overlap_picture).touch()
    changed = [masks[0], mask_file(tmp_path, "b", block(slice(20, 22)))]
    assert write_overlap(tmp_path, FILES, changed, {}).most == 1
    assert not (tmp_path / FILES.overlap_picture).exists()


def test_masks_that_cannot_be_read_are_named_and_stop_no_other(tmp_path: Path) -> None:
    masks = [mask_file(tmp_path, "a", block(slice(10, 13))), mask_file(tmp_path, "b", block(slice(12, 15)))]
    masks.append(PlacedMask("gone", tmp_path / "gone.nii.gz", HERE.tolist()))
    masks[1].path.write_bytes(b"")
    facts = write_overlap(tmp_path, FILES, masks, {})
    assert facts.scans == 1
    assert set(facts.unreadable) == {"b", "gone"}
    assert write_overlap(tmp_path, FILES, masks, {}) == facts


def test_without_any_mask_older_maps_are_removed(tmp_path: Path) -> None:
    write_overlap(tmp_path, FILES, [mask_file(tmp_path, "a", block(slice(10, 13)))], {})
    facts = write_overlap(tmp_path, FILES, [], {"rated reject": ["a"]})
    assert isinstance(facts, OverlapFacts)
    assert facts.scans == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii.gz"]
