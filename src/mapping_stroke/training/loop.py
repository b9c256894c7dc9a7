"""Training one member: a plain loop that reads top to bottom and yields a record after every epoch."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import lightning_fabric
import numpy as np
import torch
from torch import Tensor, nn

from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.errors import TrainingError
from mapping_stroke.networks.unet import build_unet
from mapping_stroke.training.augment import NONE
from mapping_stroke.training.batches import Batch, Randomness, draw_batch
from mapping_stroke.training.blend import batch_loss
from mapping_stroke.training.losses import LossConfig, deep_supervision_loss
from mapping_stroke.training.schemes import Scheme, Size, augmentation_of, mixing_of

WEIGHT_DECAY = 3e-5
LARGEST_GRADIENT_NORM = 12.0
POLYNOMIAL_DECAY = 0.9


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to.

    Attributes:
        epoch: Number, from 0.
        loss: Mean training loss over the steps; -1 is perfect for `dice+ce`.
        foreground_dice: Dice of the lesion class over the summed voxels of all validation patches, in [0, 1].
        validation_loss: Mean loss over the validation patches.
        learning_rate: The rate of this epoch.
        seconds: How long it took.
    """

    epoch: int
    loss: float
    foreground_dice: float
    validation_loss: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True, eq=False)
class TrainingState:
    """Everything that changes while a member is trained; a checkpoint holds just this."""

    network: nn.Module
    optimiser: torch.optim.Optimizer
    random: Randomness
    epochs: list[Epoch]


def start_training(scheme: Scheme, size: Size, seed: Sequence[int], device: torch.device) -> TrainingState:
    """Fresh weights, a fresh optimiser, seeded generators.

    Args:
        scheme: What is trained.
        size: How large.
        seed: Whole numbers that tell this run from others, such as (seed, scheme, fold).
        device: Where the network and the patches live.
    """
    random = Randomness.from_seed(seed, device)
    network = build_unet(size.network(scheme), seed=int(random.numbers.integers(2**31))).to(device)
    torch.nn.utils.convert_conv3d_weight_memory_format(network, torch.channels_last_3d)  # convolutions run faster
    return TrainingState(network, _build_optimiser(network, size), random, [])


def train(
    state: TrainingState,
    scheme: Scheme,
    size: Size,
    cases: tuple[Sequence[CaseArrays], Sequence[CaseArrays]],
    fabric: lightning_fabric.Fabric,
) -> Iterator[Epoch]:
    """Train from where the state stands to the last epoch, yielding the record of every epoch.

    Args:
        state: From `start_training`, or read from a checkpoint; changed in place.
        scheme: Loss, augmentation, length.
        size: Patch, batch, steps, learning rate.
        cases: Training cases and validation cases.
        fabric: Launched engine: device, precision, processes.

    Raises:
        TrainingError: There is no training case, or the loss is no longer a number (names the batch's cases).
    """
    training, validation = cases
    if not training:
        raise TrainingError(f"scheme {scheme.name}: no training cases in the other folds; use more cases or folds")
    network, optimiser = fabric.setup(state.network, state.optimiser)
    total = size.epochs_of(scheme)
    for number in range(len(state.epochs), total):
        start = time.monotonic()
        rate = size.learning_rate * (1 - number / total) ** POLYNOMIAL_DECAY
        for group in optimiser.param_groups:
            group["lr"] = rate
        network.train()
        losses = []
        for _ in range(size.steps_per_epoch):
            batch = draw_batch(
                training, size.patch, size.batch, augmentation_of(scheme), state.random, mixing_of(scheme)
            )
            losses.append(_step(network, optimiser, batch, size.loss_of(scheme), fabric))
        loss = float(torch.stack(losses).mean())
        validation_loss, dice = validate(network, validation, scheme, size, state.random)
        seconds = time.monotonic() - start
        epoch = Epoch(number, loss, dice, validation_loss, rate, seconds)
        state.epochs.append(epoch)
        yield epoch


def validate(
    network: nn.Module, cases: Sequence[CaseArrays], scheme: Scheme, size: Size, random: Randomness
) -> tuple[float, float]:
    """Mean loss and foreground Dice over random patches without augmentation; (nan, nan) without validation cases."""
    if not cases:
        return float("nan"), float("nan")
    losses, counts = [], torch.zeros(3, dtype=torch.float64)
    with torch.no_grad():
        for _ in range(size.validation_steps):
            batch = draw_batch(cases, size.patch, size.batch, NONE, random)
            outputs = network(batch.scan)
            losses.append(float(deep_supervision_loss(outputs, batch.target, size.loss_of(scheme))))
            counts += _overlap(outputs[0], batch.target).cpu()
    both, predicted, reference = counts.tolist()
    dice = 1.0 if predicted + reference == 0 else 2 * both / (predicted + reference)
    return float(np.mean(losses)), dice


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


def _step(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    batch: Batch,
    loss_config: LossConfig,
    fabric: lightning_fabric.Fabric,
) -> Tensor:
    loss = batch_loss(network(batch.scan), batch.target, batch.blend, loss_config)
    if not torch.isfinite(loss):
        raise TrainingError(f"the loss is {loss.item()} on a batch of {', '.join(batch.case_ids)}; check these scans")
    optimiser.zero_grad(set_to_none=True)
    fabric.backward(loss)
    fabric.clip_gradients(network, optimiser, max_norm=LARGEST_GRADIENT_NORM)
    optimiser.step()
    return loss.detach()


def _overlap(logits: Tensor, target: Tensor) -> Tensor:
    """Voxels in both, predicted, in the reference."""
    predicted = logits[:, 1] > logits[:, 0]
    reference = target == 1
    return torch.stack([(predicted & reference).sum(), predicted.sum(), reference.sum()]).double()
