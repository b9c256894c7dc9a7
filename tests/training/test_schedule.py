import math
from dataclasses import replace

import numpy as np
import pytest

from mapping_stroke.errors import ConfigError
from mapping_stroke.training.engine import TORN_EDGE
from mapping_stroke.training.schedule import Growth, Schedule, plan_schedule
from mapping_stroke.training.schemes import SIZES, find_size
from mapping_stroke.training.supply import Position

SCHEDULE = Schedule(10_000, 0.002, (48, 64, 48), (16, 16, 16))


@pytest.mark.parametrize(
    ("position", "rate"),
    [
        (0, 0.0),
        (150, 0.001),  # half of the warm-up, which is 3 %
        (300, 0.002),
        (2_000, 0.002),
        (4_000, 0.002),  # here the cosine begins
        (5_500, 0.002 * (0.5 + math.sqrt(0.5) / 2)),  # a quarter of it
        (7_000, 0.001),
        (8_500, 0.002 * (0.5 - math.sqrt(0.5) / 2)),
        (10_000, 0.0),
    ],
)
def test_the_rate_rises_stays_and_falls_along_a_cosine(position: int, rate: float) -> None:
    assert SCHEDULE.rate_at(position) == pytest.approx(rate, abs=1e-12)


def test_an_optimiser_that_begins_anew_begins_slowly() -> None:
    rates = [SCHEDULE.rate_of(Position({}, patches, restarted_at=2_000)) for patches in (2_000, 2_200, 2_400, 3_000)]
    assert rates == [0, 0.001, 0.002, 0.002]
    assert SCHEDULE.rate_of(Position({}, 7_100, restarted_at=7_000)) == pytest.approx(SCHEDULE.rate_at(7_100) / 4)


def test_the_average_forgets_fast_at_first() -> None:
    assert [SCHEDULE.decay_at(position) for position in (0, 8, 90)] == pytest.approx([0.1, 0.5, 0.91])
    assert (SCHEDULE.decay_at(8_000), SCHEDULE.decay_at(9_000)) == (pytest.approx(0.99888, abs=1e-5), 0.999)


@pytest.mark.parametrize(
    ("position", "patch"),
    [
        (0, (48, 32, 32)),
        (999, (48, 32, 32)),
        (1_000, (48, 48, 32)),
        (3_333, (48, 48, 32)),
        (3_334, (48, 64, 48)),
        (10_000, (48, 64, 48)),
    ],
)
def test_patches_grow(position: int, patch: tuple[int, int, int]) -> None:
    assert SCHEDULE.patch_at(position) == patch


@pytest.mark.parametrize("name", SIZES)
def test_patches_of_every_size_fit_its_networks(name: str) -> None:
    size = find_size(name)
    schedule = plan_schedule(1_000, size)
    edges = [schedule.patch_at(position) for position in range(1_001)]
    assert edges[-1] == size.patch
    for patch in set(edges):
        size.plain.require_patch(patch)
        size.residual.require_patch(patch)
    assert np.all(np.diff([math.prod(patch) for patch in edges]) >= 0)


@pytest.mark.parametrize("name", ["compact", "fine"])
def test_no_patch_is_one_that_processors_compute_wrongly(name: str) -> None:
    size = find_size(name)
    assert all(grid[0] != TORN_EDGE for grid in plan_schedule(1_000, size).grids(size))


def test_periods_cover_the_schedule() -> None:
    schedule = replace(SCHEDULE, length=2_500)
    assert [schedule.period_end(number) for number in range(schedule.periods)] == [1_000, 2_000, 2_500]


def test_impossible_schedules_are_refused() -> None:
    with pytest.raises(ConfigError, match="got 0 patches in periods of 1000, expected 1 or more"):
        replace(SCHEDULE, length=0)
    with pytest.raises(ConfigError, match=r"0 <= warm-up \(0.5\) <= flat \(0.4\) <= 1"):
        replace(SCHEDULE, warm_up=0.5)
    with pytest.raises(ConfigError, match=r"patches grow at \[0.5\], expected increasing shares that end with 1"):
        replace(SCHEDULE, growth=(Growth(0.5, 1.0),))
