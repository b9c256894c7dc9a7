"""Which scans are segmented into one folder, and how: settings, the model and rule they choose, names of results."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mapping_stroke.cohort.results import Naming, Storage, flat_names
from mapping_stroke.cohort.scan import WriteMore
from mapping_stroke.inference.engines import choose_engine
from mapping_stroke.inference.ensemble import Ensemble
from mapping_stroke.inference.segmentation import choose_rule, find_preset, make_ensemble
from mapping_stroke.networks.bundle import Bundle, open_bundle
from mapping_stroke.rules import PostprocessConfig, find_rule
from mapping_stroke.space.placement import require_space_name

UNDECISIVE = ("device", "engine", "series", "dicom_seg", "brain")
"""Settings with which the same folder goes on."""


@dataclass(frozen=True)
class SegmentConfig:
    """How `mapping segment` segments."""

    preset: str = "balanced"
    rule: str = "mapping"
    device: str = "auto"
    engine: str = "auto"
    precision: str = "auto"
    storage: Storage = "uint8"
    """Of probability and uncertainty: `uint8` in steps of 1/255 and 0.5/255, or `float32`."""
    picture: bool = True
    space: str = "auto"
    """See `make_model_input`."""
    series: str = ""
    """Which DICOM series of a folder is meant; see `choose_series`."""
    dicom_seg: bool = False
    """Whether masks are written as DICOM, too; then every scan must be DICOM."""
    brain: Path | None = None
    """The user's own mask of a scan's brain, or a folder of such masks; see `find_given`."""

    def __post_init__(self) -> None:
        find_preset(self.preset)
        find_rule(self.rule)
        require_space_name(self.space)


@dataclass(frozen=True, eq=False)
class Method:
    """How the scans of one run are segmented: a model, its members that are used on an engine, rule and settings."""

    bundle: Bundle
    ensemble: Ensemble
    rule: PostprocessConfig
    config: SegmentConfig

    def identity(self) -> dict[str, Any]:
        """What decides the outputs: the precision does, the device and engine that compute in it do not.

        Nor does the choice of a series or of a brain mask: like the choice of a file, it decides what is segmented.
        """
        settings = {name: value for name, value in asdict(self.config).items() if name not in UNDECISIVE}
        settings["precision"] = self.ensemble.engine.precision
        return {"model_sha256": self.bundle.sha256, "settings": settings}

    def facts(self) -> dict[str, Any]:
        """What `run.json` tells of it."""
        card = self.bundle.card
        return {
            "model": {"name": card.name, "path": str(self.bundle.path), "licence": card.licence},
            "members": [member.card.name for member in self.ensemble.members],
            "engine": self.ensemble.engine.description,
            "postprocess": asdict(self.rule),
        }


def choose_method(model: str | Path, config: SegmentConfig) -> Method:
    """Open a model and make ready what settings ask for; raises `MappingError` where there is no such thing."""
    bundle = open_bundle(model)
    engine = choose_engine(config.device, config.engine, config.precision)
    return Method(bundle, make_ensemble(bundle, config.preset, engine), choose_rule(bundle, config.rule), config)


@dataclass(frozen=True, eq=False)
class Cohort:
    """Scans whose results go into one folder.

    Attributes:
        scans: Their files, by name; the names also in `run.json`.
        output: The folder.
        naming: What the results are called.
        kind: What `run.json` calls the work, so that no other command goes on with it.
        others: Patterns of further files that are written into the folder.
        begin: Told how the scans are segmented before the first one is; returns what writes further files of each.
        refused: Why scans fail without being read, by name; what was found in them before is left alone.
        brains: The user's own masks of their brains, by name; the brains of the others are found.
    """

    scans: Mapping[str, Path]
    output: Path
    naming: Naming = flat_names
    kind: str = "segment"
    others: tuple[str, ...] = ()
    begin: Callable[[Method], WriteMore] | None = None
    refused: Mapping[str, str] = field(default_factory=dict)
    brains: Mapping[str, Path] = field(default_factory=dict)
