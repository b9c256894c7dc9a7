"""From probability to mask: worked examples, laws, golden volumes, refusals."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from mapping_stroke.errors import ConfigError, ImageError
from mapping_stroke.images.image import Mask, Probability
from mapping_stroke.lesions import find_lesions
from mapping_stroke.rules import (
    CHALLENGE,
    RULES,
    PostprocessConfig,
    Thresholds,
    apply_rule,
    check_probability,
    find_rule,
    postprocess,
)

PLANE_VOX = 60 * 60
"""A plane of this size is a large load by itself."""

LEVELS = (0.0, 0.05, 0.1, 0.25, 0.3, 0.31, 0.5, 0.52, 0.55, 0.6, 0.7, 0.75, 0.9, 1.0)
"""The levels of all rules, and values around them."""

probabilities = arrays(
    np.float32,
    array_shapes(min_dims=3, max_dims=3, max_side=6),
    elements=st.sampled_from(LEVELS).map(np.float32),
    fill=st.just(np.float32(0)),
)
rules = st.sampled_from(list(RULES))
either_load = st.sampled_from([replace(CHALLENGE, small_load=1), replace(CHALLENGE, small_load=1000)])
"""The rule `challenge` as it treats large loads, and small ones, whatever the array's size."""


def row(*values: float) -> Probability:
    return np.float32(values).reshape(1, 1, -1)


def beside_large_load(*values: float) -> Probability:
    """The row, and apart from it a plane that makes the load large."""
    volume = np.zeros((60, 60, len(values) + 2), np.float32)
    volume[..., 0] = 0.9
    volume[30, 30, 2:] = values
    return volume


def lesions_of(mask: Mask) -> list[bool]:
    """What became of the row of `beside_large_load`."""
    assert mask[..., 0].all()
    return mask[30, 30, 2:].tolist()


# Small loads


def test_a_confident_core_grows_into_its_weak_surroundings() -> None:
    assert postprocess(row(0, 0.4, 0.6, 0.8, 0.6, 0)).ravel().tolist() == [False, False, True, True, True, False]


def test_a_weak_region_without_a_core_is_dropped() -> None:
    assert postprocess(row(0.9, 0.6, 0.0, 0.6, 0.6)).ravel().tolist() == [True, True, False, False, False]


def test_of_a_small_load_a_region_with_two_cores_is_kept_whole() -> None:
    assert postprocess(row(0.9, 0.6, 0.9)).all()


def test_levels_are_compared_with_above_in_single_precision() -> None:
    assert postprocess(row(0.9, 0.5, 0, 0.7)).ravel().tolist() == [True, False, False, False]


def test_where_nothing_lies_between_the_levels_the_edge_widens() -> None:
    assert postprocess(row(0.9, 0.31, 0.3, 0.8)).ravel().tolist() == [True, True, False, True]
    assert postprocess(row(0.9, 0.31, 0.3, 0.6)).ravel().tolist() == [True, False, False, False]


def test_of_more_than_four_lesions_the_smallest_goes() -> None:
    five = row(0.9, 0.9, 0, 0.9, 0.9, 0, 0.9, 0.9, 0, 0.9, 0, 0.9, 0.9, 0.6)
    assert np.flatnonzero(~postprocess(five)).tolist() == [2, 5, 8, 9, 10]
    assert postprocess(five[..., :11])[0, 0, 9]


def test_of_equally_small_lesions_the_first_goes_with_the_last_axis_fastest() -> None:
    corners = np.zeros((3, 3, 3), np.float32)
    corners[::2, ::2, ::2] = 0.9
    expected = corners > 0
    expected[0, 0, 0] = False
    np.testing.assert_array_equal(postprocess(corners), expected)


def test_the_smallest_lesion_comes_back_with_the_region_of_another() -> None:
    joined = row(0.9, 0.6, 0.9, 0.9, 0, 0.9, 0.9, 0, 0.9, 0.9, 0, 0.9, 0.9)
    assert postprocess(joined)[0, 0, :4].all()


def test_without_any_core_the_peak_is_the_mask() -> None:
    assert postprocess(row(0.1, 0.45, 0.55, 0.6, 0.51)).ravel().tolist() == [False, False, True, True, True]


def test_where_nothing_is_seen_the_mask_is_empty() -> None:
    assert not postprocess(np.full((2, 2, 2), 0.1, np.float32)).any()
    assert not postprocess(np.zeros((2, 2, 2), np.float32)).any()
    assert postprocess(row(0.0, 0.11)).ravel().tolist() == [False, True]


# Large loads


def test_of_a_large_load_a_weak_region_without_a_core_is_kept() -> None:
    assert lesions_of(postprocess(beside_large_load(0.52, 0.0, 0.6, 0.52))) == [True, False, True, True]


def test_of_a_large_load_a_region_with_two_cores_is_split() -> None:
    assert lesions_of(postprocess(beside_large_load(0.6, 0.52, 0.6, 0.52))) == [True, False, True, False]


def test_of_a_large_load_no_lesion_is_dropped_for_being_small() -> None:
    assert lesions_of(postprocess(beside_large_load(0.9, 0, 0.9, 0, 0.9, 0, 0.9, 0, 0.52)))[::2] == [True] * 5


def test_a_load_is_small_below_3000_voxels() -> None:
    for voxels, kept in ((2998, False), (2999, True)):
        volume = np.zeros((1, 3001, 2), np.float32)
        volume[0, :voxels, 0] = 0.9
        volume[0, -1, 1] = 0.6
        assert postprocess(volume)[0, -1, 1] == kept


# The other rules


def test_rule_none_is_one_level() -> None:
    assert postprocess(row(0.5, 0.51, 0, 0.9), "none").ravel().tolist() == [False, True, False, True]


def test_rule_paper_drops_doubtful_lesions_of_a_small_load() -> None:
    mask = postprocess(row(0.6, 0.69, 0, 0.51, 0.7, 0, 0.4), "paper")
    assert mask.ravel().tolist() == [False, False, False, True, True, False, False]


def test_rule_paper_raises_the_level_of_a_large_load() -> None:
    assert lesions_of(postprocess(beside_large_load(0.55, 0.56), "paper")) == [False, True]


def test_rule_mapping_measures_the_load_in_mm3() -> None:
    weak = row(0.9, 0.0, 0.6)
    assert postprocess(weak, "mapping", 1.0).ravel().tolist() == [True, False, False]
    assert postprocess(weak, "mapping", 1500.0).ravel().tolist() == [True, False, True]
    assert postprocess(weak, "challenge", 1500.0).ravel().tolist() == [True, False, False]


def test_rule_mapping_marks_nothing_where_no_voxel_is_likelier_lesion_than_not() -> None:
    doubtful = row(0.0, 0.45, 0.5)
    assert not postprocess(doubtful, "mapping").any()
    assert postprocess(doubtful, "challenge").any()
    assert postprocess(row(0.0, 0.45, 0.51), "mapping").any()


def test_lesions_below_the_smallest_volume_are_dropped() -> None:
    rule = replace(RULES["none"], smallest_mm3=3.0)
    two_and_three = row(0.9, 0.9, 0, 0.9, 0.9, 0.9)
    assert apply_rule(two_and_three, rule, 1.0).ravel().tolist() == [False] * 3 + [True] * 3
    assert apply_rule(two_and_three, rule, 1.5).sum() == 5
    assert not apply_rule(two_and_three, rule, 0.9).any()
    assert apply_rule(two_and_three, replace(rule, smallest_mm3=0.3), 0.1).sum() == 3


def test_a_rule_of_ones_own() -> None:
    strict = PostprocessConfig("drop", small=Thresholds(0.9, 0.8), large=Thresholds(0.9, 0.8))
    mask = apply_rule(row(0.85, 0.95, 0, 0.85), strict, 1.0)
    assert mask.ravel().tolist() == [True, True, False, False]


# Laws


@given(probabilities, rules)
def test_memory_layout_and_precision_change_nothing(probability: Probability, rule: str) -> None:
    expected = postprocess(probability, rule)
    spread = np.repeat(probability, 2, axis=1)[:, ::2]
    turned = np.ascontiguousarray(probability[::-1, :, ::-1])[::-1, :, ::-1]
    for other in (np.asfortranarray(probability), spread, turned, probability.astype(np.float64)):
        np.testing.assert_array_equal(postprocess(other, rule), expected)


@given(probabilities, rules, st.sampled_from([0, 1, 2]))
def test_postprocessing_commutes_with_flipping_where_no_tie_decides(
    probability: Probability, rule: str, axis: int
) -> None:
    sizes_vox = np.sort(find_lesions(probability > np.float32(0.7)).sizes_vox)
    if len(sizes_vox) > 4 and sizes_vox[0] == sizes_vox[1]:
        return
    flipped = postprocess(np.flip(probability, axis), rule)
    np.testing.assert_array_equal(flipped, np.flip(postprocess(probability, rule), axis))


@given(probabilities, either_load, st.permutations([0, 1, 2]))
def test_growing_commutes_with_turning_the_axes_where_no_tie_decides(
    probability: Probability, rule: PostprocessConfig, order: list[int]
) -> None:
    sizes_vox = np.sort(find_lesions(probability > np.float32(0.7)).sizes_vox)
    if len(sizes_vox) > 4 and sizes_vox[0] == sizes_vox[1]:
        return
    turned = apply_rule(probability.transpose(order), rule, 1.0)
    np.testing.assert_array_equal(turned, apply_rule(probability, rule, 1.0).transpose(order))


@given(probabilities, either_load)
def test_the_mask_lies_between_core_and_wide_edge(probability: Probability, rule: PostprocessConfig) -> None:
    mask = apply_rule(probability, rule, 1.0)
    core = probability > np.float32(0.7)
    few = find_lesions(core).count <= 4
    assert not (few & core & ~mask).any()
    assert not core.any() or (probability[mask] > np.float32(0.3)).all()


@given(probabilities, rules, st.sampled_from([0.5, 1.0, 2.0, 5.0]), st.sampled_from([0.25, 1.0]))
def test_a_larger_smallest_lesion_never_adds_a_voxel(
    probability: Probability, rule: str, smallest_mm3: float, voxel_mm3: float
) -> None:
    kept = [
        apply_rule(probability, replace(RULES[rule], smallest_mm3=level), voxel_mm3)
        for level in (0.0, smallest_mm3, 2 * smallest_mm3)
    ]
    assert not (kept[1] & ~kept[0]).any()
    assert not (kept[2] & ~kept[1]).any()
    sizes_vox = find_lesions(kept[1]).sizes_vox
    assert (sizes_vox * voxel_mm3 >= smallest_mm3).all()


@given(probabilities, rules, st.sampled_from(LEVELS[:-1]))
def test_below_the_least_peak_all_is_empty_and_above_it_nothing_changes(
    probability: Probability, rule: str, level: float
) -> None:
    without = replace(RULES[rule], least_peak=0.0)
    found = apply_rule(probability, replace(without, least_peak=level), 1.0)
    is_seen = probability.max(initial=np.float32(0)) > np.float32(level)
    expected = apply_rule(probability, without, 1.0) if is_seen else np.zeros(probability.shape, np.bool_)
    np.testing.assert_array_equal(found, expected)


@given(probabilities, rules)
def test_the_input_is_left_as_it_is(probability: Probability, rule: str) -> None:
    before = probability.copy()
    mask = postprocess(probability, rule)
    np.testing.assert_array_equal(probability, before)
    assert mask.shape == probability.shape
    assert mask.dtype == np.bool_


@given(probabilities, rules)
def test_an_empty_border_changes_nothing(probability: Probability, rule: str) -> None:
    padded = postprocess(np.pad(probability, 2), rule)
    np.testing.assert_array_equal(padded[2:-2, 2:-2, 2:-2], postprocess(probability, rule))
    assert padded.sum() == postprocess(probability, rule).sum()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("shape", [(0, 3, 4), (3, 0, 4), (0, 0, 0)])
def test_an_array_without_voxels_gives_a_mask_without_voxels(shape: tuple[int, int, int], rule: str) -> None:
    assert postprocess(np.zeros(shape, np.float32), rule).shape == shape


# Golden volumes


def test_the_rule_challenge_equals_the_authors_program(shared: Path) -> None:
    with np.load(shared / "golden" / "postprocess.npz") as golden:
        names = sorted(name.removesuffix("_mask") for name in golden if name.endswith("_mask"))
        assert len(names) == 48
        for name in names:
            probability = (golden[f"{name}_probability_milli"] / 1000).astype(np.float32)
            expected = golden[f"{name}_mask"]
            for layout in (probability, np.asfortranarray(probability), probability.astype(np.float64)):
                np.testing.assert_array_equal(postprocess(layout), expected, err_msg=name)


# Refusals


@pytest.mark.parametrize(
    ("probability", "told"),
    [
        (row(0.5, np.nan, np.nan), "holds 2 NaN"),
        (row(0.5, 1.5), r"must lie in \[0, 1\], found 0.5 to 1.5"),
        (row(-0.25, 0.5), r"must lie in \[0, 1\], found -0.25 to 0.5"),
        (row(0.5, np.inf), r"must lie in \[0, 1\]"),
        (np.array([[[0, 2]]]), r"found 0 to 2"),
        (row(0.5, 1.00001), r"must lie in \[0, 1\], found 0.5 to 1.00001"),
        (np.float64([[[-0.0000012, 1]]]), r"must lie in \[0, 1\], found -1.2e-06 to 1"),
        (np.float64([[[0, 1.0000012]]]), r"must lie in \[0, 1\], found 0 to 1.0000012"),
        (np.zeros((4, 4), np.float32), "has 3 axes, got 2"),
        (np.zeros((2, 2, 2, 2), np.float32), "has 3 axes, got 4"),
        (np.zeros((2, 2, 2), np.complex64), "real numbers, got values of type complex64"),
    ],
)
def test_what_is_no_probability_map_is_refused(probability: np.ndarray, told: str) -> None:
    with pytest.raises(ImageError, match=told):
        postprocess(probability)
    with pytest.raises(ImageError, match=told):
        check_probability(probability)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rounding_beyond_0_and_1_is_clipped(dtype: type) -> None:
    rounded = np.array([[[-1e-7, 0.5, 1 + 1.2e-7, 1 + 9e-7]]], dtype)
    checked = check_probability(rounded)
    assert checked.dtype == np.float32
    assert checked.ravel().tolist() == [0, 0.5, 1, 1]
    assert postprocess(rounded, "none").ravel().tolist() == [False, False, True, True]


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(
        ConfigError, match="unknown post-processing rule 'best'; choose one of mapping, challenge, paper"
    ):
        postprocess(row(0.5), "best")
    assert find_rule("none") is RULES["none"]


@pytest.mark.parametrize("volume_mm3", [0, -1.0, float("nan"), float("inf")])
def test_a_voxel_without_volume_is_refused(volume_mm3: float) -> None:
    with pytest.raises(ConfigError, match="must be above 0 mm3"):
        postprocess(row(0.5), "mapping", volume_mm3)


@pytest.mark.parametrize("setting", [{"least_peak": 1.0}, {"least_peak": -0.1}, {"smallest_mm3": -1.0}])
def test_settings_out_of_range_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(setting))} is"):
        replace(CHALLENGE, **setting)


@pytest.mark.parametrize(("core", "edge"), [(0.5, 0.6), (1.0, 0.5), (0.5, 0.0)])
def test_thresholds_out_of_order_are_refused(core: float, edge: float) -> None:
    with pytest.raises(ConfigError, match="0 < edge <= core < 1"):
        Thresholds(core, edge)
