"""Pictures of a data set."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from mapping_stroke.errors import FoldsError
from mapping_stroke.report.distributions import (
    _bins,
    _spread,
    draw_examples,
    draw_fold_balance,
    draw_load_distribution,
)
from small_runs import box, write_case


@pytest.mark.parametrize("loads_ml", [[], [0.0], [5.0], [0.013, 0.4, 3.0, 5.0, 5.1, 210.0, 0.0]])
def test_any_loads_are_drawn(loads_ml: list[float], tmp_path: Path) -> None:
    draw_load_distribution(loads_ml, tmp_path / "loads.png")
    assert imread(tmp_path / "loads.png").std() > 0


def test_bins_hold_every_load_and_part_at_5_ml() -> None:
    edges = _bins(np.array([0.013, 0.4, 5.0, 210.0]))
    assert edges[0] <= 0.013
    assert edges[-1] > 210
    assert np.isclose(edges, 5).any()


def test_examples_are_spread_over_the_loads(tmp_path: Path) -> None:
    cases = [write_case(tmp_path, str(n), box((6, 8, 8), (1, 1, 1))) for n in range(20)]
    assert [case.case_id for case in _spread(cases)] == ["2", "6", "10", "14", "18"]
    assert _spread(cases[:2]) == cases[:2]
    assert _spread([]) == []


def test_examples_are_drawn_and_an_unreadable_case_does_not_stop_them(tmp_path: Path) -> None:
    cases = [write_case(tmp_path, name, box((6, 8, 8), (4, 4, 4))) for name in ("a", "b")]
    cases[1].scan.unlink()
    draw_examples(cases, tmp_path / "examples.png")
    assert imread(tmp_path / "examples.png").std() > 0
    draw_examples([], tmp_path / "none.png")
    assert (tmp_path / "none.png").is_file()


def test_folds_are_drawn_and_one_fold_is_refused(tmp_path: Path) -> None:
    loads = {"a": 0, "b": 40, "c": 900, "d": 70_000}
    draw_fold_balance(loads, {"a": 0, "b": 1, "c": 0, "d": 1}, tmp_path / "folds.png")
    assert imread(tmp_path / "folds.png").std() > 0
    with pytest.raises(FoldsError, match="1 fold"):
        draw_fold_balance(loads, {"a": 0, "b": 0}, tmp_path / "folds.png")
