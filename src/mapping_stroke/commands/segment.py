"""`mapping segment`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from mapping_stroke.commands.computation import Computation


@dataclass(frozen=True)
class Segment:
    """Segment new scans: lesion mask, brain mask, probability, uncertainty, lesion table and pictures of each."""

    paths: Positional[tuple[Path, ...]]
    """T1w scans (.nii, .nii.gz, .mgz, .mgh, .mha, .mhd, .nrrd), or folders of them, or folders that hold a T1w DICOM
    series. Raw ones for a model that was made for MNI152 space, else as its training scans were."""
    output: Annotated[Path, arg(aliases=["-o"])]
    """Output folder; files are named after the scans. The same call again goes on where it stopped."""
    computation: Computation = field(default_factory=Computation)
    scans: Annotated[str | None, arg(metavar="PATTERN")] = None
    """In the folders given and below them, the images of this name alone, such as '*/T1.nii.gz'; what `*` stands for
    names the outputs, as cases of `mapping prepare`."""
    brain: Path | None = None
    """Your own brain mask (0 and 1, on the scan's grid in any order of axes), instead of the one that is found; for
    several scans a folder that holds NAME_brain.nii.gz, or another image suffix, for each or some, as this command
    names them. The scan is registered by it, and a model for brains alone sees what lies within; a model for which
    scans are neither registered nor stripped refuses it."""
    series: str = ""
    """Which DICOM series of a folder to take, by number, UID or description; without it the one that looks like a
    three-dimensional T1w scan."""
    dicom_seg: bool = False
    """Write each mask as DICOM SEG, too. It repeats the patient's name, identifier and date of birth from the scan, as
    the standard asks; no other output does."""
    probability: Literal["uint8", "float32"] = "uint8"
    """How probability and uncertainty are stored: in 255 steps, or exactly and four times as large."""
    no_picture: bool = False
    """Draw no picture of each scan."""
    overwrite: bool = False
    """Replace what another model or other settings wrote into the output folder."""

    def run(self) -> int:
        """Segment every scan; one that fails does not stop the others."""
        from mapping_stroke.console import name_files
        from mapping_stroke.experiment.segment import segment_scans

        config = self.computation.config(
            series=self.series,
            dicom_seg=self.dicom_seg,
            storage=self.probability,
            picture=not self.no_picture,
            brain=self.brain,
        )
        failed = segment_scans(
            self.paths, self.output, self.computation.model, config, pattern=self.scans, overwrite=self.overwrite
        )
        name_files("Masks, probabilities, lesion tables and run.json", self.output)
        return 3 if failed else 0
