"""`mapping simulate`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class Simulate:
    """Write a cohort of simulated strokes in the layout of ATLAS R2.0, to try things on without patient data.

    The first subjects of a larger cohort are those of a smaller one of the same seed: run it again with more to add.
    """

    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """Folder to write: Training/ with masks; Testing/ without, its true masks in Testing_reference/."""
    subjects: int
    """Training cases."""
    seed: int
    """Number that decides everything."""
    lesions: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of real lesion masks in MNI space, on any grid; without it lesions are drawn."""
    brains: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of real healthy *_T1w.nii.gz: skull-stripped in MNI space, perhaps with *_tissues.nii.gz (1 CSF, 2 grey,
    3 white), or as they come from the scanner, which are then placed and stripped; without it the ICBM152 template is
    used. Scans whose names agree up to the first _ are of one person."""
    rescans: Annotated[tuple[str, ...], tyro.conf.arg(metavar="A=B")] = ()
    """People who are in --brains under two names, such as 1003=1023: all their cases become one subject."""
    unlabelled: int = 0
    """Scans without masks in Testing/, of other people than the training cases."""
    licence: str = ""
    """Origin and licence of --brains and --lesions, for dataset_description.json."""
    overwrite: bool = False
    """Remove what another run has left in OUT."""

    def run(self) -> int:
        """Simulate what is not there yet."""
        from mapping_stroke.experiment.simulate import find_sources, simulate_cohort
        from mapping_stroke.experiment.simulation_tables import Request

        sources = find_sources(self.lesions, self.brains, self.rescans, self.licence)
        request = Request(self.subjects, self.seed, self.unlabelled)
        simulate_cohort(self.out, request, sources, overwrite=self.overwrite)
        return 0
