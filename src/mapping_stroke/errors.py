"""What can go wrong that a user can mend: each error says the file, what was found, what was expected, the remedy."""

import errno
from pathlib import Path


class MappingError(Exception):
    """Base of all errors that the command line prints as one line, with exit status 2."""


class ConfigError(MappingError):
    """A setting is outside its range or contradicts another."""


class FileError(MappingError, ValueError):
    """A file cannot be read, or does not hold what it should."""


class ImageError(MappingError):
    """An image file cannot be read, or its voxels cannot be used."""


class LostContentError(ImageError):
    """Links lead to files that are not here, as if DataLad has dropped their content."""


class GeometryError(MappingError):
    """Two arrays that must lie on one grid do not."""


class RegistrationError(MappingError):
    """A scan could not be brought to the template: what was found instead would mislead."""


class CaseError(MappingError):
    """A data set, or a table of its cases, is not what it should be."""


class FoldsError(MappingError):
    """A fold assignment cannot be made or does not fit its cases."""


class ScoreError(MappingError):
    """Scores are missing or cannot be compared."""


class RunFolderError(MappingError):
    """A run folder holds something else than what is asked for, or lacks what a stage needs."""


class BundleError(MappingError):
    """A trained model is missing, damaged, or of an unknown format."""


class ResourceError(MappingError):
    """Memory or disk do not suffice; nothing was begun."""


class TrainingError(MappingError):
    """Training cannot start or cannot go on."""


class Stopped(KeyboardInterrupt):
    """The user or the system asked this process to stop; says what is kept and what to do; exit status 75."""


PATH_ERRORS = (FileExistsError, FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)
"""What the system says about one path that the user can mend; any other such error, as of a full disk, is a failure."""

SCAN_FAILURES = (MappingError, MemoryError, RuntimeError, ValueError, ArithmeticError, LookupError, OSError)
"""What ends one scan, not the run, unless it `stops_all`; an engine raises `RuntimeError` if a GPU's memory is full."""

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""What the system says of a disk on which nothing more can be written."""

REMEDIES = {
    errno.ENAMETOOLONG: "give it a shorter name",
    errno.EIO: "check the disk or network drive, then run the same command again",
    errno.ESTALE: "check the network drive, then run the same command again",
}
"""For errors of the system that do not tell by themselves what to do."""


def stops_all(error: Exception) -> bool:
    """Whether the next scan would fail likewise: the disk is full, or nobody listens any more."""
    return isinstance(error, BrokenPipeError) or (isinstance(error, OSError) and error.errno in FULL_DISK)


def describe_failure(error: Exception, file: Path | None = None) -> str:
    """Why a scan failed, in one line, with the kind of the error where it is none of ours.

    Args:
        error: What was raised.
        file: What the line will stand behind, and so is left out of it.
    """
    told = str(error).removeprefix(f"{file}: ") if file else str(error)
    why = " ".join(told.split())
    if isinstance(error, MappingError):
        return why
    if isinstance(error, MemoryError):
        why = why or "out of memory; close other programs"
    remedy = REMEDIES.get(error.errno or 0, "") if isinstance(error, OSError) else ""
    return f"{type(error).__name__}: {why[:200]}".removesuffix(": ") + (f"; {remedy}" if remedy else "")
