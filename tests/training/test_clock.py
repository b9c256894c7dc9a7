"""A schedule by the clock: each call goes exactly as far as it was asked to, however long starting up took."""

from dataclasses import dataclass

import numpy as np
import pytest

from mapping_stroke.training.schedule import Schedule, Session, plan_schedule
from mapping_stroke.training.schemes import find_size, with_batch
from mapping_stroke.training.supply import Position

PATCH, LARGER = (16, 16, 16), (32, 32, 32)


@dataclass
class Clock:
    """Stands still unless it is told."""

    time: float = 0.0

    def __call__(self) -> float:
        return self.time


def train(clock: Clock, session: Session, position: Position, steps_s: list[float]) -> None:
    """Make steps that take so long; those after the middle of the schedule have larger patches."""
    for step_s in steps_s:
        patch = PATCH if position.seconds < 900 else LARGER
        if session.is_over(position, patch):
            break
        left_s = session.left_s
        clock.time += step_s
        session.count_step(position, patch, left_s)


def test_three_calls_of_ten_minutes_are_a_schedule_of_thirty_whatever_starting_took() -> None:
    position = Position({})
    for number, start_s in enumerate((200.0, 30.0, 90.0), 1):
        clock = Clock()
        session = Session(600.0, 590.0, clock)
        clock.time += start_s
        session.begin(position, 1800)
        train(clock, session, position, [45.0, *[0.5] * 2000])
        assert position.seconds == 600 * number
        assert clock.time == pytest.approx(590, abs=0.5)


def test_compiling_is_no_training_and_the_rest_of_the_call_goes_faster() -> None:
    clock, position = Clock(), Position({})
    session = Session(100.0, 60.0, clock)
    session.begin(position, 100)
    train(clock, session, position, [20.0])
    assert position.seconds == 0
    train(clock, session, position, [10.0])
    assert position.seconds == pytest.approx(25)  # 10 of the 40 seconds that were left
    train(clock, session, position, [10.0])
    assert position.seconds == pytest.approx(50)


def test_equal_steps_go_equally_far() -> None:
    clock, position, places = Clock(), Position({}), list[float]()
    session = Session(60.0, 40.0, clock)
    session.begin(position, 1800)
    session.warm.add(PATCH)
    for _ in range(8):
        train(clock, session, position, [5.0])
        places.append(position.seconds)
    np.testing.assert_allclose(np.diff(places), 7.5)
    assert places[-1] == 60


def test_a_call_that_had_no_time_goes_nowhere_and_ends() -> None:
    clock, position = Clock(70.0), Position({}, seconds=12.0)
    session = Session(60.0, 50.0, clock)
    session.begin(position, 1800)
    assert session.is_over(position, PATCH)
    assert position.seconds == 12


def test_time_for_a_validation_is_kept() -> None:
    session = Session(60.0, 50.0, Clock(40.0))
    session.count_validation(6.0)
    session.count_validation(2.0)
    assert session.left_s == 4


def test_the_last_call_ends_with_the_schedule() -> None:
    clock, position = Clock(), Position({}, seconds=1500.0)
    session = Session(600.0, 590.0, clock)
    session.begin(position, 1800)
    train(clock, session, position, [1.0] * 700)
    assert position.seconds == 1800


def test_a_schedule_by_the_clock_has_the_rates_and_patches_of_one_over_patches() -> None:
    size = find_size("compact")
    patches, seconds = plan_schedule(1800, size), plan_schedule(1800, size, "seconds")
    for place in (0, 20, 54, 179, 180, 600, 1200, 1799, 1800):
        assert seconds.rate_at(place) == patches.rate_at(place)
        assert seconds.patch_at(place) == patches.patch_at(place)
    position = Position({}, patches=5_000_000, seconds=1200.0)
    assert seconds.rate_of(position) == seconds.rate_at(1200.0)
    assert (seconds.period, seconds.periods) == (60, 30)
    assert plan_schedule(120, size, "seconds").period == 20


def test_an_optimiser_begins_anew_over_patches_by_the_clock_too() -> None:
    schedule = plan_schedule(1800, with_batch(find_size("compact"), 32), "seconds")
    begun = [Position({}, patches, 600.0, restarted_at=10_000) for patches in (10_000, 13_200, 16_400, 20_000)]
    assert np.divide([schedule.rate_of(one) for one in begun], schedule.learning_rate).tolist() == [0, 0.5, 1, 1]


def test_settings_of_schedules_over_patches_are_those_of_before() -> None:
    settings = Schedule(10, 0.1, (1, 1, 1), (1, 1, 1)).settings
    assert settings["patches"] == 10
    assert not {"length", "counts"} & settings.keys()
    assert Schedule(10, 0.1, (1, 1, 1), (1, 1, 1), counts="seconds").settings["counts"] == "seconds"


def test_larger_batches_have_a_higher_rate_and_as_many_patches_to_validate_on() -> None:
    compact = find_size("compact")
    larger = with_batch(compact, 8)
    assert (larger.batch, larger.learning_rate, larger.validation_steps) == (8, 2 * compact.learning_rate, 3)
    assert with_batch(compact, 128).validation_steps == 1
