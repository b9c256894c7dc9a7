"""What `mapping train` is asked for: values that are checked at birth."""

from dataclasses import dataclass, replace

from mapping_stroke.errors import ConfigError
from mapping_stroke.training.schemes import SCHEMES, Size, find_scheme, find_size


@dataclass(frozen=True)
class TrainConfig:
    """What `mapping train` trains."""

    schemes: tuple[str, ...] = tuple(scheme.name for scheme in SCHEMES)
    folds: tuple[int, ...] = ()
    """Empty for all folds of the run."""
    size: str = "full"
    variant: str = "paper"
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    """Of the convolutions: `float32`, `bfloat16`, or the faster of them on the device."""
    compiled: bool = False
    """Compile the networks first."""
    confidence_floor: float | None = None
    """Pseudo-labels of a lower mean confidence, and empty ones, are left out; None for no floor."""
    save_minutes: float = 10.0
    """Longest time between two checkpoints."""
    devices: int = 1
    """Of each machine; each has its share of every batch."""
    nodes: int = 1
    batch: int | None = None
    """Patches of a training step, on all devices together; None takes the size's own."""
    model: str = ""
    """What members begin with, see `open_bundle`; empty for fresh weights."""
    epochs: int | None = None
    """Of every scheme; None takes the size's own."""
    learning_rate: float | None = None
    """Of the first epoch; None takes the size's own."""

    def __post_init__(self) -> None:
        if self.epochs is not None and self.epochs < 1:
            raise ConfigError(f"got --epochs {self.epochs}, expected 1 or more")
        if self.learning_rate is not None and not 0 < self.learning_rate <= 1:
            raise ConfigError(f"got --learning-rate {self.learning_rate}, expected above 0 and up to 1, such as 0.001")
        if self.batch is not None and self.batch < 1:
            raise ConfigError(f"got --batch {self.batch}, expected 1 or more")
        if self.seed < 0:
            raise ConfigError(f"got seed {self.seed}, expected 0 or more; give --seed 0 or more")
        if self.confidence_floor is not None and not 0 <= self.confidence_floor <= 1:
            raise ConfigError(
                f"got --confidence-floor {self.confidence_floor}, expected 0 to 1, such as 0.8 (labels have over 0.5)"
            )
        if not self.save_minutes >= 0:
            raise ConfigError(f"got --save-minutes {self.save_minutes}, expected 0 (every step) or more, such as 10")
        for name in self.schemes:
            find_scheme(name, self.variant)
        if not self.schemes:
            raise ConfigError("no training scheme given; leave --schemes out for all of them")
        _require_equal_shares(self.wanted_size.batch, self.devices * self.nodes)

    @property
    def wanted_size(self) -> Size:
        """The size, with the batch, epochs and learning rate that were asked for."""
        size = find_size(self.size)
        return replace(
            size,
            batch=size.batch if self.batch is None else self.batch,
            epochs=size.epochs if self.epochs is None else self.epochs,
            learning_rate=size.learning_rate if self.learning_rate is None else self.learning_rate,
        )


def _require_equal_shares(batch: int, processes: int) -> None:
    if processes > 1 and batch % processes:
        enough = -(-batch // processes) * processes
        raise ConfigError(
            f"a batch of {batch} patches has no equal shares for {processes} processes; give fewer --devices, or "
            f"--batch {enough} (which trains another network than the size's own batch does)"
        )
