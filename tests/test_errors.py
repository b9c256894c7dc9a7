"""Why a scan failed, in one line."""

from pathlib import Path

import pytest

from mapping_stroke.errors import CaseError, describe_failure


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (CaseError("p0.nii: is empty;\nexport it again"), "is empty; export it again"),
        (CaseError("p1.nii: is empty"), "p1.nii: is empty"),
        (MemoryError(), "MemoryError: out of memory; close other programs"),
        (MemoryError("no room for 9 GB"), "MemoryError: no room for 9 GB"),
        (IndexError(), "IndexError"),
        (ValueError("p0.nii: " + "far " * 100), f"ValueError: {'far ' * 50}"),
    ],
)
def test_a_failure_is_one_line_without_the_name_that_stands_before(error: Exception, told: str) -> None:
    assert describe_failure(error, Path("p0.nii")) == told


def test_without_a_name_before_it_a_failure_names_its_file() -> None:
    assert describe_failure(CaseError("p0.nii: is empty")) == "p0.nii: is empty"
