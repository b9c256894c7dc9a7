"""Schedules of long trainings, over patches or over minutes."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from mapping_stroke.errors import ConfigError
from mapping_stroke.images.nifti import Shape
from mapping_stroke.training.schemes import Size
from mapping_stroke.training.supply import Position


@dataclass(eq=False)
class Session:
    """One call of a training by the clock.

    Starting up, compiling and making the first cases take time without training. The schedule therefore advances by the
    share of the remaining time, not by elapsed seconds: at its deadline a call has advanced the schedule by exactly the
    requested time, so that a schedule of thirty minutes is done after three calls of ten.

    Attributes:
        seconds: Seconds of the schedule for this call.
        deadline: Clock time at which the last step should be over.
        now: The clock, in seconds.
        goal: Second of the schedule that this call should reach; set by `begin`.
        reserve_s: Time reserved for a final validation: that of the longest so far.
        warm: Patch sizes already trained on in this process; the first step of a size may include compilation.
    """

    seconds: float
    deadline: float
    now: Callable[[], float] = time.monotonic
    goal: float = 0.0
    reserve_s: float = 0.0
    warm: set[Shape] = field(default_factory=set)

    @property
    def left_s(self) -> float:
        """Time left for steps; negative after it has run out."""
        return self.deadline - self.reserve_s - self.now()

    def begin(self, position: Position, length: float) -> None:
        """Set the goal of this call.

        Args:
            position: Position at the start of the call.
            length: Length of the schedule in seconds.
        """
        self.goal = min(position.seconds + self.seconds, length)

    def is_over(self, position: Position, patch: Shape) -> bool:
        """Whether to stop before a step with this patch size: the goal is reached, or the step may take too long."""
        return position.seconds >= self.goal or (self.left_s <= 0 and patch not in self.warm)

    def count_step(self, position: Position, patch: Shape, left_s: float) -> None:
        """Advance the schedule by a step.

        Args:
            position: Changed in place.
            patch: Patch size of the step; the first step of a size does not count.
            left_s: Time left before the step.
        """
        taken_s = left_s - self.left_s
        if patch not in self.warm:
            self.warm.add(patch)
        elif taken_s >= left_s:
            position.seconds = self.goal  # the step used up all time left
        else:
            position.seconds += (self.goal - position.seconds) * taken_s / left_s

    def count_validation(self, seconds: float) -> None:
        """Reserve as much time for the next validation."""
        self.reserve_s = max(self.reserve_s, seconds)


PERIODS, SHORTEST_PERIOD_S = 30, 20
"""Number of validations of a schedule by the clock, and the shortest time between two."""
REWARM_STEPS = 200
"""Steps in which a restarted optimiser recovers its moments."""


@dataclass(frozen=True)
class Growth:
    """Patch size up to a point of the schedule.

    Attributes:
        until: Share of the schedule, in (0, 1].
        edge: Share of the full patch's edge along y and z. Along x patches are always full: networks compare left and
            right, and processors need 3 voxels there on the coarsest grid (see `TORN_EDGE`).
    """

    until: float
    edge: float


GROWTH = (Growth(0.1, 0.6), Growth(1 / 3, 0.8), Growth(1.0, 1.0))
"""Small patches cost a third, and are sufficient while a network learns basic intensities."""


@dataclass(frozen=True)
class Schedule:
    """Learning rate, patch size and sampling of a training over its length.

    Attributes:
        length: Length of the whole training, in the unit of `counts`.
        learning_rate: Highest learning rate.
        patch: Size of the full patch, in voxels.
        divisors: Each edge of a patch is a multiple of these.
        warm_up: Share of the length over which the learning rate rises from 0.
        flat_until: Share of the length after which it falls to 0 along a cosine.
        rewarm: Patches (not seconds) over which it rises from 0 again after a restart of the optimiser.
        decay: Final decay of the running average of the weights per step; smaller at first.
        growth: Patch sizes.
        lesion_share: Share of the patches centred on a lesion voxel, with all lesions of a case equally likely.
        hard_share: Share of the patches cut from the hardest kept cases.
        period: Length between two validations, in the unit of `counts`.
        counts: Unit of the schedule.
    """

    length: int
    learning_rate: float
    patch: Shape
    divisors: Shape
    warm_up: float = 0.03
    flat_until: float = 0.4
    rewarm: int = 400
    decay: float = 0.999
    growth: tuple[Growth, ...] = GROWTH
    lesion_share: float = 0.5
    hard_share: float = 0.1
    period: int = 1000
    counts: Literal["patches", "seconds"] = "patches"

    def __post_init__(self) -> None:
        if self.length < 1 or self.period < 1:
            raise ConfigError(f"got {self.length} {self.counts} in periods of {self.period}, expected 1 or more")
        if not 0 <= self.warm_up <= self.flat_until <= 1:
            raise ConfigError(f"a schedule needs 0 <= warm-up ({self.warm_up}) <= flat ({self.flat_until}) <= 1")
        ends = [step.until for step in self.growth]
        if not ends or ends != sorted(ends) or ends[-1] != 1:
            raise ConfigError(f"patches grow at {ends}, expected increasing shares that end with 1")

    @property
    def settings(self) -> dict[str, Any]:
        """All settings as plain values; a schedule over patches keeps its original names, and so its recipe."""
        values = asdict(self)
        if self.counts == "patches":
            del values["counts"]
            values["patches"] = values.pop("length")
        return values

    @property
    def periods(self) -> int:
        """Number of periods; the last may be shorter."""
        return math.ceil(self.length / self.period)

    def period_end(self, number: int) -> int:
        """End of a period, counted from 0."""
        return min((number + 1) * self.period, self.length)

    def place_of(self, position: Position) -> float:
        """Point of the schedule that a training has reached, in the unit of `counts`."""
        return position.patches if self.counts == "patches" else position.seconds

    def rate_of(self, position: Position) -> float:
        """Learning rate at a position; reduced for a while after a restart of the optimiser."""
        rate = self.rate_at(self.place_of(position))
        if position.restarted_at is None:
            return rate
        return rate * min((position.patches - position.restarted_at) / self.rewarm, 1.0)

    def rate_at(self, place: float) -> float:
        """Learning rate at a point of the schedule, without any restart."""
        done = place / self.length
        if done < self.warm_up:
            return self.learning_rate * done / self.warm_up
        if done <= self.flat_until:
            return self.learning_rate
        fallen = min((done - self.flat_until) / (1 - self.flat_until), 1.0)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * fallen))

    def decay_at(self, patches: int) -> float:
        """Decay of the running average at a step: 0.1 at first, then about 1 - 9 / patches, and finally `decay`."""
        return min((1 + patches) / (10 + patches), self.decay)

    def patch_at(self, place: float) -> Shape:
        """Patch size at a point of the schedule, rounded to multiples of `divisors`."""
        # the second condition also covers the very end of the schedule
        edge = next(step.edge for step in self.growth if place < step.until * self.length or step.until == 1)
        x, *others = self.patch
        y, z = (
            max(round(edge * whole / divisor), 1) * divisor
            for whole, divisor in zip(others, self.divisors[1:], strict=True)
        )
        return x, y, z

    def grids(self, size: Size) -> tuple[Shape, ...]:
        """Grids of the convolutions of both kinds of network, for all patch sizes."""
        begins = [0, *(math.ceil(step.until * self.length) for step in self.growth[:-1])]
        patches = dict.fromkeys([size.patch, *map(self.patch_at, begins)])
        return tuple(grid for patch in patches for net in (size.plain, size.residual) for grid in net.shapes(patch))


def plan_schedule(length: int, size: Size, counts: Literal["patches", "seconds"] = "patches") -> Schedule:
    """A schedule of this many patches or seconds for the networks of a size."""
    x, y, z = (max(pair) for pair in zip(size.plain.divisors, size.residual.divisors, strict=True))
    schedule = Schedule(length, size.learning_rate, size.patch, (x, y, z), rewarm=REWARM_STEPS * size.batch)
    if counts == "patches":
        return schedule
    return replace(schedule, period=max(math.ceil(length / PERIODS), SHORTEST_PERIOD_S), counts=counts)
