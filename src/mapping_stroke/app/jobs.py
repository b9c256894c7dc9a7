"""Work of the app in the background: uploads, one after another, and the files about all scans."""

import json
import queue
import re
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from mapping_stroke.cohort.settings import NO_REGIONS, Computation, RegionOptions
from mapping_stroke.console import warn
from mapping_stroke.errors import SCAN_FAILURES, describe_failure

LAST_LINES = 3
"""Of what a process has printed; kept to be shown."""
SHARE = re.compile(r"(\d+)%")
QUIET_S = 3.0
"""Time without a change before the files are written."""


@dataclass
class Job:
    """One upload.

    Attributes:
        number: Its number, from 1.
        name: Name of the upload.
        state: `waiting`, `running`, `done` or `failed`.
        share: Share of the work that is done, 0 to 1.
        line: What it does, or why it failed.
    """

    number: int
    name: str
    state: str = "waiting"
    share: float = 0.0
    line: str = ""


class Jobs:
    """The queue of uploads, and the thread that works through it.

    Args:
        computation: Model and how it is applied.
        regions: Atlas by whose regions lesions are measured.
        show_head: Whether pages show the whole head.
        start: Starts the process for a request; tests give another one.
    """

    def __init__(
        self,
        computation: Computation,
        regions: RegionOptions = NO_REGIONS,
        *,
        show_head: bool = False,
        start: Callable[[str], subprocess.Popen[str]] | None = None,
    ) -> None:
        self._computation, self._regions, self._show_head = computation, regions, show_head
        self._start = start or _start
        self._jobs: list[Job] = []
        self._waiting: queue.Queue[tuple[Job, Path, Path]] = queue.Queue()
        self._running: subprocess.Popen[str] | None = None
        self._stopped = False
        threading.Thread(target=self._work, name="jobs", daemon=True).start()

    def add(self, name: str, scan: Path, output: Path) -> Job:
        """Queue a scan, or a folder with a DICOM series, for a results folder."""
        job = Job(len(self._jobs) + 1, name)
        self._jobs.append(job)
        self._waiting.put((job, scan, output))
        return job

    def to_json(self) -> list[dict[str, object]]:
        """All jobs as plain values, the newest first."""
        return [asdict(job) for job in reversed(self._jobs)]

    @property
    def unfinished(self) -> int:
        """Number of jobs that wait or run."""
        return sum(job.state in ("waiting", "running") for job in self._jobs)

    def stop(self) -> None:
        """End the running process; what it has finished stays."""
        self._stopped = True
        if self._running and self._running.poll() is None:
            self._running.terminate()

    def _work(self) -> None:
        while True:
            job, scan, output = self._waiting.get()
            if not self._stopped:
                self._run(job, scan, output)

    def _run(self, job: Job, scan: Path, output: Path) -> None:
        request = {
            "scan": str(scan),
            "output": str(output),
            "computation": asdict(self._computation),
            "regions": {name: path and str(path) for name, path in asdict(self._regions).items()},
            "show_head": self._show_head,
        }
        job.state, job.line = "running", "starting"
        last: deque[str] = deque(maxlen=LAST_LINES)
        try:
            with self._start(json.dumps(request)) as process:
                self._running = process
                for line in process.stdout or ():
                    last.append(line.strip())
                    job.line = line.strip()
                    if found := SHARE.search(line):
                        job.share = int(found[1]) / 100
                status = process.wait()
        except OSError as error:
            status, job.line = 1, f"could not be started: {error}"
        job.state = "failed" if status else "done"
        job.share = 0.0 if status else 1.0
        job.line = _outcome(job.line, list(last), failed=bool(status))


def _outcome(line: str, last: list[str], *, failed: bool) -> str:
    """The line that tells most: the error, or what was found."""
    if failed:
        return line or "ended without a message; run `mapping segment` on this scan to see more"
    return next((each for each in last if "lesion" in each and ":" in each), line)


def _start(request: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "mapping_stroke.app.worker", request]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, stdin=subprocess.DEVNULL
    )


class Refresher:
    """Does some work (it writes files) in a thread of its own, after changes have come to rest."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
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
            if not self._ended.wait(QUIET_S):
                self.flush()
