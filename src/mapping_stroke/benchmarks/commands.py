"""Run a whole command as a user would, and tell how long it took and how much memory it had at most."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from mapping_stroke.errors import MappingError

OURS = (sys.executable, "-m", "mapping_stroke.cli")


class BenchError(MappingError):
    """A command that is measured failed."""


@dataclass(frozen=True)
class Cost:
    """What one command took.

    Attributes:
        seconds: From its start to its end, whatever it loads or writes.
        peak_bytes: Largest resident memory of any one of its processes.
    """

    seconds: float
    peak_bytes: float


@dataclass(frozen=True)
class Costs:
    """The same command, several times."""

    way: str
    repeats: tuple[Cost, ...]

    @property
    def seconds(self) -> float:
        """Median."""
        return median(cost.seconds for cost in self.repeats)

    @property
    def peak_bytes(self) -> float:
        """Median."""
        return median(cost.peak_bytes for cost in self.repeats)


def run_command(command: Sequence[str]) -> Cost:
    """Run a command to its end; its output is kept out of sight.

    Raises:
        BenchError: It failed; the end of what it said is quoted.
    """
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        said = process.stdout.read() if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise BenchError(
            f"{' '.join(command)}: ended with status {process.returncode}: {' '.join(said.split())[-400:]}"
        )
    kilobyte = 1 if sys.platform == "darwin" else 1024
    return Cost(seconds, float(usage.ru_maxrss * kilobyte))
