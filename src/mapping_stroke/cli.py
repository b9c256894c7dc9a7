"""The command `mapping`: parses arguments, runs a command, and prints errors the user can fix as one line."""

import errno
import io
import logging
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TextIO, runtime_checkable

import tyro

from mapping_stroke.commands.demo import Demo, Info, Simulate
from mapping_stroke.commands.experiment import (
    Compare,
    Evaluate,
    Experiment,
    Folds,
    Postprocess,
    Predict,
    Prepare,
    Rank,
    Report,
    Status,
    Train,
)
from mapping_stroke.commands.models import Models
from mapping_stroke.commands.segment import App, Bids, GrandChallenge, Segment
from mapping_stroke.errors import PATH_ERRORS, REMEDIES, MappingError, Stopped
from mapping_stroke.work import STOPPED


@runtime_checkable
class Command(Protocol):
    """The interface of every command."""

    def run(self) -> int:
        """Run the command and return the exit status: 0 done, 3 some cases failed."""


COMMANDS: tuple[type[Command], ...] = (
    Simulate,
    Experiment,
    Prepare,
    Folds,
    Train,
    Status,
    Predict,
    Postprocess,
    Evaluate,
    Report,
    Compare,
    Segment,
    Bids,
    App,
    GrandChallenge,
    Models,
    Rank,
    Demo,
    Info,
)
"""The stages of the pipeline in order, then the other commands; `mapping --help` lists them in this order."""

DESCRIPTION = "Find stroke lesions on T1-weighted brain MRI (MAPPING: model average with post-processing)."


@dataclass(frozen=True)
class Program:
    """A program with several commands."""

    name: str
    description: str
    commands: tuple[type[Command], ...] | None = None
    """None for `COMMANDS`."""


MAPPING = Program("mapping", DESCRIPTION)


def main(arguments: Sequence[str] | None = None, program: Program = MAPPING) -> int:
    """Run one command of a program and return its exit status.

    0 done, 1 failed, 2 wrong usage or input, 3 some cases failed, 75 stopped on request with all work saved.
    """
    _reopen_closed_streams()
    _replace_unprintable()
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)  # our own warnings also name the file
    try:
        try:
            return _run(arguments, program)
        finally:
            sys.stdout.flush()  # here, so that a full disk or a closed pipe is reported
    except OSError as error:
        _discard(sys.stdout)
        if not isinstance(error, BrokenPipeError):  # otherwise the reader, such as `head`, has finished
            _print_error(f"the output: {error.strerror or error}; fix the problem and rerun the command")
        return 1


def _run(arguments: Sequence[str] | None, program: Program) -> int:
    commands = COMMANDS if program.commands is None else program.commands
    try:
        command = tyro.extras.subcommand_cli_from_dict(
            {command_name(command): command for command in commands},
            prog=program.name,
            description=program.description,
            args=arguments,
            config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
        )
        return command.run()
    except MappingError as error:
        _print_error(str(error))
        return 2
    except BrokenPipeError:
        raise
    except OSError as error:
        wrong_path = isinstance(error, PATH_ERRORS) or error.errno == errno.ENAMETOOLONG
        usual = "check the path and its permissions" if wrong_path else "fix the problem and rerun the command"
        remedy = REMEDIES.get(error.errno or 0, usual)
        _print_error(f"{error.filename or 'the system'}: {error.strerror or error}; {remedy}")
        return 2 if wrong_path else 1
    except Stopped as stopped:
        _print_error(str(stopped))
        return STOPPED
    except KeyboardInterrupt:
        _print_error("interrupted; rerun the command to resume")
        return 1


def command_name(command: type) -> str:
    """The name of a command on the command line: `GrandChallenge` is `grand-challenge`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", command.__name__).lower()


def _replace_unprintable() -> None:
    """Print `?` for characters that the output's encoding lacks, such as an arrow in latin-1, instead of failing.

    If Python already has a replacement, as on standard error, it is kept, so that file names stay legible.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")


def _reopen_closed_streams() -> None:
    """Discard output if the caller has closed the stream, as `>&-` does.

    Otherwise the next file that is opened would take the stream's number and receive the output of libraries.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # noqa: FBT003 - of this number, the lowest
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - no path
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - no path


def _discard(stream: TextIO) -> None:
    """Discard the buffered output of a stream: writing it at exit would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _print_error(text: str) -> None:
    """Print one line, even if a file name or message has several. The exit status does not depend on the reader."""
    try:
        sys.stderr.write(f"mapping: {' '.join(text.splitlines())}\n")
    except OSError:
        _discard(sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
