"""The command `mapping`: parse, call, print, and turn what a user can mend into one line and exit status 2."""

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
    Evaluate,
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
from mapping_stroke.commands.segment import Bids, GrandChallenge, Segment
from mapping_stroke.errors import PATH_ERRORS, REMEDIES, MappingError, Stopped


@runtime_checkable
class Command(Protocol):
    """What every command offers."""

    def run(self) -> int:
        """Do it and return the exit status: 0 done, 3 some cases failed."""


COMMANDS: tuple[type[Command], ...] = (
    Simulate,
    Prepare,
    Folds,
    Train,
    Status,
    Predict,
    Postprocess,
    Evaluate,
    Report,
    Segment,
    Bids,
    GrandChallenge,
    Models,
    Rank,
    Demo,
    Info,
)
"""In the order of the pipeline's stages, then what stands beside them; `mapping --help` lists them so."""

STOPPED = 75
"""Exit status of a command that was asked to stop: what it says tells how to go on (sysexits.h: try again)."""

DESCRIPTION = "Find stroke lesions on T1-weighted brain MRI (MAPPING: model average with post-processing)."


@dataclass(frozen=True)
class Program:
    """A program of several commands."""

    name: str
    description: str
    commands: tuple[type[Command], ...] | None = None
    """None for `COMMANDS`."""


MAPPING = Program("mapping", DESCRIPTION)


def main(arguments: Sequence[str] | None = None, program: Program = MAPPING) -> int:
    """Run one command of a program and return its exit status.

    0 done, 1 failed, 2 wrong usage or input, 3 some cases failed, 75 stopped when asked to, with all saved.
    """
    _open_what_is_closed()
    _replace_what_cannot_be_shown()
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)  # our warnings name the file, its lines do not
    try:
        try:
            return _run(arguments, program)
        finally:
            sys.stdout.flush()
    except OSError as error:
        _discard(sys.stdout)
        if not isinstance(error, BrokenPipeError):  # else whoever read the output, such as `head`, has left
            _tell(f"the output: {error.strerror or error}; mend that and run the same command again")
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
        _tell(str(error))
        return 2
    except BrokenPipeError:
        raise
    except OSError as error:
        wrong_path = isinstance(error, PATH_ERRORS) or error.errno == errno.ENAMETOOLONG
        usual = "check the path and its permissions" if wrong_path else "mend that and run the same command again"
        remedy = REMEDIES.get(error.errno or 0, usual)
        _tell(f"{error.filename or 'the system'}: {error.strerror or error}; {remedy}")
        return 2 if wrong_path else 1
    except Stopped as stopped:
        _tell(str(stopped))
        return STOPPED
    except KeyboardInterrupt:
        _tell("interrupted; run the same command again to go on")
        return 1


def command_name(command: type) -> str:
    """What one types for a command: `GrandChallenge` is `grand-challenge`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", command.__name__).lower()


def _replace_what_cannot_be_shown() -> None:
    """Let a character that the output's encoding lacks, such as an arrow in latin-1, become `?`, not a traceback.

    Where Python has a way for such characters already, as on standard error, it stays: names of files stay legible.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")


def _open_what_is_closed() -> None:
    """Let output go nowhere if the caller has closed it, as `>&-` does.

    Otherwise the next file that is opened takes the stream's number, and gets what a library prints.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # noqa: FBT003 - of this number, the lowest
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - no path
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - no path


def _discard(stream: TextIO) -> None:
    """Let what Python still holds for a stream go nowhere: writing it at the end would fail once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _tell(text: str) -> None:
    """One line, even where a file name or a reader's complaint has several; the status stands if nobody reads it."""
    try:
        sys.stderr.write(f"mapping: {' '.join(text.splitlines())}\n")
    except OSError:
        _discard(sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
