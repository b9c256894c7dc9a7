"""`mapping segment`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class Segment:
    """Segment new scans: mask, probability, uncertainty, lesion table and a picture for each."""

    scans: Positional[tuple[Path, ...]]
    """T1w scans (.nii, .nii.gz, .mgz, .mgh, .mha, .mhd, .nrrd), or folders of them, or folders that hold a T1w DICOM
    series. Raw ones for a model that was made for MNI152 space, else as its training scans were."""
    output: Annotated[Path, arg(aliases=["-o"])]
    """Output folder; files are named after the scans. The same call again goes on where it stopped."""
    model: str = "default"
    """A `.mapping` file, a model folder, a run folder in which `mapping train` has finished, or the name of a model
    that came with the installation."""
    preset: Literal["fast", "balanced", "paper"] = "balanced"
    """`fast`: one member, in one window where the model's card says so. `balanced`: all members. `paper`: all members,
    each over 8 mirrorings."""
    rule: Literal["mapping", "challenge", "paper", "none"] = "mapping"
    """Post-processing."""
    space: Literal["auto", "native", "mni"] = "auto"
    """`auto`: a scan that does not lie in MNI152 space is registered for a model that was made for it, and the results
    come back to the scan's own grid; a model for another or an unknown space sees scans as they are. `native`: every
    scan is registered. `mni`: none is."""
    series: str = ""
    """Which DICOM series of a folder to take, by number, UID or description; without it the one that looks like a
    three-dimensional T1w scan."""
    dicom_seg: bool = False
    """Write each mask as DICOM SEG, too. It repeats the patient's name, identifier and date of birth from the scan, as
    the standard asks; no other output does."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `mps`."""
    engine: Literal["auto", "openvino", "torch"] = "auto"
    """What computes the networks; `auto` takes OpenVINO on x86 processors, torch everywhere else."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the convolutions; `auto` takes the fastest that the processor or GPU computes well."""
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
        from mapping_stroke.experiment.segment_settings import SegmentConfig

        config = SegmentConfig(
            preset=self.preset,
            rule=self.rule,
            space=self.space,
            series=self.series,
            dicom_seg=self.dicom_seg,
            device=self.device,
            engine=self.engine,
            precision=self.precision,
            storage=self.probability,
            picture=not self.no_picture,
        )
        failed = segment_scans(self.scans, self.output, self.model, config, overwrite=self.overwrite)
        name_files("Masks, probabilities, lesion tables and run.json", self.output)
        return 3 if failed else 0
