"""`mapping predict`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional


@dataclass(frozen=True)
class Predict:
    """Predict the cases of a run: labelled ones by members that never saw them, unlabelled ones by all members."""

    run_folder: Positional[Path]
    """Run folder with trained members."""
    mirror: bool = False
    """Average over all mirrorings of each patch that a member's training had (8 for the paper's), as the paper does."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `mps`."""
    engine: Literal["auto", "openvino", "torch"] = "auto"
    """What computes the networks; `auto`: OpenVINO on x86 processors, torch elsewhere."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the convolutions; `auto`: bfloat16 where the chip computes in it."""

    def run(self) -> int:
        """Predict what is missing."""
        from mapping_stroke.experiment.predict import PredictConfig, predict_run
        from mapping_stroke.run_folder import RunFolder

        config = PredictConfig(self.mirror, self.device, self.engine, self.precision)
        failed = predict_run(RunFolder(self.run_folder), config)
        return 3 if failed else 0
