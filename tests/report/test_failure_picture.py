"""The picture of a model's failures: which slice is taken, how much is enlarged, and that it is drawn."""

from pathlib import Path

import numpy as np
import pytest

from mapping_stroke.evaluation.cohorts import Look
from mapping_stroke.images.image import Image
from mapping_stroke.report.pictures import SMALLEST_FRAME_MM, FailureRow, draw_failures, show_failure

SHAPE = (80, 90, 30)


def row(look: Look, *, lesion: bool = True) -> FailureRow:
    """A head with a lesion below, found by a half, and more marked falsely above."""
    head, reference, mask = (np.zeros(SHAPE, np.bool_) for _ in range(3))
    head[2:-2, 2:-2, 1:-1] = True
    reference[20:30, 20:24, 5:8] = lesion
    mask[20:25, 20:24, 5:8], mask[60:64, 60:64, 20] = lesion, True
    scan = Image(np.where(head, 100, 0).astype(np.float32), np.eye(4))
    return show_failure(f"1. {look}", scan, reference, (mask, mask.astype(np.float32)), look)


@pytest.mark.parametrize(("look", "lesion_px", "marked_px"), [("wrong", 40, 20), ("missed", 40, 20), ("false", 0, 16)])
def test_the_slice_shows_what_went_wrong(look: Look, lesion_px: int, marked_px: int) -> None:
    shown = row(look)
    assert (shown.reference.sum(), shown.mask.sum()) == (lesion_px, marked_px)
    assert shown.frame.width >= SMALLEST_FRAME_MM


def test_where_nothing_is_wrong_the_lesion_is_shown() -> None:
    perfect = np.zeros(SHAPE, np.bool_)
    perfect[20:30, 20:24, 5:8] = True
    scan = Image(np.ones(SHAPE, np.float32), np.eye(4))
    shown = show_failure("none", scan, perfect, (perfect, perfect.astype(np.float32)), "wrong")
    assert shown.reference.sum() == 40


def test_rows_are_drawn_one_below_the_other(tmp_path: Path) -> None:
    draw_failures([row("wrong")], tmp_path / "one.jpg")
    draw_failures([row("missed"), row("false", lesion=False)], tmp_path / "two.jpg")
    sizes = [(tmp_path / name).stat().st_size for name in ("one.jpg", "two.jpg")]
    assert 5000 < sizes[0] < sizes[1]
