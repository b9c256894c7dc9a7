"""Scores of a pair: golden values, laws, refusals."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from mapping_stroke.errors import ConfigError, GeometryError, ImageError
from mapping_stroke.evaluation.profiles import ATLAS2022, ISLES2026, PROFILES, find_profile
from mapping_stroke.evaluation.score import score
from mapping_stroke.images.image import Mask

COUNTS = ("volume_difference_vox", "simple_lesion_count")
MASK = np.zeros((3, 4, 5), np.bool_)
PERFECT = {"dice": 1.0, "volume_difference_vox": 0.0, "simple_lesion_count": 0.0, "lesion_f1": 1.0, "hd95_mm": 0.0}

shapes = array_shapes(min_dims=3, max_dims=3, max_side=5)
mask_pairs = shapes.flatmap(lambda shape: st.tuples(arrays(np.bool_, shape), arrays(np.bool_, shape)))
profiles = st.sampled_from(list(PROFILES))


def require_equal(scores: Mapping[str, float], expected: Mapping[str, float]) -> None:
    assert scores.keys() == expected.keys()
    np.testing.assert_allclose(list(scores.values()), list(expected.values()), rtol=0, atol=1e-12)


def test_the_scores_equal_those_of_the_organisers_and_of_medpy(shared: Path) -> None:
    expected = json.loads((shared / "golden" / "metrics.json").read_text())
    assert len(expected) == 40
    with np.load(shared / "golden" / "metrics.npz") as golden:
        for name, values in expected.items():
            found = score(golden[f"{name}_prediction"], golden[f"{name}_reference"])
            require_equal(found, values)
            assert [found[key] for key in COUNTS] == [values[key] for key in COUNTS]


def test_the_keys_are_those_of_the_profile() -> None:
    assert tuple(score(MASK, MASK)) == ATLAS2022.keys == tuple(PERFECT)
    assert tuple(score(MASK, MASK, profile="isles2026")) == ISLES2026.keys
    assert not ATLAS2022.scores_probability
    assert ISLES2026.scores_probability


def test_isles2026_scores_in_millilitres_with_corners_joined() -> None:
    prediction, reference = MASK.copy(), MASK.copy()
    prediction[0, 0, 0] = prediction[1, 1, 1] = reference[0, 0, 0] = True
    found = score(prediction, reference, (10, 10, 10), "isles2026", prediction.astype(np.float32))
    assert found == {
        "matched_lesion_f1": 1.0,
        "volume_difference_ml": 1.0,
        "lesion_count_difference": 0.0,
        "dice": pytest.approx(2 / 3),
        "pr_auc": 0.75,
    }
    assert math.isnan(score(prediction, reference, profile="isles2026")["pr_auc"])


def test_arrays_without_voxels_are_empty_masks() -> None:
    nothing = np.zeros((0, 3, 4), np.bool_)
    require_equal(score(nothing, nothing), {**PERFECT, "hd95_mm": math.nan})


# Laws


@given(arrays(np.bool_, shapes, elements=st.booleans()))
def test_a_mask_scores_best_against_itself(mask: Mask) -> None:
    require_equal(score(mask, mask), PERFECT if mask.any() else {**PERFECT, "hd95_mm": math.nan})


@given(mask_pairs, profiles)
def test_memory_layout_and_type_change_nothing(pair: tuple[Mask, Mask], profile: str) -> None:
    prediction, reference = pair
    expected = score(prediction, reference, profile=profile)
    spread = np.repeat(prediction, 2, axis=2)[..., ::2]
    turned = np.ascontiguousarray(prediction[::-1])[::-1]
    numbers = [prediction.astype(dtype) for dtype in (np.uint8, np.int16, np.float64)]
    for other in (np.asfortranarray(prediction), spread, turned, *numbers):
        require_equal(score(other, np.asfortranarray(reference), profile=profile), expected)


@given(mask_pairs, profiles, st.sampled_from([0, 1, 2]))
def test_flipping_both_masks_changes_nothing(pair: tuple[Mask, Mask], profile: str, axis: int) -> None:
    prediction, reference = pair
    flipped = score(np.flip(prediction, axis), np.flip(reference, axis), profile=profile)
    straight = score(prediction, reference, profile=profile)
    for scores in (flipped, straight):
        scores.pop("matched_lesion_f1", None)  # pairs of equal IoU are matched in the order of their voxels
    require_equal(flipped, straight)


@given(mask_pairs)
def test_an_empty_border_changes_nothing(pair: tuple[Mask, Mask]) -> None:
    prediction, reference = pair
    require_equal(score(np.pad(prediction, 2), np.pad(reference, 2)), score(prediction, reference))


@given(mask_pairs, st.floats(0.25, 4))
def test_distances_grow_with_the_voxels(pair: tuple[Mask, Mask], edge_mm: float) -> None:
    prediction, reference = pair
    wide, unit = score(prediction, reference, (edge_mm,) * 3), score(prediction, reference)
    assert wide["hd95_mm"] == pytest.approx(edge_mm * unit["hd95_mm"], nan_ok=True)


# Refusals


def test_masks_of_different_shapes_are_refused() -> None:
    with pytest.raises(GeometryError, match=r"prediction has shape \(3, 4, 5\) but the reference has \(5, 4, 3\)"):
        score(MASK, MASK.T)
    with pytest.raises(GeometryError, match="probability map has shape"):
        score(MASK, MASK, probability=np.zeros((5, 4, 3)))


@pytest.mark.parametrize("value", [2, 0.5, np.nan, -1])
def test_what_is_neither_0_nor_1_is_refused(value: float) -> None:
    mask = np.zeros(MASK.shape)
    mask[0, 0, :2] = value
    with pytest.raises(ImageError, match="the prediction holds 2 voxels that are neither 0 nor 1"):
        score(mask, MASK)
    with pytest.raises(ImageError, match="the reference holds 2 voxels"):
        score(MASK, mask)


def test_a_mask_of_another_dimension_is_refused() -> None:
    with pytest.raises(ImageError, match=r"the prediction has 2 axes \(shape \(3, 4\)\), expected 3"):
        score(MASK[..., 0], MASK)


@pytest.mark.parametrize("spacing_mm", [(1, 1, 0), (1, -1, 1), (1, 1), (1, 1, float("nan"))])
def test_a_spacing_that_is_not_three_lengths_is_refused(spacing_mm: tuple[float, ...]) -> None:
    with pytest.raises(GeometryError, match="3 lengths above 0 mm"):
        score(MASK, MASK, spacing_mm)


def test_a_probability_map_outside_0_to_1_is_refused() -> None:
    with pytest.raises(ImageError, match=r"must lie in \[0, 1\]"):
        score(MASK, MASK, profile="isles2026", probability=np.full(MASK.shape, 1.5))


def test_an_unknown_profile_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown scoring profile 'brats'; choose one of atlas2022, isles2026"):
        score(MASK, MASK, profile="brats")
    assert find_profile("atlas2022") is ATLAS2022
