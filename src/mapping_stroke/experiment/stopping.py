"""Being asked to stop, by Ctrl-C, SIGTERM or SIGUSR1: work that can be cut at any moment is, other work ends a step."""

import _thread
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from mapping_stroke.errors import Stopped

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""Ctrl-C, what schedulers send before they kill, and what they can be told to send earlier."""

GO_ON = "run the same command again to go on"


class StopRequest:
    """Whether this process was asked to stop.

    Args:
        remedy: What a stopped user should do.

    Attributes:
        by: Name of the signal; empty while nobody asked.
    """

    def __init__(self, remedy: str = GO_ON) -> None:
        self._remedy = remedy
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
        by = self.by or "a signal to another process"
        raise Stopped(f"stopped by {by}, and all that was done is saved; {self._remedy}")

    def hear(self, number: int, _: FrameType | None) -> None:
        """Take a signal."""
        first, self.by = not self.by, self.by or signal.Signals(number).name
        if (first and not self._held) or (not first and number == signal.SIGINT):
            raise Stopped(f"stopped by {self.by}, and what was finished is kept; {self._remedy}")


@contextmanager
def listening(remedy: str = GO_ON) -> Iterator[StopRequest]:
    """Take the signals that ask to stop; outside the main thread, which alone gets them, nobody ever asks."""
    request = StopRequest(remedy)
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request.hear) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


@contextmanager
def stopping_in(seconds: float) -> Iterator[None]:
    """Ask this process to stop, as SIGTERM does, unless the block is over after so many seconds."""
    timer = threading.Timer(max(seconds, 0.0), _thread.interrupt_main, [signal.SIGTERM])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
