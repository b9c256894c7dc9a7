"""What training minimises: Dice plus cross-entropy, or Dice plus the hardest tenth of it, at every resolution.

Where several processes have equal shares of a batch, each computes a loss such that their mean, and the mean of their
gradients, are those of the whole batch. For sums over samples that is so by itself; for what pools the batch's voxels
the processes ask one another, through `gather`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from mapping_stroke.dataset.arrays import UNSURE
from mapping_stroke.errors import ConfigError

Logits = Float[Tensor, "n 2 x y z"]  # background, lesion
Target = Int[Tensor, "n x y z"]  # 1 inside a lesion, UNSURE where no loss counts, 0 elsewhere
LogitsAnywhere = Float[Tensor, "n 2 _ _ _"]  # at any resolution
CoarseTarget = Int[Tensor, "n _ _ _"]
LossName = Literal["dice+ce", "dice+topk10"]
Gather = Callable[[Tensor], Tensor]
"""Values (...) of this process -> those of all processes (w, ...), in their order and without gradient."""

DICE_SMOOTH = 1e-5
TOPK_SHARE = 0.10
"""The paper's share of the batch's voxels, hardest first, that the top-k cross-entropy averages."""


@dataclass(frozen=True)
class LossConfig:
    """What is added to the Dice term, and how that is taken."""

    topk_share: float | None = None
    """Cross-entropy of this share of the batch's voxels, the hardest; None for all voxels."""
    batch_dice: bool = False
    """One Dice for the voxels of the whole batch; else one a sample, averaged."""

    def __post_init__(self) -> None:
        if self.topk_share is not None and not 0 < self.topk_share <= 1:
            raise ConfigError(f"topk_share is {self.topk_share}, expected a share above 0 and up to 1")


def soft_dice_loss(
    logits: Logits, target: Target, *, batch_dice: bool = False, gather: Gather | None = None
) -> Float[Tensor, ""]:
    """Minus the soft Dice of the lesion class, in [-1, 0]; -1 (perfect) where prediction and target are empty.

    Args:
        logits: Network output at one resolution.
        target: Reference at the same resolution.
        batch_dice: Pool the batch's voxels before dividing; otherwise one Dice a sample, averaged.
        gather: Asks the other processes; None where there are none.

    Source: nnU-Net's memory-efficient soft Dice, foreground only, smooth 1e-5.
    """
    lesion = torch.softmax(logits, dim=1)[:, 1].flatten(1) * (target != UNSURE).flatten(1)
    reference = (target == 1).flatten(1).to(lesion.dtype)
    both, either = (lesion * reference).sum(1), lesion.sum(1) + reference.sum(1)
    if batch_dice:
        both, either = _pooled(both.sum(), gather), _pooled(either.sum(), gather)
    return -((2 * both + DICE_SMOOTH) / (either + DICE_SMOOTH).clamp_min(1e-8)).mean()


def topk_cross_entropy(
    logits: Logits, target: Target, share: float = TOPK_SHARE, gather: Gather | None = None
) -> Float[Tensor, ""]:
    """Mean of the largest voxel cross-entropies of the batch, 0 or more; at least one. Source: nnU-Net's TopKLoss."""
    per_voxel = functional.cross_entropy(logits, target, reduction="none", ignore_index=UNSURE).flatten()
    if gather is not None:
        return _topk_of_all(per_voxel, share, gather)
    return per_voxel.topk(max(int(per_voxel.numel() * share), 1), sorted=False).values.mean()


def _topk_of_all(own: Float[Tensor, " n"], share: float, gather: Gather) -> Float[Tensor, ""]:
    """This process's part of the mean of the largest values of all processes, times their number.

    Values equal to the least of those taken count in part, so that all processes together take as many as one would.
    """
    processes = len(gather(own.new_zeros(1)))
    wanted = max(int(processes * own.numel() * share), 1)
    hardest = own.topk(min(wanted, own.numel()), sorted=False).values
    candidates = gather(hardest.detach()).flatten()
    taken = candidates.topk(wanted, sorted=False).values
    least = taken.min()
    part = (taken == least).sum() / (candidates == least).sum()
    return processes / wanted * (hardest[hardest > least].sum() + part * hardest[hardest == least].sum())


def _pooled(own: Float[Tensor, ""], gather: Gather | None) -> Float[Tensor, ""]:
    """The sum of a value over the processes; its gradient is that of their own value, times their number."""
    if gather is None:
        return own
    values = gather(own.detach())
    return values.sum() + len(values) * (own - own.detach())


def segmentation_loss(
    logits: Logits, target: Target, config: LossConfig, gather: Gather | None = None
) -> Float[Tensor, ""]:
    """Dice term plus cross-entropy term, weights 1 and 1, at one resolution."""
    if config.topk_share is None:
        entropy = functional.cross_entropy(logits, target, ignore_index=UNSURE)
    else:
        entropy = topk_cross_entropy(logits, target, config.topk_share, gather)
    return soft_dice_loss(logits, target, batch_dice=config.batch_dice, gather=gather) + entropy


def deep_supervision_weights(resolutions: int) -> tuple[float, ...]:
    """Weight of each output, finest first: halved at every step, 0 for the coarsest, sum 1; (1.0,) for a single one."""
    if resolutions == 1:
        return (1.0,)
    halves = [0.5**level for level in range(resolutions - 1)]
    return (*(half / sum(halves) for half in halves), 0.0)


def deep_supervision_loss(
    outputs: list[LogitsAnywhere], target: Target, config: LossConfig, gather: Gather | None = None
) -> Float[Tensor, ""]:
    """Weighted sum of the losses at every resolution; the target is brought there by nearest neighbour."""
    total = outputs[0].new_zeros(())
    for logits, weight in zip(outputs, deep_supervision_weights(len(outputs)), strict=True):
        if weight > 0:
            there = downsample_target(target, logits.shape[2:])
            total = total + weight * segmentation_loss(logits.float(), there, config, gather)
    return total


def downsample_target(target: Target, shape: torch.Size) -> CoarseTarget:
    """The target on a coarser grid, by nearest neighbour (voxel centres)."""
    if target.shape[1:] == shape:
        return target
    return functional.interpolate(target[:, None].float(), shape, mode="nearest-exact")[:, 0].to(target.dtype)
