"""What speaks for a registration, and when it is not used."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mapping_stroke.space.rough_fit import LEAST_OVERLAP, LEAST_SIMILARITY, Quality, rate
from moved_heads import move

GOOD = Quality(similarity=0.4, overlap=0.95, size=(0.9, 0.95, 0.88), shear_deg=3.0)


def test_a_good_place_has_nothing_against_it() -> None:
    assert GOOD.complaints() == []
    assert GOOD.lines() == ["similarity 0.40", "overlap 0.95", "size 0.90 x 0.95 x 0.88", "shear 3 deg"]


def test_size_and_shear_are_read_from_the_place() -> None:
    turned = rate(move((30, -10, 20), (50, 0, -10), size=0.9), 0.4, 0.9)
    assert turned.size == pytest.approx((0.9, 0.9, 0.9))
    assert turned.shear_deg == pytest.approx(0, abs=1e-5)
    sheared = np.eye(4)
    sheared[0, 1] = 1
    assert rate(sheared, 0.4, 0.9).shear_deg == pytest.approx(45)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"similarity": LEAST_SIMILARITY - 0.01}, "similarity"),
        ({"similarity": float("nan")}, "similarity"),
        ({"overlap": LEAST_OVERLAP - 0.01}, "overlap"),
        ({"size": (0.9, 0.5, 0.9)}, "size is 0.90 x 0.50 x 0.90"),
        ({"shear_deg": 30.0}, "sheared by 30 degrees"),
    ],
)
def test_each_limit_is_told(values: dict[str, Any], why: str) -> None:
    (complaint,) = replace(GOOD, **values).complaints()
    assert why in complaint
