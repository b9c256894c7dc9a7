"""Files dropped on the app: stored in a folder beside the results, images by themselves and DICOM files by folder."""

import re
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol, runtime_checkable

from mapping_stroke.errors import CaseError, FileError
from mapping_stroke.files import require_space, sha256, written_whole
from mapping_stroke.images.formats import image_suffix

UPLOADS = "-uploads"
"""Ends the name of the folder beside the results folder, in which only results may be."""
LONGEST_STEM = 80
"""Characters of a name without suffix."""
DICOM = "dicom"
"""Name of loose DICOM files."""
BESIDE_SCANS = (".json", ".bval", ".bvec", ".tsv", ".txt", ".md")
"""Ends the names of files that lie beside scans in a BIDS folder, or beside what dcm2niix writes, and are none."""
BYTES_AT_ONCE = 2**20


@runtime_checkable
class Content(Protocol):
    """An open file."""

    def read(self, size: int = -1, /) -> bytes:
        """Read some bytes."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to a place."""

    def tell(self) -> int:
        """The place."""


def store_uploads(folder: Path, files: Sequence[tuple[str, Content]]) -> dict[str, Path]:
    """Store the files of one drop.

    Args:
        folder: The results folder.
        files: Name of each file, with the folders that were dropped, and its content.

    Returns:
        What to segment, by name: image files, and folders of all other files, which may be DICOM. Of several images
        of one name, each begins with its own folder's name.

    Raises:
        CaseError: Nothing was dropped that may be a scan.
        ResourceError: The disk has too little room.
    """
    scans = [
        (PurePosixPath(name.replace("\\", "/").strip("/")), content)
        for name, content in files
        if not name.lower().endswith(BESIDE_SCANS)
    ]
    if not scans:
        raise CaseError("no scan was dropped; drop a NIfTI file or a folder with a DICOM series")
    images = [(name, content) for name, content in scans if image_suffix(Path(name.name))]
    others = [(name, content) for name, content in scans if not image_suffix(Path(name.name))]
    called = Counter(safe_name(name.name) for name, _ in images)
    target = uploads_of(folder)
    target.mkdir(parents=True, exist_ok=True)
    found = {}
    for name, content in images:
        is_alone = called[safe_name(name.name)] == 1
        path = _store_image(target, safe_name(name.name if is_alone else "_".join(name.parts[-2:])), content)
        found[path.name] = path
    return found | _store_series(target, others)


def uploads_of(folder: Path) -> Path:
    """The folder of the scans that were dropped for a results folder."""
    return folder.with_name(f"{folder.name}{UPLOADS}")


def safe_name(name: str) -> str:
    """A file name of letters, digits, `.`, `-` and `_` only, which is no path and not hidden."""
    last = PurePosixPath(name.replace("\\", "/")).name
    suffix = image_suffix(Path(last)) or ""
    stem = re.sub(r"[^\w.-]+", "_", last[: len(last) - len(suffix)], flags=re.ASCII).strip("._-")
    return f"{stem[:LONGEST_STEM] or 'scan'}{suffix.lower()}"


def _store_image(target: Path, wanted: str, content: Content) -> Path:
    """Store an image under a name, or with a number if another scan has that name."""
    suffix = image_suffix(Path(wanted)) or ""
    stem = wanted.removesuffix(suffix)
    incoming = target / f".{wanted}"
    try:
        _copy(content, incoming)
        digest, number = sha256(incoming), 1
        path = target / wanted
        while path.exists() and sha256(path) != digest:
            number += 1
            path = target / f"{stem}-{number}{suffix}"
        incoming.replace(path)
    finally:
        incoming.unlink(missing_ok=True)
    return path


def _store_series(target: Path, files: Sequence[tuple[PurePosixPath, Content]]) -> dict[str, Path]:
    """Store files by the outermost folder that was dropped, numbered, as their own names may be no names here."""
    groups: dict[str, list[Content]] = {}
    for name, content in files:
        group = safe_name(name.parts[0]) if len(name.parts) > 1 else DICOM
        groups.setdefault(group, []).append(content)
    found = {}
    for group, contents in groups.items():
        folder, number = target / group, 1
        while folder.exists():
            number += 1
            folder = target / f"{group}-{number}"
        folder.mkdir()
        try:
            for index, content in enumerate(contents):
                _copy(content, folder / f"{index:05d}.dcm")
        except BaseException:
            shutil.rmtree(folder)  # half a series would be read as a whole one
            raise
        found[folder.name] = folder
    return found


def _copy(content: Content, path: Path) -> None:
    content.seek(0, 2)
    size = content.tell()
    content.seek(0)
    if not size:
        raise FileError(f"{path.name.lstrip('.')}: is empty, expected a scan")
    require_space(path.parent, size)
    with written_whole(path) as partial, partial.open("wb") as file:
        shutil.copyfileobj(content, file, BYTES_AT_ONCE)
