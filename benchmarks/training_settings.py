"""Settings of `python -m benchmarks training` on a CPU and on a GPU, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from benchmarks.training_task import TrainingTask
from mapping_stroke.networks.spec import NetworkSpec
from mapping_stroke.training.schemes import SIZES


@dataclass(frozen=True)
class Way:
    """Options of one of our trainings."""

    name: str
    precision: str = "auto"
    compiled: bool = False


@dataclass(frozen=True)
class Setting:
    """Trainings on one kind of device.

    Attributes:
        tasks: Tasks by the name of the network.
        ways: Our trainings; the first has the default options.
        subjects: Number of simulated cases.
    """

    tasks: Mapping[str, TrainingTask]
    ways: tuple[Way, ...]
    subjects: int


def _tasks(plain: NetworkSpec, residual: NetworkSpec, like: TrainingTask) -> dict[str, TrainingTask]:
    return {"plain U-Net": replace(like, network=plain), "residual U-Net": replace(like, network=residual)}


_SMALL = NetworkSpec("plain", (16, 32, 64, 128, 160), (2, 2, 2, 2, 2))
_SMALL_RESIDUAL = NetworkSpec("residual", (12, 24, 48, 96, 160), (1, 2, 3, 4, 4), 1, conv_bias=False)
_FULL = SIZES["full"]
SETTINGS = {
    "cpu": Setting(
        _tasks(
            _SMALL, _SMALL_RESIDUAL, TrainingTask(_SMALL, (48, 48, 48), 2.0, epochs=4, steps=16, validation_steps=3)
        ),
        (
            Way("ours, default"),
            Way("ours, `--compile`", compiled=True),
            Way("ours, `--precision float32`", "float32"),
            Way("ours, `--precision float32 --compile`", "float32", compiled=True),
        ),
        subjects=6,
    ),
    "cuda": Setting(
        _tasks(
            _FULL.plain,
            _FULL.residual,
            TrainingTask(_FULL.plain, _FULL.patch, 1.0, epochs=4, steps=250, validation_steps=50),
        ),
        (Way("ours, default"), Way("ours, `--compile`", compiled=True)),
        subjects=12,
    ),
}
"""A GPU trains at the paper's size, a CPU at one that takes minutes; a sixth of the steps is validation."""
