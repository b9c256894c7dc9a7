"""The command line: what it lists, and its exit statuses."""

import io
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from mapping_stroke import cli
from mapping_stroke.errors import CaseError, Stopped

STAGES = (
    "simulate", "experiment", "prepare", "folds", "train", "status", "predict", "postprocess", "evaluate", "report",
    "compare", "segment", "bids", "app", "grand-challenge", "models", "rank", "demo", "info",
)  # fmt: skip


def exit_status(arguments: Sequence[str]) -> object:
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    return stopped.value.code


def test_help_lists_the_commands_in_the_order_of_the_stages(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status(["--help"]) == 0
    words = capsys.readouterr().out.replace("│", " ").split()
    listed = list(dict.fromkeys(word for word in words if word in STAGES))
    assert listed == list(STAGES)
    assert listed == [cli.command_name(command) for command in cli.COMMANDS]


@pytest.mark.parametrize("command", [cli.command_name(command) for command in cli.COMMANDS])
def test_every_command_tells_what_it_does(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status([command, "--help"]) == 0
    assert f"mapping {command}" in capsys.readouterr().out


def test_an_unknown_command_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status(["segmnt"]) == 2
    assert "segmnt" in capsys.readouterr().err


def test_info_names_the_versions(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info"]) == 0
    assert "\ntorch: " in capsys.readouterr().out


def test_what_a_user_can_mend_is_one_line_and_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @dataclass(frozen=True)
    class Info:
        """Fail."""

        def run(self) -> int:
            raise CaseError("case 12: has no mask; add one")

    monkeypatch.setattr(cli, "COMMANDS", (*(command for command in cli.COMMANDS if command.__name__ != "Info"), Info))
    assert cli.main(["info"]) == 2
    captured = capsys.readouterr()
    assert captured.err == "mapping: case 12: has no mask; add one\n"
    assert captured.out == ""


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (CaseError("a\nb: is bad;\nmend it"), 2, "mapping: a b: is bad; mend it\n"),
        (
            PermissionError(13, "Permission denied", "x"),
            2,
            "mapping: x: Permission denied; check the path and its permis",
        ),
        (OSError(36, "File name too long", "x"), 2, "mapping: x: File name too long; give it a shorter name\n"),
        (OSError(5, "Input/output error", "x"), 1, "mapping: x: Input/output error; check the disk or network drive"),
        (OSError(28, "No space left on device", "x"), 1, "mapping: x: No space left on device; fix the problem and"),
    ],
)
def test_what_the_system_refuses_is_one_line(
    error: Exception, status: int, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @dataclass(frozen=True)
    class Info:
        """Fail."""

        def run(self) -> int:
            raise error

    monkeypatch.setattr(cli, "COMMANDS", (*(command for command in cli.COMMANDS if command.__name__ != "Info"), Info))
    assert cli.main(["info"]) == status
    told = capsys.readouterr().err
    assert told.startswith(line)
    assert told.count("\n") == 1


def test_being_asked_to_stop_is_status_75(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    @dataclass(frozen=True)
    class Info:
        """Be stopped."""

        def run(self) -> int:
            raise Stopped("stopped by SIGTERM; all work is saved; run it again")

    monkeypatch.setattr(cli, "COMMANDS", (*(command for command in cli.COMMANDS if command.__name__ != "Info"), Info))
    assert cli.main(["info"]) == 75
    assert capsys.readouterr().err == "mapping: stopped by SIGTERM; all work is saved; run it again\n"


def test_an_interruption_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    @dataclass(frozen=True)
    class Info:
        """Be interrupted."""

        def run(self) -> int:
            raise KeyboardInterrupt

    monkeypatch.setattr(cli, "COMMANDS", (*(command for command in cli.COMMANDS if command.__name__ != "Info"), Info))
    assert cli.main(["info"]) == 1
    assert "rerun the command to resume" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["stdout", "stderr"])
@pytest.mark.parametrize(
    ("errors", "shown"),
    [("strict", b"? ?"), ("backslashreplace", rb"\u2192 \udcff"), ("surrogateescape", b"\xff")],
)
def test_only_where_python_would_fail_a_character_becomes_a_question_mark(
    name: str, errors: str, shown: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclass(frozen=True)
    class Info:
        """Tell a name that is no UTF-8, and what ASCII lacks where that can be shown."""

        def run(self) -> int:
            getattr(sys, name).write("\udcff" if errors == "surrogateescape" else "\u2192 \udcff")
            return 0

    monkeypatch.setattr(cli, "COMMANDS", (*(command for command in cli.COMMANDS if command.__name__ != "Info"), Info))
    shows = io.BytesIO()
    monkeypatch.setattr(sys, name, io.TextIOWrapper(shows, "ascii", errors, write_through=True))
    assert cli.main(["info"]) == 0
    assert shows.getvalue() == shown


def test_a_reader_that_leaves_early_gets_no_traceback() -> None:
    command = f"{shlex.quote(sys.executable)} -m mapping_stroke.cli segment --help | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("usage: mapping segment")
    assert done.stderr == ""


CLOSED = "0<&- 1>&- 2>&-"


@pytest.mark.parametrize(
    ("arguments", "closed", "status"),
    [
        ("rank --help", "1>&-", 0),
        ("rank --help", CLOSED, 0),
        ("rank nowhere -o nowhere", "1>&-", 2),
        ("rank nowhere -o nowhere", CLOSED, 2),
        ("rank --nonsense", "2>&-", 2),
        ("rank --help", ">/dev/full", 1),
        ("rank nowhere -o nowhere", "2>/dev/full", 2),
    ],
)
def test_output_that_goes_nowhere_changes_no_status_and_leaves_no_traceback(
    arguments: str, closed: str, status: int
) -> None:
    command = ["sh", "-c", f'exec "$0" -m mapping_stroke.cli {arguments} {closed}', sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("stream", "arguments", "status"), [("stdout", "rank --help", 1), ("stderr", "rank no -o no", 2)]
)
def test_a_reader_that_has_left_gets_no_traceback(stream: str, arguments: str, status: int) -> None:
    """As `head` does."""
    reader, writer = os.pipe()
    os.close(reader)
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: writer}
    command = [sys.executable, "-m", "mapping_stroke.cli", *arguments.split()]
    done = subprocess.run(command, **streams, text=True, check=False)  # type: ignore[call-overload]
    os.close(writer)
    assert done.returncode == status
    assert "Traceback" not in (done.stdout or "") + (done.stderr or "")


def test_no_file_takes_the_number_of_a_closed_stream() -> None:
    """A library that prints would write into it."""
    program = "import os; from mapping_stroke.cli import main; main(['info']); os._exit(os.open(os.devnull, 0))"
    done = subprocess.run(["sh", "-c", f'exec "$0" -c "{program}" {CLOSED}', sys.executable], check=False)
    assert done.returncode > 2
