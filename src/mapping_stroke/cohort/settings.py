"""Settings of `mapping segment`, `mapping bids` and `mapping grand-challenge`: the groups of options they share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from mapping_stroke.errors import ConfigError
from mapping_stroke.names import EngineName, PrecisionName, PresetName, RuleName

Space = Literal["auto", "native", "mni"]
Storage = Literal["uint8", "float32"]
NAMES = {"preset": PresetName, "rule": RuleName, "space": Space, "engine": EngineName, "precision": PrecisionName}


@dataclass(frozen=True)
class Computation:
    """The model and how it is applied."""

    model: str = "default"
    """A `.mapping` file, a model folder, a run folder in which `mapping train` has finished, or the name of a model
    that came with the installation. Weights of nnU-Net become a model by `mapping models import`."""
    preset: PresetName = "balanced"
    """`fast`: one member, on a single brain-sized window if the model supports it. `balanced`: all members. `paper`:
    all members, each with the mirroring (TTA) of its training, 8 passes for the paper's."""
    rule: RuleName = "mapping"
    """Post-processing. `challenge` marks something in every scan."""
    space: Space = "auto"
    """`auto`: if the model was made for MNI152 space, scans that do not lie there are registered, and the results are
    brought back to the scan's own grid; other models read scans as they are. `native`: every scan is registered.
    `mni`: none is."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `mps`."""
    engine: EngineName = "auto"
    """Engine that runs the networks; `auto` is OpenVINO on x86 processors and torch everywhere else."""
    precision: PrecisionName = "auto"
    """Precision of the convolutions; `auto` takes the fastest that the processor or GPU supports well."""

    def __post_init__(self) -> None:
        for name, known in NAMES.items():
            if getattr(self, name) not in get_args(known):
                raise ConfigError(f"no {name} {getattr(self, name)!r}; expected one of {', '.join(get_args(known))}")


@dataclass(frozen=True)
class RegionOptions:
    """Lesion volume by region of an atlas in MNI152 space."""

    atlas: Path | None = None
    """Label image of regions in MNI152 space, on any grid: the lesion volume in each region is written and shown. No
    atlas comes with this program."""
    atlas_labels: Path | None = None
    """Table of the atlas's regions, tab-separated or `.csv`, with columns `index` and `name`."""

    def __post_init__(self) -> None:
        if (self.atlas is None) != (self.atlas_labels is None):
            raise ConfigError("--atlas and --atlas-labels belong together; give both or neither")


NO_REGIONS = RegionOptions()


@dataclass(frozen=True)
class ScanOptions:
    """How scans are read and what is written for each."""

    brain: Path | None = None
    """Your own brain mask (0 and 1, on the scan's grid, axes in any order), used instead of brain extraction. For
    several scans: a folder of masks named as this command names them, NAME_brain.nii.gz or another image suffix, for
    some or all scans. The mask decides the registration, and a model made for brains only sees nothing outside it. It
    is refused if the model needs neither registration nor brain extraction."""
    reference: Path | None = None
    """True lesions (0 and one other value, on the scan's grid, axes in any order): the page shows them, and Dice and
    other scores are written. For several scans: a folder of masks named NAME_reference.nii.gz, NAME_lesion.nii.gz or
    NAME_mask.nii.gz (or another image suffix), for some or all scans."""
    series: str = ""
    """Number, UID or description of the DICOM series to read from a folder; if left out, the one that looks like a
    three-dimensional T1w scan."""
    dicom_seg: bool = False
    """Also write each mask as DICOM SEG. It repeats the patient's name, identifier and date of birth from the scan, as
    the standard requires; no other output does."""
    probability: Storage = "uint8"
    """Storage of probability and uncertainty: in 255 steps, or exactly, in four times the space."""
    no_picture: bool = False
    """Draw no pictures and write no pages."""
    show_head: bool = False
    """Show the whole head on the page of a scan, face included. Otherwise pages and pictures show only the brain."""
    regions: RegionOptions = NO_REGIONS
