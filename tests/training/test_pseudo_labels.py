import numpy as np
import pytest

from mapping_stroke.errors import TrainingError
from mapping_stroke.training.pseudo_labels import best_scheme, leave_out, make_pseudo_label


def test_confidence_is_the_mean_probability_inside_the_label() -> None:
    label = make_pseudo_label(np.float32([0.1, 0.5, 0.6, 0.8]).reshape(1, 1, 4))
    assert label.mask.ravel().tolist() == [False, False, True, True]
    assert label.confidence == pytest.approx(0.7)


def test_an_empty_label_has_no_confidence() -> None:
    label = make_pseudo_label(np.zeros((2, 2, 2), np.float32))
    assert not label.mask.any()
    assert np.isnan(label.confidence)


def test_the_best_scheme_is_the_one_of_highest_dice_and_the_first_among_equals() -> None:
    assert best_scheme({"default": 0.5, "residual": 0.6}) == "residual"
    assert best_scheme({"default": 0.6, "residual": 0.6}) == "default"
    assert best_scheme({"default": float("nan"), "residual": 0.1}) == "residual"
    assert best_scheme({"default": float("nan"), "residual": float("nan")}) == "default"


def test_without_a_trained_scheme_there_are_no_pseudo_labels() -> None:
    with pytest.raises(TrainingError, match="train `default` first"):
        best_scheme({})


def test_labels_of_low_confidence_and_empty_ones_are_left_out_below_a_floor() -> None:
    confidence = {"sure": 0.9, "doubtful": 0.6, "empty": None, "at the floor": 0.75}
    assert leave_out(confidence, 0.75) == ["doubtful", "empty"]
    assert leave_out(confidence, 0.0) == ["empty"]
    assert leave_out(confidence, None) == []
