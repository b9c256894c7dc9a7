"""The outcome of every scan in an output folder, kept in `run.json` and built from one note per scan."""

import glob
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mapping_stroke.cohort.results import (
    LESIONS_SUFFIX,
    MAP_SUFFIXES,
    PLACEMENT_SUFFIX,
    STAMP_SUFFIX,
    SUFFIXES,
    TRANSFORM_SUFFIX,
    OutputLayout,
)
from mapping_stroke.cohort.shared_folder import SharedFolder
from mapping_stroke.environment import describe_environment, peak_memory_bytes
from mapping_stroke.files import list_files, read_object, short_name, write_json
from mapping_stroke.run_folder import BRAIN_SUFFIX, OWNER_FILE, SHARING, write_record

FAILURE_SUFFIX = ".failed.json"
"""Suffix of the note about a failed scan, in the hidden folder."""


class Notes:
    """Everything known about the scans of an output folder, read from their files, whichever process wrote them."""

    def __init__(self, layout: OutputLayout) -> None:
        self._folder, self._stamps = layout.folder, layout.relative("*", STAMP_SUFFIX)
        self._read: dict[Path, tuple[object, dict[str, Any]]] = {}
        """State of each file when it was read, and its content."""

    def stamps(self) -> dict[str, dict[str, Any]]:
        """The stamp of every finished scan, by name."""
        found = self._read_all(self._stamps, STAMP_SUFFIX)
        return {name: stamp for name, stamp in found.items() if "source" in stamp}

    def failures(self) -> dict[str, dict[str, Any]]:
        """The last failure of each scan (`scan`, `error`, `when`), by name."""
        found = self._read_all(f"{SHARING}/*{FAILURE_SUFFIX}", FAILURE_SUFFIX)
        named = {str(entry.get("name", name)): entry for name, entry in found.items()}  # file names may be shortened
        return {name: {key: entry[key] for key in entry if key != "name"} for name, entry in named.items()}

    def entries(self, counts: Callable[[str, dict[str, Any]], bool] = lambda *_: True) -> dict[str, dict[str, Any]]:
        """Status (`done` or `failed`) and all known facts of each scan, by name.

        Args:
            counts: Whether a failure is still relevant.
        """
        failures = {name: entry for name, entry in self.failures().items() if counts(name, entry)}
        failed = {name: {"status": "failed", **entry} for name, entry in failures.items()}
        done = {name: {"status": "done", **stamp} for name, stamp in self.stamps().items()}
        return dict(sorted({**done, **failed}.items()))  # finishing a scan removes its failure, so a failure is newer

    def note_failure(self, name: str, scan: Path, error: str) -> None:
        """Keep the reason why a scan failed."""
        when = datetime.now(UTC).isoformat()
        write_json(self._failure(name), {"name": name, "scan": str(scan), "error": error, "when": when})

    def forget_failure(self, name: str) -> None:
        """Remove the note about a failure: the scan is finished now."""
        self._failure(name).unlink(missing_ok=True)

    def _failure(self, name: str) -> Path:
        return self._folder / SHARING / f"{short_name(name)}{FAILURE_SUFFIX}"

    def _read_all(self, pattern: str, suffix: str) -> dict[str, dict[str, Any]]:
        files = [path for path in list_files(self._folder, pattern) if path.name != OWNER_FILE]
        return {path.name.removesuffix(suffix): self._read_once(path) for path in files}

    def _read_once(self, path: Path) -> dict[str, Any]:
        try:
            status = path.stat()
        except OSError:  # another process has just removed it
            return {}
        # a thousand stamps are read for each record, so unchanged files are not read again
        state = (status.st_mtime_ns, status.st_ino)
        known, value = self._read.get(path, (None, {}))
        if known != state:
            value = read_object(path)
            self._read[path] = (state, value)
        return value


def contents(layout: OutputLayout) -> tuple[str, ...]:
    """Name patterns of the files that runs have left in an output folder.

    Pictures and stamps have common names, so only those of finished scans are included.
    """
    names = [glob.escape(name) for name in Notes(layout).stamps()]
    finished = (layout.relative(name, suffix) for name in names for suffix in SUFFIXES)
    unmistakable = (*MAP_SUFFIXES, BRAIN_SUFFIX, LESIONS_SUFFIX, TRANSFORM_SUFFIX, PLACEMENT_SUFFIX)
    begun = (layout.relative("*", suffix) for suffix in unmistakable)
    return (*begun, *finished, *layout.group.all, f"{SHARING}/*{FAILURE_SUFFIX}", OWNER_FILE)


ELSEWHERE = "being processed by another process"


class RunRecord:
    """The record of a claimed output folder, as seen and written by one process.

    Args:
        output: Claimed output folder.
        notes: Notes about its scans.
        folder: Locks on it.
        facts: Model, engine and settings of the run.
    """

    def __init__(self, output: Path, notes: Notes, folder: SharedFolder, facts: Mapping[str, Any]) -> None:
        self.computed = 0
        """Number of scans segmented by this process."""
        self._output, self._notes, self._folder, self._facts = output, notes, folder, dict(facts)
        self._earlier = notes.failures()
        self._started, self._start = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()

    @property
    def seconds(self) -> float:
        """Duration of the run so far."""
        return time.perf_counter() - self._start

    def scans(self) -> dict[str, dict[str, Any]]:
        """Status (`done` or `failed`) and all known facts by name. Old failures of scans that are gone are left out."""
        return self._notes.entries(self._counts)

    def names(self, status: str) -> list[str]:
        """The scans with that status."""
        return [name for name, entry in self.scans().items() if entry["status"] == status]

    def failed_meanwhile(self, name: str) -> bool:
        """Whether a scan has failed since this process began, in any process."""
        failures = self._notes.failures()
        return name in failures and failures[name] != self._earlier.get(name)

    def fail(self, name: str, scan: Path, error: str) -> None:
        """Note that a scan failed, and why."""
        self._notes.note_failure(name, scan, error)

    def finish(self, name: str, *, computed: bool) -> None:
        """Note that a scan is finished. `computed` says whether this process segmented it."""
        self._notes.forget_failure(name)
        self.computed += computed

    def unsettled(self, names: Sequence[str]) -> list[str]:
        """Those scans that are not finished and have not failed since this process began."""
        done = self._notes.stamps()
        return [name for name in names if not self.failed_meanwhile(name) and name not in done]

    def write(self, status: str, left: Collection[str] = ()) -> None:
        """Write all known facts.

        Args:
            status: `running`, or at the end `done` or `stopped`, which stays `running` while others are working.
            left: Scans that other processes are working on.
        """
        with self._folder.exclusive():
            if status != "running" and self._folder.has_others():
                status = "running"
            scans = self.scans()
            kept = [entry["status"] for entry in scans.values()]
            skipped = {name: {"status": "skipped", "why": ELSEWHERE} for name in left if name not in scans}
            record = {
                "status": status,
                "started": self._started,
                "seconds": round(self.seconds, 1),
                "peak_memory_mb": round(peak_memory_bytes() / 1e6),
                "computed": self.computed,
                "done": kept.count("done"),
                "failed": kept.count("failed"),
                "skipped": len(skipped),
                **self._facts,
                "versions": describe_environment(gpu="torch" in sys.modules),
                "scans": scans | skipped,
            }
            write_record(self._output, record)

    def _counts(self, name: str, failure: dict[str, Any]) -> bool:
        """Whether a failure is still relevant: it is new, or its scan still exists."""
        if failure != self._earlier.get(name):
            return True
        try:
            return Path(failure["scan"]).exists() if failure.get("scan") else False
        except OSError:  # it exists, but may not be looked at
            return True
