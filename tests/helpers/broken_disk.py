"""A disk on which one file cannot be looked at, as a network drive that went away leaves it."""

import os
from pathlib import Path
from typing import Any

import pytest


def fail_to_look_at(start: str, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let `Path.stat`, and all that rests on it, raise an error of the system for files whose names start so."""
    real = Path.stat

    def stat(path: Path, **options: Any) -> os.stat_result:
        if path.name.startswith(start):
            raise OSError(number, os.strerror(number), str(path))
        return real(path, **options)

    monkeypatch.setattr(Path, "stat", stat)


def fail_to_look_into(name: str, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let listing a folder of that name raise an error of the system."""
    real = os.scandir

    def scandir(folder: Any) -> Any:
        if Path(folder).name == name:
            raise OSError(number, os.strerror(number), str(folder))
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
