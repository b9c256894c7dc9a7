"""The files about all scans follow ratings and corrections, a moment after the last one."""

import threading
from collections.abc import Callable

from mapping_stroke.console import warn
from mapping_stroke.errors import SCAN_FAILURES, describe_failure

QUIET_S = 3.0
"""Time without a change before the files are written."""


class Refresher:
    """Does some work in a thread of its own, after changes have come to rest.

    Args:
        work: Writes the files.
        quiet_s: Time without a change before that.
    """

    def __init__(self, work: Callable[[], None], quiet_s: float = QUIET_S) -> None:
        self._work, self._quiet_s = work, quiet_s
        self._changed, self._ended, self._busy = threading.Event(), threading.Event(), threading.Lock()
        threading.Thread(target=self._run, name="refresh", daemon=True).start()

    def change(self) -> None:
        """Note a change."""
        self._changed.set()

    def end(self) -> None:
        """Write what is due, and stop."""
        self._ended.set()
        self.flush()

    def flush(self) -> None:
        """Write what is due."""
        with self._busy:
            if not self._changed.is_set():
                return
            self._changed.clear()
            try:
                self._work()
            except SCAN_FAILURES as error:
                warn(f"the table and page of all scans were not written: {describe_failure(error)}")

    def _run(self) -> None:
        while not self._ended.is_set():
            self._changed.wait()
            if not self._ended.wait(self._quiet_s):
                self.flush()
