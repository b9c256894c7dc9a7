"""`mapping predict`."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional


@dataclass(frozen=True)
class Predict:
    """Predict the cases of a run: labelled ones by members that never saw them, unlabelled ones by all members."""

    run_folder: Positional[Path]
    """Run folder with trained members."""
    mirror: bool = False
    """Average over all 8 mirrorings of each patch, as the paper does; 8 times slower."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `mps`."""

    def run(self) -> int:
        """Predict what is missing."""
        from mapping_stroke.experiment.predict import PredictConfig, predict_run
        from mapping_stroke.run_folder import RunFolder

        failed = predict_run(RunFolder(self.run_folder), PredictConfig(self.mirror, self.device))
        return 3 if failed else 0
