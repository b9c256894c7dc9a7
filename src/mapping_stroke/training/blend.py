"""Mixup: patches of a batch blended with one another, and the loss of such a batch."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mapping_stroke.training.losses import Gather, LogitsAnywhere, LossConfig, Target, deep_supervision_loss

Scans = Float[Tensor, "n 1 x y z"]


@dataclass(frozen=True, eq=False)
class Blend:
    """What was mixed into the patches of a batch.

    Attributes:
        share: Of the patch that was mixed in, in [0, 1].
        target: The reference of that patch.
    """

    share: float
    target: Int[Tensor, "n x y z"]


def blend_patches(scans: Scans, target: Target, alpha: float, rng: np.random.Generator) -> tuple[Scans, Blend]:
    """Mix each patch with the one before it in the batch, the first with the last, all in one share.

    Args:
        scans: Patches.
        target: Their reference.
        alpha: The share is drawn from Beta(alpha, alpha): mostly near 0 or 1 for a small alpha.
        rng: Decides.

    Source: Zhang et al. 2018, arXiv:1710.09412.
    Departs: the partner is the neighbour, not a random one, so that of two patches each gets the other.
    """
    share = float(rng.beta(alpha, alpha))
    return torch.lerp(scans, scans.roll(1, 0), share), Blend(share, target.roll(1, 0))


def batch_loss(
    outputs: list[LogitsAnywhere],
    target: Target,
    blend: Blend | None,
    config: LossConfig,
    gather: Gather | None = None,
) -> Float[Tensor, ""]:
    """Loss against the patches' own reference and that of the patches mixed in, each with its share.

    The losses are mixed, not the references: cross-entropy comes out the same, and the Dice and top-k terms keep
    comparing with real masks. (The soft Dice of a blended reference is not best where the prediction equals it.)
    """
    own = deep_supervision_loss(outputs, target, config, gather)
    if blend is None:
        return own
    other = deep_supervision_loss(outputs, blend.target, config, gather)
    return (1 - blend.share) * own + blend.share * other
