"""The DICOM files of a folder: links are followed, nothing is given twice, and links that lead nowhere are told."""

import os
from collections.abc import Iterator
from heapq import heappop, heappush
from pathlib import Path

from mapping_stroke.files import leads_nowhere

PREAMBLE_BYTES = 128
MAGIC = b"DICM"
"""Behind the preamble of every DICOM file."""
BARE_SUFFIXES = (".dcm", ".ima")
"""Files called so are opened even without `MAGIC`: old programs leave it out."""
DIRECTORY = "DICOMDIR"
"""The name of a file that lists the others and holds no image."""


def is_dicom(file: Path) -> bool:
    """Whether a file's first bytes, or its name, say that it is DICOM."""
    try:
        with file.open("rb") as opened:
            magic = opened.read(PREAMBLE_BYTES + len(MAGIC))[PREAMBLE_BYTES:] == MAGIC
        return magic or file.suffix.lower() in BARE_SUFFIXES
    except OSError:
        return False


def dicom_files(folder: Path) -> Iterator[Path]:
    """The DICOM files of a folder and of those below it; hidden ones are passed over.

    Links are followed, but for those that lead to a folder around the given one. Every file is given once, by its own
    path rather than by a link.
    """
    given: set[tuple[int, int]] = set()
    for file in _files_below(folder):
        if file.name.upper() == DIRECTORY or not is_dicom(file):
            continue
        key = _identity(file)
        if key is not None and key not in given:
            given.add(key)
            yield file


def lost_files(folder: Path) -> list[Path]:
    """Links in a folder, or below it, that lead to files that are not here and are named as DICOM files are.

    Names of DICOM files have a suffix of `BARE_SUFFIXES`, or a number and no suffix of letters (`IM0001`, `1.2.840.7`).
    """
    return [file for file in _files_below(folder) if _may_be_dicom(file.name) and leads_nowhere(file)]


def _may_be_dicom(name: str) -> bool:
    suffix = Path(name).suffix
    return suffix.lower() in BARE_SUFFIXES or (any(map(str.isdigit, name)) and not suffix[1:].isalpha())


def _files_below(folder: Path) -> Iterator[Path]:
    """All that is no folder in a folder and below it: what is there itself first, then what links lead to."""
    entered = {key for parent in Path(os.path.realpath(folder)).parents if (key := _identity(parent))}
    waiting = [(False, folder)]
    while waiting:
        linked, place = heappop(waiting)
        key = _identity(place)
        if key is None or key in entered:
            continue
        entered.add(key)
        _, folders, files = next(os.walk(place), ("", [], []))
        for name in folders:
            if name[0] != ".":
                heappush(waiting, (linked or (place / name).is_symlink(), place / name))
        inside = [place / name for name in files if name[0] != "."]
        yield from sorted(inside, key=lambda file: (file.is_symlink(), file))


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file or folder from all others, whatever path leads there; None where it cannot be reached."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino
