"""The training loop and the records it yields."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import lightning_fabric
import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from mapping_stroke.dataset.arrays import UNSURE
from mapping_stroke.dataset.sources import Cases
from mapping_stroke.errors import TrainingError
from mapping_stroke.networks.spec import Weights
from mapping_stroke.networks.unet import build_unet, fuse_norms, set_weights
from mapping_stroke.training.batches import Batch, Randomness, draw_batch
from mapping_stroke.training.engine import gather_from, of_all, share_of
from mapping_stroke.training.losses import deep_supervision_loss
from mapping_stroke.training.mixing import batch_loss
from mapping_stroke.training.schemes import NONE, LossConfig, Scheme, Size, augmentation_of, mixing_of


@dataclass(frozen=True)
class Epoch:
    """Record of one epoch.

    Attributes:
        epoch: Number, from 0.
        loss: Mean training loss over the steps; -1 is perfect for `dice+ce`.
        foreground_dice: Dice of the lesion class over the summed voxels of all validation patches, in [0, 1].
        validation_loss: Mean loss over the validation patches.
        learning_rate: Learning rate of this epoch.
        seconds: Duration of its training and validation steps.
        steps_per_second: Training speed, including loading and augmentation.
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
    """A finished step: the state can be saved, and the training stopped.

    Attributes:
        epoch: Number of its epoch, from 0.
        done: Steps done in this epoch, including validation.
        steps: Steps of an epoch, including validation.
    """

    epoch: int
    done: int
    steps: int


@dataclass(eq=False)
class EpochSoFar:
    """Running results of an unfinished epoch.

    Attributes:
        losses: Loss of each training step done.
        validation_losses: Loss of each validation step done.
        overlap: Lesion voxels in both, in the prediction, and in the reference, over the validation steps done.
        training_seconds: Time spent on training steps.
        validation_seconds: Time spent on validation steps.
    """

    losses: list[Float[Tensor, ""]] = field(default_factory=list)
    validation_losses: list[float] = field(default_factory=list)
    overlap: Int64[Tensor, " 3"] = field(default_factory=lambda: torch.zeros(3, dtype=torch.int64))
    training_seconds: float = 0.0
    validation_seconds: float = 0.0

    @property
    def steps_done(self) -> int:
        """Number of training and validation steps done."""
        return len(self.losses) + len(self.validation_losses)

    def add_training(self, loss: Float[Tensor, ""], seconds: float) -> None:
        """Add a training step."""
        self.losses.append(loss)
        self.training_seconds += seconds

    def add_validation(self, loss: float, overlap: Int64[Tensor, " 3"], seconds: float) -> None:
        """Add a validation step."""
        self.validation_losses.append(loss)
        self.overlap = self.overlap + overlap
        self.validation_seconds += seconds

    def sum_up(self, number: int, learning_rate: float) -> Epoch:
        """The record of a finished epoch; NaN for missing values."""
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
    """Dice from voxels in both, in the prediction, and in the reference, in [0, 1]; 1.0 if there are none."""
    both, predicted, reference = overlap.tolist()
    return 1.0 if predicted + reference == 0 else 2 * both / (predicted + reference)


WEIGHT_DECAY = 3e-5
LARGEST_GRADIENT_NORM = 12.0
POLYNOMIAL_DECAY = 0.9
"""nnU-Net's optimiser settings."""


@dataclass(eq=False)
class TrainingState:
    """Everything that changes during a training; a checkpoint holds exactly this."""

    network: nn.Module
    optimiser: torch.optim.Optimizer
    random: Randomness
    epochs: list[Epoch] = field(default_factory=list)
    so_far: EpochSoFar = field(default_factory=EpochSoFar)


def start_training(
    scheme: Scheme, size: Size, seed: Sequence[int], device: torch.device, weights: Weights | None = None
) -> TrainingState:
    """The initial state: fresh weights or those of a warm start, a fresh optimiser, seeded generators.

    Args:
        scheme: The scheme to train.
        size: Its size.
        seed: Integers that identify the run, such as (seed, scheme, fold).
        device: Device of network and patches.
        weights: Weights of a warm start; None draws fresh ones.

    Raises:
        BundleError: The weights are not those of the size's network.
    """
    random = Randomness.from_seed(seed, device)
    network = build_unet(size.network(scheme), seed=int(random.numbers.integers(2**31))).to(device)
    if weights is not None:
        set_weights(network, weights)
    elif size.rare_logit:
        _expect_background(network, size.rare_logit)
    _freeze_coarsest_output(network)
    torch.nn.utils.convert_conv3d_weight_memory_format(network, torch.channels_last_3d)  # faster convolutions
    return TrainingState(network, _build_optimiser(network, size), random)


@dataclass(frozen=True, eq=False)
class Learner:
    """A network and its optimiser, set up by Fabric, with the loss to minimise.

    Attributes:
        network: In training mode, perhaps compiled.
        optimiser: Of the network's parameters.
        loss_of: `batch_loss`, perhaps compiled.
        fabric: Launched engine: device, precision, processes.
    """

    network: nn.Module
    optimiser: torch.optim.Optimizer
    loss_of: Callable[..., Float[Tensor, ""]]
    fabric: lightning_fabric.Fabric

    def set_rate(self, learning_rate: float) -> None:
        """Set the learning rate of all parameters."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate


def set_up(
    state: TrainingState, fabric: lightning_fabric.Fabric, *, compiled: bool, dynamic: bool | None = None
) -> Learner:
    """Set up a training on an engine.

    Args:
        state: Its network and optimiser are used in place.
        fabric: Launched engine.
        compiled: Compile the network at its first step and, for a single process, the loss; on a CPU the norms are
            replaced, see `fuse_norms`.
        dynamic: Whether compiled code is for any patch size; None lets torch decide.
    """
    if compiled and fabric.device.type == "cpu":
        fuse_norms(state.network)
    network = torch.compile(state.network, dynamic=dynamic) if compiled else state.network
    network, optimiser = fabric.setup(network, state.optimiser)
    # several processes exchange values within the loss, which cannot be compiled
    compiles_loss = compiled and fabric.world_size == 1
    loss_of = torch.compile(batch_loss, dynamic=dynamic) if compiles_loss else batch_loss
    network.train()
    return Learner(network, optimiser, loss_of, fabric)


def train(
    state: TrainingState,
    scheme: Scheme,
    size: Size,
    cases: tuple[Cases, Cases],
    fabric: lightning_fabric.Fabric,
    *,
    compiled: bool = False,
) -> Iterator[Step | Epoch]:
    """Train from the current state, even within an epoch, to the last epoch.

    At every yield the state is consistent: a training that is restored from it yields the same numbers. Several
    processes have the same state, and each computes its part of every batch; gradients are those of the whole batch.

    Args:
        state: From `start_training`, or read from a checkpoint; changed in place.
        scheme: Loss, augmentation, length.
        size: Patch, batch, steps, learning rate.
        cases: Training cases and validation cases; without the latter there is no validation.
        fabric: Launched engine: device, precision, processes.
        compiled: Compile network and loss, see `set_up`.

    Yields:
        A `Step` after every training or validation step, and the record of every epoch.

    Raises:
        TrainingError: There is no training case, or the loss is no longer finite (names the batch's cases).
    """
    if not cases[0]:
        raise TrainingError(f"scheme {scheme.name}: no training cases in the other folds; use more cases or folds")
    learner, loss_config = set_up(state, fabric, compiled=compiled), size.loss_of(scheme)
    drawn = size.patch, share_of(size.batch, fabric)
    steps, total = size.steps_per_epoch + (size.validation_steps if cases[1] else 0), size.epochs_of(scheme)
    for number in range(len(state.epochs), total):
        rate = size.learning_rate * (1 - number / total) ** POLYNOMIAL_DECAY
        learner.set_rate(rate)
        so_far = state.so_far  # of the checkpoint, if that was written within an epoch
        while so_far.steps_done < steps:
            start = time.monotonic()
            if len(so_far.losses) < size.steps_per_epoch:
                batch = draw_batch(cases[0], *drawn, augmentation_of(scheme), state.random, mixing_of(scheme))
                loss, _ = take_step(learner, batch, loss_config)
                so_far.add_training(loss, time.monotonic() - start)
            else:
                batch = draw_batch(cases[1], *drawn, NONE, state.random)
                so_far.add_validation(*validate(learner.network, batch, loss_config, fabric), time.monotonic() - start)
            yield Step(number, so_far.steps_done, steps)
        state.epochs.append(so_far.sum_up(number, rate))
        state.so_far = EpochSoFar()
        yield state.epochs[-1]


def validate(
    network: nn.Module, batch: Batch, loss_config: LossConfig, fabric: lightning_fabric.Fabric
) -> tuple[float, Int64[Tensor, " 3"]]:
    """Loss of a batch over all processes, and lesion voxels in both, in the prediction, and in the reference."""
    with torch.no_grad():
        outputs = network(batch.scan)
        loss = deep_supervision_loss(outputs, batch.target, loss_config, gather_from(fabric))
        # P > 0.5 means that the lesion has the larger logit
        predicted = (outputs[0][:, 1] > outputs[0][:, 0]) & (batch.target != UNSURE)
        reference = batch.target == 1
        overlap = torch.stack([(predicted & reference).sum(), predicted.sum(), reference.sum()])
    return float(of_all(loss, fabric).mean()), of_all(overlap, fabric).sum(0).cpu()


def _expect_background(network: nn.Module, margin: float) -> None:
    """Bias a fresh network towards background by this margin in logits, with small output weights."""
    decoder: Any = network.decoder
    with torch.no_grad():
        for layer in decoder.seg_layers:
            layer.weight.mul_(0.1)  # so that the bias decides at first
            background, lesion = layer.bias.chunk(2)  # for each voxel of the cube
            background.fill_(0.5 * margin)
            lesion.fill_(-0.5 * margin)


def _freeze_coarsest_output(network: nn.Module) -> None:
    """Freeze the coarsest output: it has no loss, and several processes would wait for its gradient."""
    decoder: Any = network.decoder
    if len(decoder.seg_layers) > 1:
        decoder.seg_layers[0].requires_grad_(requires_grad=False)


def _build_optimiser(network: nn.Module, size: Size) -> torch.optim.Optimizer:
    if size.optimiser == "adamw":
        return torch.optim.AdamW(network.parameters(), lr=size.learning_rate, weight_decay=WEIGHT_DECAY)
    return torch.optim.SGD(
        network.parameters(),
        lr=size.learning_rate,
        momentum=size.momentum,
        nesterov=True,
        weight_decay=WEIGHT_DECAY,
    )


def take_step(
    learner: Learner, batch: Batch, loss_config: LossConfig
) -> tuple[Float[Tensor, ""], Float[Tensor, "n 2 x y z"]]:
    """Take an optimisation step on this process's share of a batch.

    Returns:
        The loss of the whole batch, and the finest logits of the share, both detached.

    Raises:
        TrainingError: Loss or gradient are not finite (names the cases).
    """
    network, optimiser, fabric = learner.network, learner.optimiser, learner.fabric
    outputs = network(batch.scan)
    loss = learner.loss_of(outputs, batch.target, batch.blend, loss_config, gather_from(fabric))
    losses = of_all(loss.detach(), fabric)
    # all processes see all losses, so all of them stop together
    if not torch.isfinite(losses).all():
        _refuse(losses, batch, fabric)
    optimiser.zero_grad(set_to_none=True)
    fabric.backward(loss)
    norm = fabric.clip_gradients(network, optimiser, max_norm=LARGEST_GRADIENT_NORM, error_if_nonfinite=False)
    if norm is not None and not torch.isfinite(norm):
        raise TrainingError(
            f"the gradient is {norm.item()} on a batch of {', '.join(batch.case_ids)}; check these scans"
        )
    optimiser.step()
    return losses.mean(), outputs[0].detach()


def _refuse(losses: Float[Tensor, " w"], batch: Batch, fabric: lightning_fabric.Fabric) -> NoReturn:
    """End the training in all processes, naming the cases of the first one with a loss that is not finite."""
    process = int(torch.isfinite(losses).logical_not().nonzero()[0])
    case_ids = fabric.broadcast(batch.case_ids, src=process)
    raise TrainingError(f"the loss is {losses[process].item()} on a batch of {', '.join(case_ids)}; check these scans")
