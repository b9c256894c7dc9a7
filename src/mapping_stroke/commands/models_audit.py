"""`mapping models audit`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class Audit:
    """Look at what a model learned from simulated strokes, without training anything.

    Draws cases with their healthy twins and tells how visible the lesions are, how Dice depends on that, how cases of
    the training differ from held-out ones, what is missed and falsely marked by load, and how sure the model is.
    """

    model: Positional[str]
    """As for `show`."""
    output: Annotated[Path, arg(aliases=["-o"])]
    """Folder for the tables."""
    brains: Path | None = None
    """Those that the model was trained with, as for `train`."""
    lesions: Path | None = None
    """Likewise."""
    rescans: tuple[str, ...] = ()
    """Likewise."""
    cases: int = 60
    """Cases of people and masks that no training saw."""
    known: int = 30
    """Cases of the people and masks of the training."""
    seed: int = 0
    """Decides the cases."""
    preset: Literal["fast", "balanced", "paper"] = "balanced"
    """As for `mapping segment`."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `mps`."""
    overwrite: bool = False
    """Replace what another model or other settings wrote into the output folder."""

    def run(self) -> int:
        """Write the tables."""
        from mapping_stroke.experiment.model_audit import AuditConfig, audit_model
        from mapping_stroke.experiment.simulate import find_sources

        sources = find_sources(self.lesions, self.brains, self.rescans)
        config = AuditConfig(self.cases, self.known, self.seed, self.preset, self.device)
        audit_model(self.model, sources, self.output, config, overwrite=self.overwrite)
        return 0
