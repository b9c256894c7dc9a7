"""`mapping report`."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional


@dataclass(frozen=True)
class Report:
    """Write the page of a run: the paper's table and figures, learning curves, settings and versions."""

    run_folder: Positional[Path]
    """Run folder in which `mapping evaluate` has finished."""

    def run(self) -> int:
        """Draw, write and name the page."""
        from mapping_stroke.experiment.report import report_run
        from mapping_stroke.run_folder import RunFolder

        report_run(RunFolder(self.run_folder))
        return 0
