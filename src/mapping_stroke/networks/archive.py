"""Files of a model in a folder or a zip, read in place and never unpacked.

Zips hold only stored (uncompressed) entries, so an entry is never larger than the zip itself.
"""

import stat
import zipfile
from collections import Counter
from pathlib import Path

from mapping_stroke.errors import BundleError
from mapping_stroke.networks.cards import require_inside

SUFFIX = ".mapping"
"""Suffix of a zipped model."""
_EPOCH = (1980, 1, 1, 0, 0, 0)
_ENCRYPTED = 0x1
_AGAIN = "copy or download it again"
ZIP_ERRORS = (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, NotImplementedError, OverflowError)
"""Errors of `zipfile` for damaged archives."""


def read_entry(model: Path, name: str, most_bytes: int) -> bytes:
    """Read one file of a model, after checking its size.

    Args:
        model: A folder, or a zip.
        name: Path inside it, with `/`.
        most_bytes: A larger entry is refused.

    Raises:
        BundleError: The entry is missing, too large, or damaged, or the zip is not in our format.
    """
    require_inside(name)
    return _read_from_folder(model, name, most_bytes) if model.is_dir() else _read_from_zip(model, name, most_bytes)


def has_entry(model: Path, name: str) -> bool:
    """Whether a model (folder or zip) holds a file of this name; False if it cannot be read."""
    if model.is_dir():
        return (model / name).is_file()
    try:
        with zipfile.ZipFile(model) as archive:
            return name in archive.NameToInfo
    except ZIP_ERRORS:
        return False


def _read_from_folder(folder: Path, name: str, most_bytes: int) -> bytes:
    path = folder / name
    if not path.is_file():
        raise BundleError(f"{path}: missing; {_AGAIN}")
    try:
        _require_size(path.stat().st_size, most_bytes, str(path))
        with path.open("rb") as file:
            return file.read(most_bytes)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}); {_AGAIN}") from error


def _read_from_zip(path: Path, name: str, most_bytes: int) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            _require_plain(archive, path)
            if name not in archive.NameToInfo:
                raise BundleError(f"{path}: has no entry {name}; {_AGAIN}")
            _require_size(archive.NameToInfo[name].file_size, most_bytes, f"{path}: {name}")
            return archive.read(name)
    except ZIP_ERRORS as error:
        raise BundleError(
            f"{path}: is not a model archive, or is damaged ({error or 'it ends early'}); {_AGAIN}"
        ) from error


def _require_size(size: int, most_bytes: int, what: str) -> None:
    if size > most_bytes:
        raise BundleError(f"{what}: has {size:,} bytes, expected at most {most_bytes:,}; do not use this model")


def _require_plain(archive: zipfile.ZipFile, path: Path) -> None:
    """Raise unless all entries are uniquely named, stored files or folders inside the model and no larger than it."""
    entries = archive.infolist()
    for entry in entries:
        shown = f"{path}: the entry {ascii(entry.orig_filename)[:200]}"
        try:
            require_inside(entry.orig_filename.removesuffix("/"))
        except BundleError as error:
            raise BundleError(f"{path}: {error}") from error
        kind = stat.S_IFMT(entry.external_attr >> 16)  # the file mode, if a Unix program wrote the zip
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise BundleError(f"{shown} is a link or a device, expected a file; do not use this model")
        if entry.flag_bits & _ENCRYPTED:
            raise BundleError(f"{shown} is encrypted; ask for the model without a password")
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise BundleError(f"{shown} is compressed, expected stored; unzip it and run `mapping models pack` on it")
    # of two equal names, programs disagree on which one counts
    for name, times in Counter(entry.filename.casefold() for entry in entries).items():
        if times > 1:
            raise BundleError(f"{path}: has the entry {ascii(name)[:200]} twice; do not use this model")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise BundleError(f"{path}: its entries are larger than the file; {_AGAIN}")


def add_entry(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Store one entry reproducibly: the same content always gives the same bytes."""
    entry = zipfile.ZipInfo(name, _EPOCH)
    # Unix (3) and a fixed mode and date: otherwise the bytes depend on the machine
    entry.create_system, entry.external_attr = 3, (stat.S_IFREG | 0o644) << 16
    archive.writestr(entry, content, zipfile.ZIP_STORED)
