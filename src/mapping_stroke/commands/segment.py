"""`mapping segment`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class Segment:
    """Segment new scans: mask, probability, uncertainty, lesion table and a picture for each."""

    scans: Positional[tuple[Path, ...]]
    """T1w scans (.nii, .nii.gz, .mgz, .mha, .mhd, .nrrd), skull-stripped as the training scans were."""
    output: Annotated[Path, arg(aliases=["-o"])]
    """Output folder; files are named after the scans. The same call again goes on where it stopped."""
    model: str = "default"
    """A run folder in which `mapping train` has finished, or any folder that holds trained members."""
    preset: Literal["fast", "balanced", "paper"] = "balanced"
    """`fast`: one member. `balanced`: all members. `paper`: all members, each over 8 mirrorings."""
    rule: Literal["mapping", "challenge", "paper", "none"] = "mapping"
    """Post-processing."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `mps`."""
    overwrite: bool = False
    """Replace what another model or other settings wrote into the output folder."""

    def run(self) -> int:
        """Segment every scan; one that fails does not stop the others."""
        from mapping_stroke.console import name_files
        from mapping_stroke.experiment.segment import SegmentConfig, segment_scans, show_lesions

        config = SegmentConfig(self.preset, self.rule, self.device)
        failed = segment_scans(self.scans, self.output, self.model, config, overwrite=self.overwrite)
        show_lesions(self.output, self.scans)
        name_files("Masks, probabilities, lesion tables and pictures", self.output)
        return 3 if failed else 0
