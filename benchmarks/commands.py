"""Time and peak memory of whole commands, run as by a user."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from mapping_stroke.errors import MappingError

OURS = (sys.executable, "-m", "mapping_stroke.cli")


class BenchError(MappingError):
    """A measured command failed."""


@dataclass(frozen=True)
class Cost:
    """Time and memory of one command.

    Attributes:
        seconds: From start to end, including loading and writing.
        peak_bytes: Largest resident memory of any of its processes; on Linux at least the memory of this process when
            it started the command.
        processor_seconds: CPU time over all cores, including the processes it waited for; NaN if not measured.
    """

    seconds: float
    peak_bytes: float
    processor_seconds: float = float("nan")


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


@dataclass(frozen=True)
class Line:
    """A line of a command's output, and its time in seconds from the start."""

    seconds: float
    text: str


NOTHING_ELSE: Mapping[str, str] = {}


def run_command(command: Sequence[str], environment: Mapping[str, str] = NOTHING_ELSE) -> Cost:
    """Run a command to its end without showing its output (see `follow_command`)."""
    return follow_command(command, environment)[0]


def follow_command(
    command: Sequence[str], environment: Mapping[str, str] = NOTHING_ELSE
) -> tuple[Cost, tuple[Line, ...]]:
    """Run a command to its end.

    Args:
        command: Program and arguments.
        environment: Variables in addition to those of this process.

    Returns:
        Time and memory, and the output.

    Raises:
        BenchError: It failed; the end of its output is quoted.
    """
    start = time.perf_counter()
    everything = {**os.environ, **environment}  # noqa: TID251 - another program's settings, not ours
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=everything
    ) as process:
        lines = [Line(time.perf_counter() - start, text) for text in process.stdout or ()]
        # unlike `process.wait`, this returns the resources of the process and its children
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        said = " ".join(" ".join(line.text.split()) for line in lines)
        raise BenchError(f"{' '.join(command)}: ended with status {process.returncode}: {said[-400:]}")
    # `ru_maxrss` is in bytes on macOS, in kilobytes on Linux
    kilobyte = 1 if sys.platform == "darwin" else 1024
    cost = Cost(seconds, float(usage.ru_maxrss * kilobyte), usage.ru_utime + usage.ru_stime)
    return cost, tuple(lines)
