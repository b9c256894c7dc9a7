import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import expit

from averages import average
from mapping_stroke.dataset.preprocess import PreprocessSpec, prepare_scan
from mapping_stroke.errors import BundleError
from mapping_stroke.images.image import Image
from mapping_stroke.inference.ensemble import RunningAverage, average_groups, join

MAPS = st.lists(arrays(np.float32, (2, 2, 2), elements=st.floats(0, 1, width=32)), min_size=1, max_size=5)


@given(MAPS)
def test_the_average_is_mean_spread_and_votes(maps: list[np.ndarray]) -> None:
    found = average(maps)
    np.testing.assert_allclose(found.probability, np.mean(maps, axis=0), atol=1e-6)
    np.testing.assert_allclose(found.uncertainty, np.std(np.float64(maps), axis=0), atol=1e-5)
    np.testing.assert_allclose(found.agreement, np.mean(np.array(maps) > 0.5, axis=0), atol=1e-6)
    assert found.members == len(maps)


@given(MAPS)
def test_the_order_of_members_changes_nothing(maps: list[np.ndarray]) -> None:
    np.testing.assert_allclose(average(maps).probability, average(maps[::-1]).probability, atol=1e-6)


@given(MAPS, MAPS)
def test_joining_groups_is_averaging_all(first: list[np.ndarray], second: list[np.ndarray]) -> None:
    joined, whole = join([average(first), average(second)]), average([*first, *second])
    np.testing.assert_allclose(joined.probability, whole.probability, atol=1e-6)
    np.testing.assert_allclose(joined.uncertainty, whole.uncertainty, atol=2e-4)
    np.testing.assert_allclose(joined.agreement, whole.agreement, atol=1e-6)
    assert joined.members == whole.members


def test_what_a_member_gave_is_left_alone() -> None:
    given_map = np.full((1, 1, 1), 0.3, np.float32)
    average([given_map, np.ones((1, 1, 1), np.float32)])
    assert given_map == np.float32(0.3)


def test_one_member_is_certain() -> None:
    assert not average([np.full((1, 1, 1), 0.3, np.float32)]).uncertainty.any()


def test_logits_are_averaged_before_they_become_probabilities() -> None:
    running = RunningAverage("logit")
    for value in (0.0, 4.0):
        running.add(np.full((1, 1, 1), value, np.float32))
    found = running.result()
    assert found.probability.item() == pytest.approx(expit(2.0), abs=1e-6)
    assert found.uncertainty.item() == pytest.approx(np.std(expit([0.0, 4.0])), abs=1e-6)
    assert found.agreement.item() == pytest.approx(0.5)


@pytest.mark.parametrize("of", ["probability", "logit"])
def test_the_result_lies_on_the_scans_own_grid_and_is_zero_outside_its_box(of: str) -> None:
    voxels = np.zeros((12, 10, 8), np.float32)
    voxels[2:10, 2:8, 2:6] = np.random.default_rng(0).uniform(1, 2, (8, 6, 4))
    prepared = prepare_scan(Image(voxels, np.diag([-1.0, 1, 1, 1])), PreprocessSpec(2.0))
    running = RunningAverage(of)
    running.add(np.ones(prepared.voxels.shape, np.float32))
    found = average_groups({prepared.spec: running}, {prepared.spec: prepared})
    assert found.probability.shape == found.uncertainty.shape == found.agreement.shape == voxels.shape
    assert found.probability[voxels > 0].min() > 0.7
    assert found.probability[voxels == 0].max() < 1e-12


def test_no_member_is_refused() -> None:
    with pytest.raises(BundleError, match="at least one member"):
        average([])
