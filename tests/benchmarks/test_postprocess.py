"""The reference way of post-processing gives the same masks as ours."""

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from benchmarks.postprocess import postprocess_by_whole_passes
from mapping_stroke.images.image import Probability
from mapping_stroke.rules import postprocess

values = st.sampled_from([0.0, 0.1, 0.3, 0.31, 0.5, 0.52, 0.6, 0.7, 0.75, 0.9]).map(np.float32)


@given(arrays(np.float32, array_shapes(min_dims=3, max_dims=3, max_side=6), elements=values))
def test_both_ways_agree_on_small_loads(probability: Probability) -> None:
    np.testing.assert_array_equal(postprocess_by_whole_passes(probability), postprocess(probability))


@given(arrays(np.float32, (2, 3, 5), elements=values))
def test_both_ways_agree_on_large_loads(corner: Probability) -> None:
    probability = np.zeros((20, 20, 20), np.float32)
    probability[:9] = 0.9
    probability[11:13, 11:14, 11:16] = corner
    np.testing.assert_array_equal(postprocess_by_whole_passes(probability), postprocess(probability))


def test_the_reference_way_equals_the_authors_program(shared: Path) -> None:
    with np.load(shared / "golden" / "postprocess.npz") as golden:
        for number in range(48):
            probability = (golden[f"{number:03}_probability_milli"] / 1000).astype(np.float32)
            np.testing.assert_array_equal(postprocess_by_whole_passes(probability), golden[f"{number:03}_mask"])
