"""What the files of cases hold, told by hashes that are kept, so that a file is not read again for it."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

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
            nor is one that is there no more: what was made from it goes on to be of use. Several processes may write
            into it.
        files: By case id.

    Returns:
        The marks by case id; empty for no cases.

    Raises:
        FileError: A file that the ledger does not know cannot be read.
    """
    known = read_object(ledger)
    stored = {file: _stored_files(file, known.get(str(file))) for its in files.values() for file in its}
    facts = {str(part): _facts_of(part, stored) for its in stored.values() for part in its}
    changed = [path for path, its in facts.items() if not _is_known(known.get(path), its)]
    if changed:
        with ThreadPoolExecutor(READERS) as pool:
            hashes = list(track(pool.map(sha256, map(Path, changed)), "Looking for changed files", len(changed)))
        new = {path: {**facts[path], "sha256": digest} for path, digest in zip(changed, hashes, strict=True)}
        known |= new
        write_json(ledger, read_object(ledger) | new)  # other processes may have written into it meanwhile
    return {
        case_id: fingerprint([known[str(part)]["sha256"] for file in its for part in stored[file]])
        for case_id, its in files.items()
    }


def _stored_files(file: Path, entry: object) -> list[Path]:
    """The files of an image; where some are gone from one that is known, and else unchanged, those that it had."""
    if isinstance(entry, dict):
        had = [file, *map(Path, entry.get("others", ()))]
        state = file_state(file)
        if (_is_gone(state) or entry.get("state") == state) and not all(part.is_file() for part in had):
            return had
    return stored_files(file)


def _facts_of(part: Path, stored: Mapping[Path, Sequence[Path]]) -> dict[str, Any]:
    """What the ledger keeps of a file beside its hash: its state, and for a header its other files."""
    others = [str(other) for other in stored.get(part, ())[1:]]
    return {"state": file_state(part), **({"others": others} if others else {})}


def _is_known(entry: object, facts: Mapping[str, Any]) -> bool:
    if not isinstance(entry, dict) or "sha256" not in entry:
        return False
    return _is_gone(facts["state"]) or entry == {**facts, "sha256": entry["sha256"]}


def _is_gone(state: Sequence[object]) -> bool:
    return state[1] is None
