"""Settings as the options of a command, for a job that runs it."""

import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any


def this_program() -> list[str]:
    """The start of a command line of `mapping` that works on every machine with this installation."""
    return [sys.executable, "-m", "mapping_stroke.cli"]


def as_options(settings: Any, default: Any) -> list[str]:
    """The options of a command that give these settings; those that equal the default are left out.

    Args:
        settings: A dataclass whose fields are options; fields that are dataclasses themselves are groups of options.
        default: The same dataclass, as it is without options.

    Returns:
        Options and values; paths are absolute, because a job may run in another folder.
    """
    given: list[str] = []
    for field in fields(settings):
        value, usual = getattr(settings, field.name), getattr(default, field.name)
        if value == usual:
            continue
        if is_dataclass(value):
            given += as_options(value, usual)
            continue
        words = () if value is True else value if isinstance(value, tuple) else (value,)
        given += [f"--{field.name.rstrip('_').replace('_', '-')}", *map(_word, words)]
    return given


def _word(value: object) -> str:
    return str(value.absolute() if isinstance(value, Path) else value)
