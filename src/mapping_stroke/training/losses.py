"""Training losses: Dice plus cross-entropy, or Dice plus top-k cross-entropy, with deep supervision.

If several processes have equal shares of a batch, each computes a loss such that the means of losses and gradients over
the processes are those of the entire batch. This holds automatically for means over samples; terms that pool the voxels
of a batch exchange values through `gather`.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from mapping_stroke.dataset.arrays import UNSURE
from mapping_stroke.training.schemes import TOPK_SHARE, LossConfig

Logits = Float[Tensor, "n 2 x y z"]  # background, lesion
Target = Int[Tensor, "n x y z"]  # 1 inside a lesion, UNSURE in voxels without loss, 0 elsewhere
LogitsAnywhere = Float[Tensor, "n 2 _ _ _"]  # at any resolution
CoarseTarget = Int[Tensor, "n _ _ _"]
Gather = Callable[[Tensor], Tensor]
"""From values (...) of this process to those of all processes (w, ...), by rank and without gradient."""

DICE_SMOOTH = 1e-5


def soft_dice_loss(
    logits: Logits, target: Target, *, batch_dice: bool = False, gather: Gather | None = None
) -> Float[Tensor, ""]:
    """Minus the soft Dice of the lesion class, in [-1, 0]; -1 (perfect) if prediction and target are empty.

    Args:
        logits: Network output at one resolution.
        target: Reference at the same resolution.
        batch_dice: One Dice for all voxels of the batch; otherwise the mean of one Dice per sample.
        gather: Gathers values from the other processes; None for a single process.

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

    Ties with the smallest value taken are weighted, so that all processes together count as many values as one would.
    """
    processes = len(gather(own.new_zeros(1)))
    # in the worst case, all of the largest values belong to one process
    wanted = max(int(processes * own.numel() * share), 1)
    hardest = own.topk(min(wanted, own.numel()), sorted=False).values
    candidates = gather(hardest.detach()).flatten()
    taken = candidates.topk(wanted, sorted=False).values
    least = taken.min()
    part = (taken == least).sum() / (candidates == least).sum()
    # times their number, since the processes' losses are averaged
    return processes / wanted * (hardest[hardest > least].sum() + part * hardest[hardest == least].sum())


def _pooled(own: Float[Tensor, ""], gather: Gather | None) -> Float[Tensor, ""]:
    """Sum of a value over the processes, with the gradient of this process's value times their number."""
    if gather is None:
        return own
    values = gather(own.detach())
    return values.sum() + len(values) * (own - own.detach())  # the difference is 0 but has a gradient


def segmentation_loss(
    logits: Logits, target: Target, config: LossConfig, gather: Gather | None = None
) -> Float[Tensor, ""]:
    """Dice term plus cross-entropy term, equally weighted, at one resolution."""
    if config.topk_share is None:
        entropy = functional.cross_entropy(logits, target, ignore_index=UNSURE)
    else:
        entropy = topk_cross_entropy(logits, target, config.topk_share, gather)
    return soft_dice_loss(logits, target, batch_dice=config.batch_dice, gather=gather) + entropy


def deep_supervision_weights(resolutions: int) -> tuple[float, ...]:
    """Weights of the outputs, finest first: halved at every level, 0 for the coarsest, sum 1; (1.0,) for one output."""
    if resolutions == 1:
        return (1.0,)
    halves = [0.5**level for level in range(resolutions - 1)]
    return (*(half / sum(halves) for half in halves), 0.0)


def deep_supervision_loss(
    outputs: list[LogitsAnywhere], target: Target, config: LossConfig, gather: Gather | None = None
) -> Float[Tensor, ""]:
    """Weighted sum of the losses at every resolution, with the target downsampled by nearest neighbour."""
    total = outputs[0].new_zeros(())
    for logits, weight in zip(outputs, deep_supervision_weights(len(outputs)), strict=True):
        if weight > 0:
            coarse = downsample_target(target, logits.shape[2:])
            # float32, because sums over voxels overflow or cancel in half precision
            total = total + weight * segmentation_loss(logits.float(), coarse, config, gather)
    return total


def downsample_target(target: Target, shape: torch.Size) -> CoarseTarget:
    """Downsample the target by nearest neighbour (voxel centres)."""
    if target.shape[1:] == shape:
        return target
    return functional.interpolate(target[:, None].float(), shape, mode="nearest-exact")[:, 0].to(target.dtype)
