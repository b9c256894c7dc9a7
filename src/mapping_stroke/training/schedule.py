"""The schedule of a long training, over patches or over minutes."""

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

    Starting up, compiling and making the first cases is no training, yet passes. So the schedule does not move by
    seconds that have passed, but by the share of those that were left: when they are over, the call has taken the
    schedule exactly so far as it was asked to, and a schedule of thirty minutes is done after three calls of ten.

    Attributes:
        seconds: Of the schedule that this call should do.
        deadline: What the clock says when the last step should be over.
        now: The clock, seconds.
        goal: The second of the schedule that this call should come to; set by `begin`.
        reserve_s: What is kept for a validation at the end: as long as the longest so far.
        warm: Patches of these sizes were trained on before in this process; the first time may be spent on compiling.
    """

    seconds: float
    deadline: float
    now: Callable[[], float] = time.monotonic
    goal: float = 0.0
    reserve_s: float = 0.0
    warm: set[Shape] = field(default_factory=set)

    @property
    def left_s(self) -> float:
        """How long steps can still be made; below 0 where it is too late."""
        return self.deadline - self.reserve_s - self.now()

    def begin(self, position: Position, length: float) -> None:
        """Set the goal of this call.

        Args:
            position: Where it begins.
            length: Of the schedule, seconds.
        """
        self.goal = min(position.seconds + self.seconds, length)

    def is_over(self, position: Position, patch: Shape) -> bool:
        """Whether no step is to be made on patches of that size: the goal is reached, or it may take too long."""
        return position.seconds >= self.goal or (self.left_s <= 0 and patch not in self.warm)

    def count_step(self, position: Position, patch: Shape, left_s: float) -> None:
        """Move on in the schedule.

        Args:
            position: Changed in place.
            patch: Of the step; the first of its size does not count.
            left_s: What was left before the step.
        """
        taken_s = left_s - self.left_s
        if patch not in self.warm:
            self.warm.add(patch)
        elif taken_s >= left_s:
            position.seconds = self.goal
        else:
            position.seconds += (self.goal - position.seconds) * taken_s / left_s

    def count_validation(self, seconds: float) -> None:
        """Keep as much time for the next one."""
        self.reserve_s = max(self.reserve_s, seconds)


PERIODS, SHORTEST_PERIOD_S = 30, 20
"""Of a schedule by the clock: validations, and the least time between two."""
REWARM_STEPS = 200
"""Over so many steps an optimiser finds its moments again."""


@dataclass(frozen=True)
class Growth:
    """How large patches are until a point of the schedule.

    Attributes:
        until: Share of the schedule's patches, in (0, 1].
        edge: Share of the whole patch's edge along y and z. Along x, from side to side, patches are whole always: left
            and right are compared, and processors want 3 voxels there in the coarsest grid (see `TORN_EDGE`).
    """

    until: float
    edge: float


GROWTH = (Growth(0.1, 0.6), Growth(1 / 3, 0.8), Growth(1.0, 1.0))
"""Small patches cost a third, and suffice while a network learns what grey and dark are."""


@dataclass(frozen=True)
class Schedule:
    """What a training does at which place.

    Attributes:
        length: Of the whole training, in what is counted.
        learning_rate: The highest.
        patch: The whole patch's edges, voxels.
        divisors: Each edge of a patch is a multiple of these.
        warm_up: Share of the length over which the learning rate rises from 0.
        flat_until: Share of the length after which it falls, along a cosine, to 0 at the end.
        rewarm: Patches (not seconds) over which it rises from 0 again where the optimiser had to begin anew.
        decay: Of the average of the weights, at each step, in the end; at first it forgets faster.
        growth: Sizes of patches.
        lesion_share: Of the patches: centred on a voxel of a lesion, each lesion of a case being as likely as another.
        hard_share: Of the patches: cut from the hardest of the cases that are kept.
        period: Between two validations, in what is counted.
        counts: What is counted.
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
            raise ConfigError(f"patches grow at {ends}, expected rising shares of which the last is 1")

    @property
    def settings(self) -> dict[str, Any]:
        """All of it, as plain values; a schedule over patches has the names that it had before there were others."""
        values = asdict(self)
        if self.counts == "patches":
            del values["counts"]
            values["patches"] = values.pop("length")
        return values

    @property
    def periods(self) -> int:
        """How many; the last may be shorter."""
        return math.ceil(self.length / self.period)

    def period_end(self, number: int) -> int:
        """The place at which a period, counted from 0, is over."""
        return min((number + 1) * self.period, self.length)

    def place_of(self, position: Position) -> float:
        """How far a training is, in what is counted."""
        return position.patches if self.counts == "patches" else position.seconds

    def rate_of(self, position: Position) -> float:
        """The learning rate of the step at a position: lower for a while where the optimiser had to begin anew."""
        rate = self.rate_at(self.place_of(position))
        if position.restarted_at is None:
            return rate
        return rate * min((position.patches - position.restarted_at) / self.rewarm, 1.0)

    def rate_at(self, place: float) -> float:
        """The learning rate of the step at a place, of an optimiser that has its moments."""
        done = place / self.length
        if done < self.warm_up:
            return self.learning_rate * done / self.warm_up
        if done <= self.flat_until:
            return self.learning_rate
        fallen = min((done - self.flat_until) / (1 - self.flat_until), 1.0)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * fallen))

    def decay_at(self, patches: int) -> float:
        """How much of the average of the weights stays at a step: 0.1 at first, near 1 - 9 / patches, then `decay`."""
        return min((1 + patches) / (10 + patches), self.decay)

    def patch_at(self, place: float) -> Shape:
        """The edges of the patches that are drawn at a place: the nearest multiples of what the network needs."""
        edge = next(step.edge for step in self.growth if place < step.until * self.length or step.until == 1)
        x, *others = self.patch
        y, z = (
            max(round(edge * whole / divisor), 1) * divisor
            for whole, divisor in zip(others, self.divisors[1:], strict=True)
        )
        return x, y, z

    def grids(self, size: Size) -> tuple[Shape, ...]:
        """What convolutions of either kind of network are computed on, patches of every size taken together."""
        begins = [0, *(math.ceil(step.until * self.length) for step in self.growth[:-1])]
        patches = dict.fromkeys([size.patch, *map(self.patch_at, begins)])
        return tuple(grid for patch in patches for net in (size.plain, size.residual) for grid in net.shapes(patch))


def plan_schedule(length: int, size: Size, counts: Literal["patches", "seconds"] = "patches") -> Schedule:
    """The schedule of so many patches or seconds for the networks of a size, up to its learning rate."""
    x, y, z = (max(pair) for pair in zip(size.plain.divisors, size.residual.divisors, strict=True))
    schedule = Schedule(length, size.learning_rate, size.patch, (x, y, z), rewarm=REWARM_STEPS * size.batch)
    if counts == "patches":
        return schedule
    return replace(schedule, period=max(math.ceil(length / PERIODS), SHORTEST_PERIOD_S), counts=counts)
