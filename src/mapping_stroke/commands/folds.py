"""`mapping folds`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True)
class Folds:
    """Split the labelled cases into folds with near-equal distributions of lesion load."""

    run_folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Run folder, as written by `mapping prepare`."""
    number: int = 5
    """Folds to make."""
    seed: int = 0
    """The same seed gives the same folds."""
    group_by: Literal["subject", "site"] = "subject"
    """What stays whole in one fold: all scans of a person, or all of a site."""
    folds: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Take this assignment instead: CSV with case_id,fold, or the authors' Name,Fold."""

    def run(self) -> int:
        """Write the folds and return the exit status."""
        from mapping_stroke.experiment.folds import folds_run
        from mapping_stroke.run_folder import RunFolder

        return folds_run(RunFolder(self.run_folder), self.number, self.seed, self.group_by, self.folds)
