"""Why a scan failed, in one line."""

import errno
from pathlib import Path

import pytest

from mapping_stroke.errors import CaseError, describe_failure, stops_all


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (CaseError("p0.nii: is empty;\nexport it again"), "is empty; export it again"),
        (CaseError("p1.nii: is empty"), "p1.nii: is empty"),
        (MemoryError(), "MemoryError: out of memory; close other programs"),
        (MemoryError("no room for 9 GB"), "MemoryError: no room for 9 GB"),
        (IndexError(), "IndexError"),
        (OSError(), "OSError"),
        (
            OSError(errno.EIO, "Input/output error", "p1.nii"),
            "OSError: [Errno 5] Input/output error: 'p1.nii'; check the disk or network drive, then rerun the command",
        ),
        (
            OSError(errno.ENAMETOOLONG, "File name too long", "p" * 300),
            f"OSError: [Errno 36] File name too long: '{'p' * 168}; give it a shorter name",
        ),
        (ValueError("p0.nii: " + "far " * 100), f"ValueError: {'far ' * 50}"),
    ],
)
def test_a_failure_is_one_line_without_the_name_that_stands_before(error: Exception, told: str) -> None:
    assert describe_failure(error, Path("p0.nii")) == told


def test_without_a_name_before_it_a_failure_names_its_file() -> None:
    assert describe_failure(CaseError("p0.nii: is empty")) == "p0.nii: is empty"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_disk_that_takes_nothing_more_stops_all(number: int) -> None:
    assert stops_all(OSError(number, "no room"))


@pytest.mark.parametrize("error", [OSError(errno.EIO, "bad"), PermissionError(errno.EACCES, "no"), ValueError("bad")])
def test_what_ails_one_file_stops_no_other(error: Exception) -> None:
    assert not stops_all(error)


def test_nobody_who_listens_stops_all() -> None:
    assert stops_all(BrokenPipeError(errno.EPIPE, "left"))
