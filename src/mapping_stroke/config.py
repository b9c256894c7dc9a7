"""The settings of a run, kept in its `config.toml`: one section for each stage, written by that stage."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from mapping_stroke.errors import ConfigError
from mapping_stroke.files import write_text


def write_section(path: Path, section: str, settings: Mapping[str, object]) -> None:
    """Write one stage's settings; the other sections stay as they are.

    Args:
        path: The run's `config.toml`.
        section: Name of the stage.
        settings: Plain values; a setting of None is left out, since TOML has no null.
    """
    sections = read_sections(path)
    sections[section] = {name: value for name, value in settings.items() if value is not None}
    write_text(path, tomli_w.dumps(sections))


def read_sections(path: Path) -> dict[str, Any]:
    """All sections; empty where there is no file yet. Raises `ConfigError` where it is not TOML."""
    if not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not TOML ({error}); mend or delete it") from error
