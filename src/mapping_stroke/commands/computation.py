"""Options that all commands have which segment scans with a model."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from mapping_stroke.experiment.segment_settings import SegmentConfig


@dataclass(frozen=True)
class Computation:
    """Which model segments, and how."""

    model: str = "default"
    """A `.mapping` file, a model folder, a run folder in which `mapping train` has finished, or the name of a model
    that came with the installation. Weights of nnU-Net become a model by `mapping models import`."""
    preset: Literal["fast", "balanced", "paper"] = "balanced"
    """`fast`: one member, in one window where the model's card says so. `balanced`: all members. `paper`: all members,
    each over the mirrorings that its training had, 8 for the paper's."""
    rule: Literal["mapping", "challenge", "paper", "none"] = "mapping"
    """Post-processing. `challenge` marks something in every scan."""
    space: Literal["auto", "native", "mni"] = "auto"
    """`auto`: a scan that does not lie in MNI152 space is registered for a model that was made for it, and the results
    come back to the scan's own grid; a model for another or an unknown space sees scans as they are. `native`: every
    scan is registered. `mni`: none is."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `mps`."""
    engine: Literal["auto", "openvino", "torch"] = "auto"
    """What computes the networks; `auto` takes OpenVINO on x86 processors, torch everywhere else."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the convolutions; `auto` takes the fastest that the processor or GPU computes well."""

    def config(self, **others: Any) -> "SegmentConfig":
        """The settings for the work itself, with others that only some commands have."""
        from mapping_stroke.experiment.segment_settings import SegmentConfig

        return SegmentConfig(
            preset=self.preset,
            rule=self.rule,
            space=self.space,
            device=self.device,
            engine=self.engine,
            precision=self.precision,
            **others,
        )
