"""Atomic writing, reading and hashing of files."""

import csv
import glob
import hashlib
import json
import math
import os
import platform
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mapping_stroke.errors import FileError, ResourceError

LONG_NAME_BYTES = 120
"""Longer names of internal files are shortened, so that they fit on every disk with prefix and suffix."""
PARTIAL = ".partial-"
"""Prefix of the names of files and folders that are incomplete, perhaps because a process was killed."""
GET_CONTENT = "if this is a DataLad data set, run `datalad get` on it"
_REMEDY = "copy it again, or delete it and run the command that wrote it"


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary name next to `path`. On success it is renamed to `path`, on failure it is removed.

    The temporary name starts with `PARTIAL` and keeps the end of the name, so that writers choose the format by its
    suffix, but it is short enough for any disk. Leftovers of killed processes for the same file are removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    end = os.fsencode(path.name)[-LONG_NAME_BYTES:].decode(errors="ignore")
    # the name contains machine and process: only those of processes known to have ended are removed
    for leftover in path.parent.glob(f"{PARTIAL}{_machine()}-*-{glob.escape(end)}"):
        if not _is_running(leftover.name.split("-")[2]):
            remove(leftover)
    partial = path.with_name(f"{PARTIAL}{_machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}-{end}")
    try:
        yield partial
        partial.replace(path)
    finally:
        remove(partial)


def require_space(folder: Path, needed_bytes: float) -> None:
    """Raise `ResourceError` unless the disk of a folder, which need not exist yet, has that many free bytes."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free_bytes = shutil.disk_usage(there).free
    if needed_bytes > free_bytes:
        raise ResourceError(
            f"{folder}: has room for {free_bytes / 1e6:.0f} MB, about {needed_bytes / 1e6:.0f} MB are needed; "
            "free some space, or give an output folder on another disk"
        )


def remove(path: Path) -> None:
    """Remove a file, a link or a complete folder if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_files(paths: Iterable[Path]) -> None:
    """Remove the files that exist, in order, even if some cannot be removed.

    Raises:
        OSError: The first error; all files that can be removed are gone.
    """
    failures = []
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            failures.append(error)
    if failures:
        raise failures[0]


def leads_nowhere(path: Path) -> bool:
    """Whether this is a link to a missing file, as DataLad leaves behind when it drops the content of a file."""
    try:
        path.stat()
    except FileNotFoundError:
        return path.is_symlink()
    except OSError:  # circular links, or a folder without permission
        return False
    return False


def describe_missing(path: Path) -> str:
    """Description of a missing file, and the remedy."""
    if leads_nowhere(path):
        return f"is a link to a file that is not here; {GET_CONTENT}"
    return "no such file; check the path"


def given_path(path: Path) -> Path:
    """The absolute path of a given path, without resolving its links: a pseudonym may be a link to a name.

    This also holds for the current folder if the shell entered it through a link.
    """
    shell = Path(os.environ.get("PWD", ""))  # noqa: TID251 - the current folder, as `pwd` shows it; not a setting
    here = shell if shell.is_absolute() and shell.exists() and shell.samefile(Path.cwd()) else Path.cwd()
    return here / path


def given_name(folder: Path) -> str:
    """The name of a folder as given (see `given_path`), or that of the current folder for `.`."""
    return Path(os.path.normpath(given_path(folder))).name


def list_files(folder: Path, pattern: str) -> list[Path]:
    """The files of a folder that fit a name pattern, sorted. Hidden ones, and so partial ones, are skipped.

    Files that the system cannot access are included, see `may_be_file`.
    """
    return sorted(path for path in folder.glob(pattern) if not path.name.startswith(".") and may_be_file(path))


def may_be_file(path: Path) -> bool:
    """Whether there is such a file, or the system cannot access it: reading it then reports the reason."""
    try:
        return path.is_file()
    except OSError:
        return True


def is_folder(path: Path) -> bool:
    """Whether there is such a folder that the system can access. Reading another one reports the reason."""
    try:
        return path.is_dir()
    except OSError:
        return False


def longest_name_bytes(folder: Path) -> int:
    """The longest file name that an existing folder allows, or 255 if the system does not know."""
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):  # Windows has no such function
        return 255


def short_name(name: str) -> str:
    """A name short enough for a suffix on every disk: the given one, or its start and a hash if it is long."""
    if len(os.fsencode(name)) <= LONG_NAME_BYTES:
        return name
    start = os.fsencode(name)[: LONG_NAME_BYTES - 17].decode(errors="ignore")
    return f"{start}-{fingerprint(name)}"


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, completely or not at all."""
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, completely or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON value. Raises `FileError` if the file is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FileError(f"{path}: is damaged ({error}), expected JSON; {_REMEDY}") from error


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object that can be recreated, or return an empty one if it is missing or damaged."""
    try:
        value = read_json(path)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]], delimiter: str = ",") -> None:
    """Write rows under a header line, completely or not at all. A missing value is an empty field."""
    with written_whole(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n", delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def none_if_nan(value: float) -> float | None:
    """The value; None, which is an empty field in CSV and null in JSON, if it is not a number."""
    return None if math.isnan(value) else value


def read_csv(path: Path, delimiter: str = ",") -> list[dict[str, str]]:
    """Read a CSV file with a header line: a dict of text for each row. Raises `FileError` if the file is not text."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return list(csv.DictReader(file, delimiter=delimiter))
    except (UnicodeDecodeError, csv.Error) as error:
        raise FileError(f"{path}: is damaged ({error}), expected CSV in UTF-8; {_REMEDY}") from error


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal. Raises `FileError` if they cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error


def file_state(path: Path) -> list[object]:
    """Path, size and modification time of a file (None if missing), to detect a change without reading it."""
    state = path.stat() if path.exists() else None
    return [str(path), state.st_size if state else None, state.st_mtime_ns if state else None]


def fingerprint(value: Any) -> str:
    """A short hash of a JSON-able value, the same on every machine. Keys may come in any order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _machine() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:6]


def _is_running(process: str) -> bool:
    """Whether the process with this number is, or may be, running on this machine."""
    if os.name != "posix" or not process.isdecimal():
        return True
    try:
        os.kill(int(process), 0)  # signal 0 only checks that the process exists
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
