"""A benchmark as a command: its fields are its options, and its report is printed and may be written to a file."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from mapping_stroke.console import name_files, say
from mapping_stroke.errors import ConfigError
from mapping_stroke.files import write_text


@dataclass(frozen=True)
class Benchmark(ABC):
    """Base of all benchmarks."""

    output: Annotated[Path | None, arg(aliases=["-o"])] = field(default=None, kw_only=True)
    """Also write the result as Markdown."""

    @abstractmethod
    def report(self) -> str:
        """Measure, and return the result as Markdown."""

    def run(self) -> int:
        """Print the report, and write it if a file is given."""
        text = self.report()
        say(text)
        if self.output is not None:
            write_text(self.output, text)
            name_files("Result", self.output)
        return 0


def require_at_least(option: str, number: int, least: int = 1) -> None:
    """Raise `ConfigError` if the number of an option is too small."""
    if number < least:
        raise ConfigError(f"{option} must be {least} or more, got {number}")
