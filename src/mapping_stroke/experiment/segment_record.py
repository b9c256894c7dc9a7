"""What a run of `mapping segment` did, in its `run.json`: written after every scan, so a killed run has it too."""

import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mapping_stroke.environment import describe_environment, peak_memory_bytes
from mapping_stroke.run_folder import write_record


class RunRecord:
    """The record of one run on its claimed output folder.

    Args:
        output: Claimed output folder.
        facts: What was computed, and with what.
    """

    def __init__(self, output: Path, facts: Mapping[str, Any]) -> None:
        self.scans: dict[str, dict[str, Any]] = {}
        self._output, self._facts = output, dict(facts)
        self._started, self._start = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()

    @property
    def seconds(self) -> float:
        """How long the run has taken so far."""
        return time.perf_counter() - self._start

    def names(self, status: str) -> list[str]:
        """The scans of that status: `done` or `failed`."""
        return [name for name, entry in self.scans.items() if entry["status"] == status]

    def add(self, name: str, status: str, entry: Mapping[str, Any]) -> None:
        """Note what became of a scan; `write` keeps it."""
        self.scans[name] = {"status": status, **entry}

    def write(self, status: str) -> None:
        """Write all that is known: while `running`, at the end `done`, or `stopped`."""
        record = {
            "status": status,
            "started": self._started,
            "seconds": round(self.seconds, 1),
            "peak_memory_mb": round(peak_memory_bytes() / 1e6),
            "done": len(self.names("done")),
            "failed": len(self.names("failed")),
            **self._facts,
            "versions": describe_environment(gpu="torch" in sys.modules),
            "scans": self.scans,
        }
        write_record(self._output, record)
