"""One exact schedule, over patches or by the clock: learning rate, average of the weights, sizes of patches.

Places in it are counted in patches done, or in seconds.
"""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from mapping_stroke.errors import ConfigError
from mapping_stroke.image import Shape
from mapping_stroke.training.schemes import Size
from mapping_stroke.training.supply import Position

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
