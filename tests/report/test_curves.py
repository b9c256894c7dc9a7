"""Learning curves."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from mapping_stroke.errors import CaseError
from mapping_stroke.report import curves
from mapping_stroke.report.curves import Epochs, _running_mean, draw_learning_curves, draw_member_curves, read_epochs
from small_runs import write_epochs


@pytest.mark.parametrize("epochs", [1, 5, 100])
def test_courses_of_any_length_are_drawn(epochs: int, tmp_path: Path) -> None:
    write_epochs(tmp_path / "epochs.csv", epochs)
    course = read_epochs(tmp_path / "epochs.csv")
    assert course.epoch.tolist() == list(range(epochs))
    draw_learning_curves({"default": {0: course, 1: course}, "own-scheme": {3: course}}, tmp_path / "curves.png")
    assert imread(tmp_path / "curves.png").std() > 0


@pytest.mark.parametrize("epochs", [0, 1, 5, 100])
def test_one_training_is_drawn_from_its_first_epoch_on(epochs: int, tmp_path: Path) -> None:
    write_epochs(tmp_path / "epochs.csv", epochs)
    draw_member_curves(read_epochs(tmp_path / "epochs.csv"), tmp_path / "curves.png", "default, fold 0")
    assert imread(tmp_path / "curves.png").std() > 0


def test_a_training_without_validation_is_drawn(tmp_path: Path) -> None:
    nothing = np.full(3, np.nan)
    course = Epochs(np.arange(3.0), np.ones(3), nothing, nothing, np.ones(3))
    draw_member_curves(course, tmp_path / "curves.png", "default, fold 0")
    assert imread(tmp_path / "curves.png").std() > 0


@pytest.mark.parametrize(("epochs", "ticks"), [(1, [0]), (2, [0, 1]), (3, [0, 1, 2])])
def test_only_whole_epochs_have_ticks(
    epochs: int, ticks: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(curves, "save_png", lambda figure, path: figures.append(figure))
    write_epochs(tmp_path / "epochs.csv", epochs)
    course = read_epochs(tmp_path / "epochs.csv")
    draw_learning_curves({"default": {0: course}}, tmp_path / "curves.png")
    draw_member_curves(course, tmp_path / "curves.png", "default, fold 0")
    for figure in figures:
        axes = figure.axes[-1]
        low, high = axes.get_xlim()
        assert [tick for tick in axes.get_xticks() if low <= tick <= high] == ticks


def test_no_training_is_said(tmp_path: Path) -> None:
    draw_learning_curves({}, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").is_file()


def test_an_empty_field_is_undefined(tmp_path: Path) -> None:
    (tmp_path / "epochs.csv").write_text("epoch,loss,validation_loss,foreground_dice,learning_rate\n0,0.5,,,0.01\n")
    assert np.isnan(read_epochs(tmp_path / "epochs.csv").validation_loss).all()


@pytest.mark.parametrize(
    "text", ["epoch,loss\n0,1\n", "epoch,loss,validation_loss,foreground_dice,learning_rate\n0,x,1,1,1\n"]
)
def test_a_damaged_table_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "epochs.csv").write_text(text)
    with pytest.raises(CaseError, match="is not a table of epochs"):
        read_epochs(tmp_path / "epochs.csv")


def test_the_running_mean_passes_over_undefined_epochs() -> None:
    mean = _running_mean(np.array([np.nan, 1.0, np.nan, 2.0]))
    np.testing.assert_allclose(mean, [np.nan, 1.0, 1.0, 1.1])
