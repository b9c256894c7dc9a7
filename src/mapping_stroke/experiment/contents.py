"""What the files of cases hold, told by hashes that are kept, so that a file is not read again for it."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mapping_stroke.console import track
from mapping_stroke.files import file_state, fingerprint, read_object, sha256, write_json
from mapping_stroke.image_formats import stored_files

CONTENTS_FILE = "contents.json"
"""Where hashes are kept: beside the folders of the arrays that were made from the files."""
READERS = 2
"""Threads that read scans; most of that time is outside Python's lock."""


def mark_contents(ledger: Path, files: Mapping[str, Sequence[Path]]) -> dict[str, str]:
    """A short mark of what the files of each case hold: other bytes give another, new times or places do not.

    Args:
        ledger: Keeps the SHA-256 of each file with its size and time. A file that has both still is not read again,
            nor is one that is there no more: what was made from it goes on to be of use.
        files: By case id.

    Returns:
        The marks by case id; empty for no cases.

    Raises:
        FileError: A file that the ledger does not know cannot be read.
    """
    stored = {case_id: [part for file in its for part in stored_files(file)] for case_id, its in files.items()}
    states = {str(path): file_state(path) for its in stored.values() for path in its}
    known = read_object(ledger)
    changed = [path for path, state in states.items() if not _is_known(known.get(path), state)]
    if changed:
        with ThreadPoolExecutor(READERS) as pool:
            hashes = list(track(pool.map(sha256, map(Path, changed)), "Looking for changed files", len(changed)))
        new = zip(changed, hashes, strict=True)
        known |= {path: {"state": states[path], "sha256": digest} for path, digest in new}
        write_json(ledger, known)
    return {case_id: fingerprint([known[str(path)]["sha256"] for path in its]) for case_id, its in stored.items()}


def _is_known(entry: object, state: Sequence[object]) -> bool:
    is_gone = state[1] is None
    return isinstance(entry, dict) and "sha256" in entry and (is_gone or entry.get("state") == state)
