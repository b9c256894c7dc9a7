"""Errors the user can fix. Each message names the file, the finding, the expectation and the remedy."""

import errno
from pathlib import Path


class MappingError(Exception):
    """Base of all errors that the command line prints as one line, with exit status 2."""


class ConfigError(MappingError):
    """A setting is outside its range or contradicts another."""


class FileError(MappingError, ValueError):
    """A file cannot be read, or has unexpected contents."""


class ImageError(MappingError):
    """An image file cannot be read, or its voxels are unusable."""


class LostContentError(ImageError):
    """Links point to files that are missing here, for example because DataLad dropped their content."""


class GeometryError(MappingError):
    """Two arrays are not on the same grid as expected."""


class RegistrationError(MappingError):
    """A scan could not be registered to the template, so the result would be misleading."""


class CaseError(MappingError):
    """A data set, or a table of its cases, is invalid."""


class FoldsError(MappingError):
    """A fold assignment cannot be made or does not fit its cases."""


class ScoreError(MappingError):
    """Scores are missing or cannot be compared."""


class RunFolderError(MappingError):
    """A run folder holds different work than requested, or lacks the input of a stage."""


class BundleError(MappingError):
    """A trained model is missing, damaged, or of an unknown format."""


class ResourceError(MappingError):
    """There is not enough memory or disk space. Nothing was started."""


class TrainingError(MappingError):
    """Training cannot start or continue."""


class Stopped(KeyboardInterrupt):
    """The user or the system asked this process to stop. The message names the work that is kept, and the remedy."""


PATH_ERRORS = (FileExistsError, FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)
"""System errors about one path, which the user can fix. Any other system error, such as a full disk, is a failure."""

SCAN_FAILURES = (MappingError, MemoryError, RuntimeError, ValueError, ArithmeticError, LookupError, OSError)
"""Errors that end one scan but not the run, unless `stops_all` is true. Full GPU memory is a `RuntimeError`."""

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""System errors of a disk that cannot be written to."""

REMEDIES = {
    errno.ENAMETOOLONG: "give it a shorter name",
    errno.EIO: "check the disk or network drive, then rerun the command",
    errno.ESTALE: "check the network drive, then rerun the command",
}
"""Remedies for system errors that do not explain themselves."""


def stops_all(error: Exception) -> bool:
    """Whether the next scan would fail in the same way: the disk is full, or the reader of the output is gone."""
    return isinstance(error, BrokenPipeError) or (isinstance(error, OSError) and error.errno in FULL_DISK)


def describe_failure(error: Exception, file: Path | None = None) -> str:
    """The reason for a failure in one line. Errors from other libraries are preceded by their type.

    Args:
        error: The exception.
        file: File that the caller puts in front of the line; it is not repeated.
    """
    # the caller names the file already
    message = str(error).removeprefix(f"{file}: ") if file else str(error)
    why = " ".join(message.split())
    if isinstance(error, MappingError):
        return why
    if isinstance(error, MemoryError):
        why = why or "out of memory; close other programs"
    remedy = REMEDIES.get(error.errno or 0, "") if isinstance(error, OSError) else ""
    return f"{type(error).__name__}: {why[:200]}".removesuffix(": ") + (f"; {remedy}" if remedy else "")
