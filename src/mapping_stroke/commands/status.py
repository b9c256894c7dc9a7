"""`mapping status`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from mapping_stroke.experiment.status import MemberStatus

HEADER = ("Scheme", "Fold", "State", "Epoch", "Best Dice", "Last sign of life", "Time left")


@dataclass(frozen=True)
class Status:
    """Tell how far the training of every member is. Only reads; works while the training runs elsewhere."""

    run_folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Run folder with folds, as written by `mapping folds`."""

    def run(self) -> int:
        """Print the table."""
        from collections import Counter

        from mapping_stroke.console import aligned, say
        from mapping_stroke.experiment.status import run_status
        from mapping_stroke.run_folder import RunFolder

        members = run_status(RunFolder(self.run_folder))
        for line in aligned([HEADER, *map(_row, members)]):
            say(line)
        for one in members:
            if one.why:
                say(f"{one.scheme}, fold {one.fold}, failed: {one.why}")
        counts = Counter(one.state for one in members)
        say(f"{len(members)} members: " + ", ".join(f"{number} {state}" for state, number in counts.items()))
        return 0


def _row(one: "MemberStatus") -> tuple[str, ...]:
    from mapping_stroke.console import duration

    return (
        one.scheme,
        str(one.fold),
        one.state,
        f"{one.epochs_done}/{'?' if one.epochs is None else one.epochs}",
        "" if one.best_dice is None else f"{one.best_dice:.3f}",
        "" if one.silent_s is None else f"{duration(one.silent_s)} ago",
        "" if one.seconds_left is None else duration(one.seconds_left),
    )
