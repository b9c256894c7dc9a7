"""The time that jobs need: expected before they run, and corrected by those that ran."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mapping_stroke.workflow.jobs import JobState, stage_of

MOST_ASSUMED = 0.95
"""Share of a running job that is taken for done, at most, if the job does not show its progress."""
ShareDone = Callable[[str], float | None]
"""The share of a running job that is done, 0 to 1, by its name; None if it does not show."""


@dataclass(frozen=True)
class Forecast:
    """What is known of the jobs before they run.

    Attributes:
        seconds: Expected duration of each job; empty if unknown, then all jobs count as equal.
        share_done: Progress of a running job.
        kinds: By stage: a stage that was not measured is taken to be as fast as the others of its kind.
    """

    seconds: Mapping[str, float] = field(default_factory=dict)
    share_done: ShareDone = lambda _: None
    kinds: Mapping[str, str] = field(default_factory=dict)

    def expected(self, job: str) -> float:
        """Expected duration of a job relative to the others."""
        return self.seconds.get(job, 1.0)


@dataclass
class _Course:
    """A running job: when it was first seen, its share then, its share now, and when that last changed."""

    begun: float
    first: float | None
    share: float | None
    changed: float


class TimeLeft:
    """Estimates the time left, again at every look at the jobs.

    What a job needs is its expected duration times the slowness measured so far: of its stage, or of its kind. A
    running job that needs longer than that counts as nearly finished, so the estimate never rises while nothing ends.

    Args:
        jobs: The jobs that are not done.
        forecast: What is known of them.
        at_once: How many jobs of a stage run at the same time.
    """

    def __init__(self, jobs: Sequence[str], forecast: Forecast, at_once: int) -> None:
        self._jobs, self._forecast, self._at_once = jobs, forecast, at_once
        self._courses: dict[str, _Course] = {}
        self._measured: dict[str, list[tuple[float, float]]] = {}  # by stage: seconds needed and expected
        self._done = 0.0

    def look(self, states: Mapping[str, JobState], now: float) -> tuple[float, float | None]:
        """The share of all work that is done, which never falls, and the seconds left; None if unknown.

        Args:
            states: Of all jobs.
            now: Of a clock that does not jump.
        """
        for job in self._jobs:
            self._follow(job, states[job], now)
        left = {job: self._seconds_left(job, states[job], now) for job in self._jobs}
        total = sum(map(self._forecast.expected, self._jobs))
        done = sum(self._forecast.expected(job) * self._share(job, states[job], now) for job in self._jobs)
        self._done = max(self._done, done / total if total else 1.0)
        return self._done, self._side_by_side(left)

    def _follow(self, job: str, state: JobState, now: float) -> None:
        course = self._courses.get(job)
        if state == "running":
            share = self._forecast.share_done(job)
            if course is None:
                self._courses[job] = _Course(now, share, share, now)
            elif share != course.share:
                course.share, course.changed = share, now
        elif course is not None:
            if state == "done":
                expected = self._forecast.expected(job) * (1 - (course.first or 0.0))
                self._measured.setdefault(stage_of(job), []).append((now - course.begun, expected))
            del self._courses[job]

    def _slowness(self, stage: str) -> float | None:
        """Seconds needed for each one expected: of the stage, or else of its kind."""
        kinds = self._forecast.kinds
        for stages in ([stage], [other for other in kinds if kinds[other] == kinds.get(stage)]):
            pairs = [pair for one in stages for pair in self._measured.get(one, []) + self._under_way(one)]
            needed, expected = (sum(pair[part] for pair in pairs) for part in (0, 1))
            if expected > 0:
                return needed / expected
        return 1.0 if self._forecast.seconds else None

    def _under_way(self, stage: str) -> list[tuple[float, float]]:
        """Seconds needed and expected for what running jobs have done."""
        return [
            (course.changed - course.begun, self._forecast.expected(job) * (course.share - course.first))
            for job, course in self._courses.items()
            if stage_of(job) == stage
            if course.share is not None and course.first is not None and course.share > course.first
        ]

    def _seconds_left(self, job: str, state: JobState, now: float) -> float | None:
        if state == "done":
            return 0.0
        slowness = self._slowness(stage_of(job))
        if slowness is None:
            return None
        needed, course = self._forecast.expected(job) * slowness, self._courses.get(job)
        if course is None:
            return needed
        return max(needed * (1 - (course.share or 0.0)) - (now - course.changed), 0.0)

    def _share(self, job: str, state: JobState, now: float) -> float:
        course = self._courses.get(job)
        if course is None:
            return float(state == "done")
        if course.share is not None:
            return course.share
        slowness = self._slowness(stage_of(job))
        needed = self._forecast.expected(job) * slowness if slowness else 0.0
        return min((now - course.begun) / needed, MOST_ASSUMED) if needed else 0.0

    def _side_by_side(self, left: Mapping[str, float | None]) -> float | None:
        """The time left of all stages, one after another; within each, as many jobs at the same time as may run."""
        by_stage: dict[str, list[float]] = {}
        for job, seconds in left.items():
            if seconds is None:
                return None
            by_stage.setdefault(stage_of(job), []).append(seconds)
        return sum(max(sum(of_stage) / self._at_once, *of_stage) for of_stage in by_stage.values())
