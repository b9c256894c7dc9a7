"""Timing of two implementations in turns, on one core, with a comparison of their results."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

from benchmarks.heading import describe_head

T = TypeVar("T")


@dataclass(frozen=True)
class Race:
    """Times of two implementations.

    Attributes:
        what: Task and input of both.
        reference_way: Description of the reference implementation.
        ours_s: Seconds of each repeat of ours.
        reference_s: Seconds of each repeat of the reference.
    """

    what: str
    reference_way: str
    ours_s: tuple[float, ...]
    reference_s: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Speed of ours relative to the reference, by the medians."""
        return median(self.reference_s) / median(self.ours_s)


def race(
    ours: Callable[[], T], reference: Callable[[], T], repeats: int, require_same: Callable[[T, T], None]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Time both in turns.

    Args:
        ours: Our implementation.
        reference: The reference implementation.
        repeats: Timings of each.
        require_same: Called with both results of every repeat; raises if they differ.

    Returns:
        Seconds of each repeat of ours, and of the reference.
    """
    ours_s, reference_s = [], []
    with one_core():  # neither may use several threads
        for _ in range(repeats):
            our_answer, seconds = _timed(ours)
            ours_s.append(seconds)
            reference_answer, seconds = _timed(reference)
            reference_s.append(seconds)
            require_same(our_answer, reference_answer)
    return tuple(ours_s), tuple(reference_s)


@contextmanager
def one_core() -> Iterator[None]:
    """Bind this process to one core if the system supports it (Linux)."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def describe_race(result: Race, command: str) -> str:
    """The result as Markdown: date, machine, command, medians and their ratio."""
    rows = (("ours", result.ours_s), ("reference", result.reference_s))
    return "\n".join(
        [
            *describe_head(result.what, command, ("numpy", "scipy"), share="1 of "),
            "| implementation | median | fastest | slowest | repeats |",
            "|---|---|---|---|---|",
            *(
                f"| {way} | {median(seconds):.3f} s | {min(seconds):.3f} s | {max(seconds):.3f} s | {len(seconds)} |"
                for way, seconds in rows
            ),
            "",
            f"Ratio of the medians: **{result.ratio:.1f}**. Both gave the same result in every repeat.",
            "",
            f"Reference: {result.reference_way}",
            "",
        ]
    )


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    start = time.perf_counter()
    answer = work()
    return answer, time.perf_counter() - start
