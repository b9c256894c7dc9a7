"""What a training tells of itself: a record for every step and epoch, and what an epoch has come to so far."""

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to.

    Attributes:
        epoch: Number, from 0.
        loss: Mean training loss over the steps; -1 is perfect for `dice+ce`.
        foreground_dice: Dice of the lesion class over the summed voxels of all validation patches, in [0, 1].
        validation_loss: Mean loss over the validation patches.
        learning_rate: The rate of this epoch.
        seconds: How long its steps took, those of the validation too.
        steps_per_second: Training steps, their loading and augmentation included, over the time they took.
    """

    epoch: int
    loss: float
    foreground_dice: float
    validation_loss: float
    learning_rate: float
    seconds: float
    steps_per_second: float


@dataclass(frozen=True)
class Step:
    """One step was done: a moment at which the state can be kept, and the training stopped.

    Attributes:
        epoch: Number of its epoch, from 0.
        done: Steps done of this epoch, those of the validation too.
        steps: Steps of an epoch, those of the validation too.
    """

    epoch: int
    done: int
    steps: int


@dataclass(eq=False)
class EpochSoFar:
    """What an epoch has come to between two of its steps.

    Attributes:
        losses: Of each training step done.
        validation_losses: Of each validation step done.
        overlap: Lesion voxels in both, predicted, and in the reference, over the validation steps done.
        training_seconds: Spent on training steps.
        validation_seconds: Spent on validation steps.
    """

    losses: list[Float[Tensor, ""]] = field(default_factory=list)
    validation_losses: list[float] = field(default_factory=list)
    overlap: Int64[Tensor, " 3"] = field(default_factory=lambda: torch.zeros(3, dtype=torch.int64))
    training_seconds: float = 0.0
    validation_seconds: float = 0.0

    @property
    def steps_done(self) -> int:
        """Training and validation steps."""
        return len(self.losses) + len(self.validation_losses)

    def add_training(self, loss: Float[Tensor, ""], seconds: float) -> None:
        """One more training step."""
        self.losses.append(loss)
        self.training_seconds += seconds

    def add_validation(self, loss: float, overlap: Int64[Tensor, " 3"], seconds: float) -> None:
        """One more validation step."""
        self.validation_losses.append(loss)
        self.overlap = self.overlap + overlap
        self.validation_seconds += seconds

    def sum_up(self, number: int, learning_rate: float) -> Epoch:
        """The record of an epoch whose steps are all done; NaN for what there was none of."""
        validated = bool(self.validation_losses)
        return Epoch(
            number,
            loss=float(torch.stack(self.losses).mean()) if self.losses else float("nan"),
            foreground_dice=foreground_dice(self.overlap) if validated else float("nan"),
            validation_loss=float(np.mean(self.validation_losses)) if validated else float("nan"),
            learning_rate=learning_rate,
            seconds=self.training_seconds + self.validation_seconds,
            steps_per_second=len(self.losses) / max(self.training_seconds, 1e-9),
        )


def foreground_dice(overlap: Int64[Tensor, " 3"]) -> float:
    """Dice of voxels in both, predicted, and in the reference, in [0, 1]; 1.0 where there are none."""
    both, predicted, reference = overlap.tolist()
    return 1.0 if predicted + reference == 0 else 2 * both / (predicted + reference)
