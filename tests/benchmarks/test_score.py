"""The reference way of scoring gives the same numbers as ours."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from benchmarks.score import score_by_whole_passes
from mapping_stroke.evaluation.score import score
from mapping_stroke.images.image import Mask

masks = arrays(np.bool_, (5, 4, 6)).filter(lambda mask: bool(mask.any()))


@given(masks, masks)
def test_both_ways_agree(prediction: Mask, reference: Mask) -> None:
    assert score(prediction, reference) == pytest.approx(score_by_whole_passes(prediction, reference), abs=1e-12)
