"""Being asked to stop, by Ctrl-C, SIGTERM or SIGUSR1: work that can be cut at any moment is, other work ends a step."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from mapping_stroke.errors import Stopped

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""Ctrl-C, what schedulers send before they kill, and what they can be told to send earlier."""


class StopRequest:
    """Whether this process was asked to stop.

    Attributes:
        by: Name of the signal; empty while nobody asked.
    """

    def __init__(self) -> None:
        self.by = ""
        self._held = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let a request wait until `check`; elsewhere it ends the work at once. A second Ctrl-C never waits."""
        before, self._held = self._held, True
        try:
            yield
        finally:
            self._held = before

    def check(self) -> None:
        """Raise `Stopped` if this process was asked to stop."""
        if self.by:
            self.end()

    def end(self) -> NoReturn:
        """Raise `Stopped`, because this process was asked to stop, or one that it trains with."""
        raise Stopped(f"stopped by {self.by or 'a signal to another process'}, and all that was done is saved")

    def hear(self, number: int, _: FrameType | None) -> None:
        """Take a signal."""
        first, self.by = not self.by, self.by or signal.Signals(number).name
        if (first and not self._held) or (not first and number == signal.SIGINT):
            raise Stopped(f"stopped by {self.by}, and what was finished is kept")


@contextmanager
def listening() -> Iterator[StopRequest]:
    """Take the signals that ask to stop; outside the main thread, which alone gets them, nobody ever asks."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request.hear) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
