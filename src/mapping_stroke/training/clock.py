"""Training by the clock: a schedule that counts seconds goes as far in each call as was asked for, whatever it took."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from mapping_stroke.image import Shape
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
