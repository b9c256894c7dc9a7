"""What is wrong with a case: what was found, what was expected, and what to do about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mapping_stroke.errors import MappingError
from mapping_stroke.files import read_csv, write_csv

Severity = Literal["error", "warning"]
SEVERITIES: dict[str, Severity] = {"error": "error", "warning": "warning"}

COLUMNS = ("severity", "case_id", "file", "found", "expected", "remedy")
"""Of `problems.csv`."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with one case.

    Attributes:
        severity: A case with an `error` cannot be used; with a `warning` it can.
        case_id: Empty where a file belongs to no case.
        file: The file to look at.
        found: What is there.
        expected: What should be there; empty where `found` says it.
        remedy: What to do.
    """

    severity: Severity
    case_id: str
    file: Path
    found: str
    expected: str
    remedy: str

    @property
    def line(self) -> str:
        """The problem in one line."""
        expected = f", expected {self.expected}" if self.expected else ""
        who = f"{self.case_id}: " if self.case_id else ""
        return f"{who}{self.found}{expected}; {self.remedy} ({self.file})"


def problem_from(error: MappingError, case_id: str, file: Path) -> Problem:
    """The problem that an error tells, whose text reads `FILE: what was found, expected what; remedy`."""
    told, _, remedy = str(error).removeprefix(f"{file}: ").rpartition("; ")
    found, _, expected = told.partition(", expected ")
    return Problem("error", case_id, file, found, expected, remedy)


def write_problems(path: Path, problems: Sequence[Problem]) -> None:
    """Write `problems.csv`, one row per problem; no rows where all is well."""
    write_csv(path, COLUMNS, ({name: getattr(problem, name) for name in COLUMNS} for problem in problems))


def read_problems(path: Path) -> list[Problem]:
    """Read what `write_problems` wrote."""
    return [
        Problem(
            SEVERITIES[row["severity"]],
            row["case_id"],
            Path(row["file"]),
            row["found"],
            row["expected"],
            row["remedy"],
        )
        for row in read_csv(path)
    ]
