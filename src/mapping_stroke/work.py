"""One loop over cases for all commands: a case that fails does not stop the others, and failures are collected."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from mapping_stroke.console import progress, warn
from mapping_stroke.errors import SCAN_FAILURES, CaseError, ConfigError, describe_failure, stops_all

T = TypeVar("T")
ShowShare = Callable[[float], None]
"""Called with the share of a case that is done."""

SOME_FAILED = 3
"""Exit status of a command if some cases failed; the others are done."""
STOPPED = 75
"""Exit status of a command that was asked to stop; its message says how to resume (sysexits.h: try again)."""


@dataclass(frozen=True)
class StageResult:
    """Outputs and failures of a stage.

    Attributes:
        outputs: The main files or folders that were written.
        failed: Reason why each case, member or mask failed, by its name; empty if none did.
    """

    outputs: tuple[Path, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        """The exit status of a command that runs only this stage."""
        return SOME_FAILED if self.failed else 0

    def __add__(self, other: "StageResult") -> "StageResult":
        return StageResult((*self.outputs, *other.outputs), {**self.failed, **other.failed})


def slice_of_shard(shard: str) -> slice:
    """The slice that selects a share, `i/N` or empty for all, from any ordered list.

    Raises:
        ConfigError: It is no `i/N` with 1 <= i <= N.
    """
    if not shard:
        return slice(None)
    found = re.fullmatch(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})", shard)
    if not found or int(found[1]) > int(found[2]):
        raise ConfigError(f"--shard {shard}: expected i/N with 1 <= i <= N, such as 2/8")
    return slice(int(found[1]) - 1, None, int(found[2]))


def for_each_case(
    cases: Mapping[str, T],
    doing: str,
    work: Callable[[T, ShowShare], object],
    file_of: Callable[[T], Path | None] = lambda _: None,
) -> dict[str, str]:
    """Do the same work on each case and show progress. A case that fails is reported and does not stop the others.

    Args:
        cases: The cases by name, in order.
        doing: Label of the progress, such as `Predicting`.
        work: Called with a case, and a function that long work calls with the share that is done.
        file_of: The file by which a case is reported; None for its name.

    Returns:
        Reason why each failed case failed, by name; empty if none did.

    Raises:
        CaseError: There is only one case, and it failed.
        OSError: The next case would fail in the same way, see `stops_all`.
    """
    failed: dict[str, str] = {}
    with progress(doing, len(cases)) as show:
        for number, (name, case) in enumerate(cases.items()):
            one = partial(work, case, partial(show_share, show, name, number))
            _, why = attempt(one, name, file_of(case), alone=len(cases) == 1)
            if why:
                failed[name] = why
            show(number + 1, name)
    return failed


def attempt(
    work: Callable[[], T],
    name: str,
    file: Path | None,
    *,
    alone: bool,
    note: Callable[[str], None] = lambda why: None,
) -> tuple[T | None, str]:
    """Do the work on one case. If it fails, print a warning.

    Args:
        work: The work.
        name: Name of the case.
        file: The file by which the case is reported; None for its name.
        alone: Whether it is the only case.
        note: Receives the reason of a failure, before it is reported or raised.

    Returns:
        The result, or None if the work failed; and the reason of the failure, empty if there was none.

    Raises:
        CaseError: The only case failed.
        OSError: The next case would fail in the same way, see `stops_all`.
    """
    try:
        return work(), ""
    except SCAN_FAILURES as error:
        if stops_all(error):
            raise
        why = describe_failure(error, file)
        note(why)
        if alone:
            raise CaseError(f"{file or name}: {why}") from error
        warn(f"{file or name}: {why}")
        return None, why


def summed(show: Callable[[float], None]) -> Callable[[float], None]:
    """A callback that adds up its arguments and shows the sum."""
    done = 0.0

    def advance(share: float) -> None:
        nonlocal done
        done += share
        show(done)

    return advance


def show_share(show: Callable[[float, str], None], name: str, number: int, share: float) -> None:
    """Show the share of a case that is done, on top of the cases before it."""
    show(number + share, name)
