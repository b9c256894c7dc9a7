"""Messages to the user: lines, progress with the remaining time, and names of written files."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")

out = Console(soft_wrap=True, highlight=False)
err = Console(soft_wrap=True, highlight=False, stderr=True)

SECONDS_BETWEEN_LINES = 10.0
"""Interval between progress lines if the output is a log file, not a terminal."""


def say(text: str) -> None:
    """Print one line for the user."""
    out.print(text, markup=False)


def warn(text: str) -> None:
    """Print a warning on standard error."""
    err.print(f"warning: {text}", markup=False, style="yellow")


def be_quiet() -> None:
    """Print nothing from now on, in all but one of several processes that would print the same lines."""
    out.quiet = err.quiet = True


def name_files(title: str, *paths: Path) -> None:
    """Name the files that were written."""
    for path in paths:
        say(f"{title}: {path}")


def track(items: Iterable[T], what: str, total: int) -> Iterator[T]:
    """Yield the items, showing how many are done and how long the rest will take.

    A terminal shows a bar; a log gets a plain line every `SECONDS_BETWEEN_LINES`.
    """
    if out.is_terminal:
        yield from _track_on_terminal(items, what, total)
    else:
        yield from _track_in_log(items, what, total)


@contextmanager
def progress(what: str, total: float) -> Iterator[Callable[[float, str], None]]:
    """Yield a function that shows the amount done out of `total` (also fractions), the current item, and the time left.

    A terminal shows a bar; a log gets a plain line every `SECONDS_BETWEEN_LINES`.
    """
    if out.is_terminal:
        with _bar(TaskProgressColumn(), TextColumn("left"), TimeRemainingColumn()) as bar:
            task = bar.add_task(what, total=total)
            yield lambda done, name: bar.update(task, completed=done, description=f"{what} {name}")
        return
    start = last = time.monotonic()  # not wall-clock time, which may jump

    def report(done: float, name: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES and 0 < done < total:
            left = duration((now - start) / done * (total - done))
            say(f"{what} {name}: {done / total:.0%}, about {left} left")
            last = now

    yield report


@contextmanager
def estimated(what: str) -> Iterator[Callable[[float, str, float | None], None]]:
    """As `progress`, for work whose time left the caller estimates.

    Yields a function that shows the share done, 0 to 1, the current item, and the seconds left; None or 0 if unknown.
    """
    if out.is_terminal:
        with _bar(TaskProgressColumn(), TextColumn("{task.fields[left]}")) as bar:
            task = bar.add_task(what, total=1.0, left="")
            yield lambda done, name, left_s: bar.update(
                task, completed=done, description=f"{what} {name}", left=_left_words(left_s)
            )
        return
    last = time.monotonic()

    def report(done: float, name: str, left_s: float | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES and 0 < done < 1:
            words = _left_words(left_s)
            say(f"{what} {name}: {done:.0%}" + (f", {words}" if words else ""))
            last = now

    yield report


def _bar(done: ProgressColumn, *left: ProgressColumn) -> Progress:
    """A bar for the terminal that is gone afterwards, with columns of its own for how much is done and what is left."""
    shared = (TextColumn("{task.description}", markup=False), BarColumn(), done, TimeElapsedColumn())
    return Progress(*shared, *left, console=out, transient=True)


def _left_words(seconds: float | None) -> str:
    return f"about {duration(seconds)} left" if seconds and round(seconds) else ""


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of a table as lines with aligned columns. All rows have the same number of cells."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def counted(number: int, noun: str) -> str:
    """A number with its noun, such as `1 scan` or `3 scans`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def counted_of(part: int, whole: int, noun: str) -> str:
    """A part of a whole with its noun, such as `1 of 3 scans`, or the whole if the part is all of it, as `3 scans`."""
    return counted(whole, noun) if part == whole else f"{part} of {counted(whole, noun)}"


def listed(names: Collection[str], most: int) -> str:
    """The first names, and the number of the rest, such as `a, b and 3 more`; empty for none."""
    shown = ", ".join(islice(names, most))
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def duration(seconds: float) -> str:
    """A length of time for people, such as `42 s`, `3 min 05 s` or `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest_s = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest_s:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def clock(seconds: float, now: datetime | None = None) -> str:
    """The time of day after some seconds, such as `14:05`, with the date unless it is today."""
    now = now or datetime.now()
    then = now + timedelta(seconds=seconds)
    return f"{then:%H:%M}" if then.date() == now.date() else f"{then:%a %d %b %H:%M}"


def _track_on_terminal(items: Iterable[T], what: str, total: int) -> Iterator[T]:
    with _bar(MofNCompleteColumn(), TextColumn("left"), TimeRemainingColumn()) as progress:
        task = progress.add_task(what, total=total)
        for item in items:
            yield item
            progress.advance(task)


def _track_in_log(items: Iterable[T], what: str, total: int) -> Iterator[T]:
    start = last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES and done < total:
            say(f"{what}: {done}/{total}, about {duration((now - start) / done * (total - done))} left")
            last = now
