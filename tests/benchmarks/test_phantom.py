"""The made-up case."""

import numpy as np
import pytest

from benchmarks.phantom import PhantomConfig, make_phantom
from mapping_stroke.lesions import find_lesions

CONFIG = PhantomConfig((60, 56, 58), lesions=8, largest_vox=2000)


def test_lesions_of_all_sizes_and_both_kinds_of_error() -> None:
    phantom = make_phantom(CONFIG, np.random.default_rng(0))
    lesions = find_lesions(phantom.probability > 0.5)
    assert phantom.probability.dtype == np.float32
    assert phantom.probability.shape == phantom.reference.shape == CONFIG.shape
    assert 0 <= phantom.probability.min() <= phantom.probability.max() <= 1
    assert lesions.count >= CONFIG.lesions
    assert lesions.sizes_vox.max() > 1000
    assert find_lesions(phantom.reference).count == CONFIG.lesions - 1


def test_the_levels_of_the_rules_differ() -> None:
    probability = make_phantom(CONFIG, np.random.default_rng(0)).probability
    loads = [np.count_nonzero(probability > level) for level in (0.3, 0.5, 0.55, 0.7)]
    assert loads == sorted(set(loads), reverse=True)


def test_the_seed_decides() -> None:
    same, again, other = (make_phantom(CONFIG, np.random.default_rng(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(same.probability, again.probability)
    assert (same.probability != other.probability).any()


def test_lesions_that_do_not_fit_are_refused() -> None:
    with pytest.raises(AssertionError, match="no room for a cube of"):
        make_phantom(PhantomConfig((8, 8, 8), lesions=9, largest_vox=200), np.random.default_rng(0))
