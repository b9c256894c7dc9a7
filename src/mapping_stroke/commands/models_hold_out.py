"""`mapping models hold-out`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class HoldOut:
    """Write the frozen hold-out: simulated cases by which models are compared, of people and masks never trained on.

    The cases are planned, not left to chance, and the same every time. Whether they are those that others have is told:
    scores can be compared only then. `mapping models evaluate --cohort` takes the folder.
    """

    folder: Annotated[Positional[Path], arg(metavar="FOLDER")]
    """Folder to write: scans, masks, and `cases.tsv`. What is there already is kept, and compared."""
    brains: Path | None = None
    """All those that models are trained with, as for `train`; only those of the people that are for test are used."""
    lesions: Path | None = None
    """Likewise."""
    rescans: tuple[str, ...] = ()
    """Likewise."""
    cases: int = 160
    """Only the first so many, for a trial."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `mps`."""
    overwrite: bool = False
    """Replace what was made from other brains or masks, or by another version."""

    def run(self) -> int:
        """Write what is missing, and compare."""
        from mapping_stroke.inference.engines import choose_device
        from mapping_stroke.simulation.cohort import find_sources
        from mapping_stroke.simulation.frozen import write_frozen

        sources = find_sources(self.lesions, self.brains, self.rescans)
        write_frozen(self.folder, sources, choose_device(self.device), self.cases, overwrite=self.overwrite)
        return 0
