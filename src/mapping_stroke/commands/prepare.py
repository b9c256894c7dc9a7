"""`mapping prepare`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True)
class Prepare:
    """Find the scans and masks of a data set, check every case, and start a run folder with the table of cases."""

    data: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DATA")]
    """Folder of the data set: ATLAS R2.0, ATLAS v3 or any BIDS folder, or a plain folder of scans."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="RUN")]
    """Run folder to write; the same data resumes it."""
    layout: Literal["auto", "atlas", "bids", "plain"] = "auto"
    """How the folder is laid out; `auto` finds out and says which."""
    scans: Annotated[str | None, tyro.conf.arg(metavar="PATTERN")] = None
    """Plain folder: name pattern of the scans, such as '*_T1w.nii.gz' or '*/T1.nii.gz'; `*` stands for the case id."""
    masks: Annotated[str | None, tyro.conf.arg(metavar="PATTERN")] = None
    """Plain folder: name pattern of the masks, such as '{id}_lesion.nii.gz', beside the scan or from DATA on."""
    exclude_bad: bool = False
    """Leave cases with problems out (exit status 3) instead of stopping."""
    overwrite: bool = False
    """Remove another run that the run folder holds."""

    def run(self) -> int:
        """Check, write, and return the exit status."""
        from mapping_stroke.experiment.prepare import Naming, prepare_run
        from mapping_stroke.run_folder import RunFolder

        naming = Naming(self.layout, self.scans, self.masks)
        return prepare_run(
            self.data, RunFolder(self.output), naming, exclude_bad=self.exclude_bad, overwrite=self.overwrite
        )
