"""What users have come to rely on stays: commands, options, exit statuses and the names of the package."""

import errno
import json
import re
from dataclasses import fields
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

import mapping_stroke
from mapping_stroke import cli
from mapping_stroke.commands.demo import Info
from mapping_stroke.errors import MappingError, Stopped
from mapping_stroke.work import StageResult

GOLDEN = json.loads((Path(__file__).parent / "public_names.json").read_text(encoding="utf-8"))
"""As of version 0.1.0; `bench` has since become `python -m benchmarks`, and `models train --branch` and `--beside` went
with the recipe of a former bundled model. Names may be added, none may go."""


def calls() -> dict[str, type]:
    """Every command, or each of its actions, by what a user types."""
    found: dict[str, type] = {}
    for command in cli.COMMANDS:
        name, actions = cli.command_name(command), get_args(get_type_hints(command).get("action"))
        found |= {f"{name} {cli.command_name(action)}": action for action in actions} or {name: command}
    return found


def options(call: str, capsys: pytest.CaptureFixture[str]) -> set[str]:
    """The options that the help of a command lists, other names of the same one included."""
    with pytest.raises(SystemExit):
        cli.main([*call.split(), "--help"])
    listed = re.findall(r"^(?:│ |  )(-.*?)(?:  |$)", capsys.readouterr().out, re.MULTILINE)
    return {option for line in listed for option in re.findall(r"(?:^|, )(--?[a-z][a-z-]*)", line)}


def test_no_command_is_gone() -> None:
    assert set(GOLDEN["commands"]) <= set(calls())


@pytest.mark.parametrize("call", GOLDEN["commands"])
def test_no_option_is_gone(call: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert set(GOLDEN["commands"][call]) - options(call, capsys) == set()


def test_the_package_offers_the_same_names() -> None:
    assert mapping_stroke.__all__ == GOLDEN["package"]


@pytest.mark.parametrize("name", GOLDEN["attributes"])
def test_no_attribute_is_gone(name: str) -> None:
    public = getattr(mapping_stroke, name)
    assert set(GOLDEN["attributes"][name]) <= {*dir(public), *(field.name for field in fields(public))}


def ends(what: str) -> int:
    """Let a command end in one of the ways that have a status."""
    errors: dict[str, BaseException] = {
        "failed": OSError(errno.ENOSPC, "no space left"),
        "unusable": MappingError("nothing to do"),
        "stopped": Stopped("stopped by SIGTERM"),
    }
    if what in errors:
        raise errors[what]
    return StageResult(failed={"a": "no brain"} if what == "some cases failed" else {}).status


@pytest.mark.parametrize("what", GOLDEN["statuses"])
def test_an_end_has_the_same_status(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Info, "run", lambda _: ends(what))
    assert cli.main(["info"]) == GOLDEN["statuses"][what]
