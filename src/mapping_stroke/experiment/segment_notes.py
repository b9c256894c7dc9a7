"""What is known of the scans of an output folder: from a file for each scan, whichever process wrote it."""

import glob
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mapping_stroke.experiment.segment_files import (
    LESIONS_SUFFIX,
    MAP_SUFFIXES,
    PLACEMENT_SUFFIX,
    STAMP_SUFFIX,
    SUFFIXES,
    TRANSFORM_SUFFIX,
    Naming,
    flat_names,
)
from mapping_stroke.files import list_files, read_object, short_name, write_json
from mapping_stroke.run_folder import BRAIN_SUFFIX, OWNER_FILE, SHARING

FAILURE_SUFFIX = ".failed.json"
"""Of the note on a scan that failed, in the hidden folder."""


class Notes:
    """What is known of the scans of an output folder, from their files, whichever process wrote them.

    Args:
        folder: Output folder.
        naming: What the files are called.
    """

    def __init__(self, folder: Path, naming: Naming = flat_names) -> None:
        self._folder, self._stamps = folder, naming("*", STAMP_SUFFIX)
        self._read: dict[Path, tuple[object, dict[str, Any]]] = {}
        """Of which state of a file, what was read."""

    def stamps(self) -> dict[str, dict[str, Any]]:
        """The stamp of every finished scan, by name."""
        found = self._read_all(self._stamps, STAMP_SUFFIX)
        return {name: stamp for name, stamp in found.items() if "source" in stamp}

    def failures(self) -> dict[str, dict[str, Any]]:
        """Where a scan failed last and why (`scan`, `error`, `when`), by name."""
        found = self._read_all(f"{SHARING}/*{FAILURE_SUFFIX}", FAILURE_SUFFIX)
        named = {str(entry.get("name", name)): entry for name, entry in found.items()}  # a long name is cut in a file's
        return {name: {key: entry[key] for key in entry if key != "name"} for name, entry in named.items()}

    def note_failure(self, name: str, scan: Path, error: str) -> None:
        """Keep why a scan failed."""
        when = datetime.now(UTC).isoformat()
        write_json(self._failure(name), {"name": name, "scan": str(scan), "error": error, "when": when})

    def forget_failure(self, name: str) -> None:
        """The scan did not fail after all, or is looked at anew."""
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
        state = (status.st_mtime_ns, status.st_ino)
        known, value = self._read.get(path, (None, {}))
        if known != state:
            value = read_object(path)
            self._read[path] = (state, value)
        return value


def contents(folder: Path, naming: Naming = flat_names) -> tuple[str, ...]:
    """Name patterns of what runs have left in an output folder; pictures and stamps only of scans they finished."""
    names = [glob.escape(name) for name in Notes(folder, naming).stamps()]
    finished = (naming(name, suffix) for name in names for suffix in SUFFIXES)
    unmistakable = (*MAP_SUFFIXES, BRAIN_SUFFIX, LESIONS_SUFFIX, TRANSFORM_SUFFIX, PLACEMENT_SUFFIX)
    begun = (naming("*", suffix) for suffix in unmistakable)
    return (*begun, *finished, f"{SHARING}/*{FAILURE_SUFFIX}", OWNER_FILE)
