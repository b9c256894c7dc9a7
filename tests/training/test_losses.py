import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mapping_stroke.dataset.arrays import UNSURE
from mapping_stroke.errors import ConfigError
from mapping_stroke.training.losses import (
    deep_supervision_loss,
    deep_supervision_weights,
    downsample_target,
    segmentation_loss,
    soft_dice_loss,
    topk_cross_entropy,
)
from mapping_stroke.training.schemes import LossConfig

DICE_CE, DICE_TOPK10 = LossConfig(), LossConfig(topk_share=0.10)


def logits_of(probability: torch.Tensor) -> torch.Tensor:
    """Logits whose softmax gives P(lesion) of (n, x, y, z)."""
    return torch.stack([torch.zeros_like(probability), torch.logit(probability.double()).float()], dim=1)


def row(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32).reshape(1, 1, 1, -1)


def test_soft_dice_of_a_row_by_hand() -> None:
    loss = soft_dice_loss(logits_of(row(0.5, 0.25)), row(1, 0).long())
    assert float(loss) == pytest.approx(-(2 * 0.5) / (0.75 + 1), abs=1e-4)


def test_batch_dice_pools_the_voxels_of_all_samples() -> None:
    probability, target = torch.cat([row(0.5, 0.5), row(0.1, 0.1)]), torch.cat([row(1, 1), row(0, 0)]).long()
    each = soft_dice_loss(logits_of(probability), target)
    pooled = soft_dice_loss(logits_of(probability), target, batch_dice=True)
    assert float(each) == pytest.approx(-(2 / 3 + 0) / 2, abs=1e-3)
    assert float(pooled) == pytest.approx(-2 / (1.2 + 2), abs=1e-3)


def test_an_empty_target_predicted_empty_is_perfect() -> None:
    logits = torch.zeros(1, 2, 2, 2, 2)
    logits[:, 0] = 100
    assert float(soft_dice_loss(logits, torch.zeros(1, 2, 2, 2, dtype=torch.long))) == pytest.approx(-1)


def test_topk_averages_the_hardest_tenth() -> None:
    probability = torch.full((1, 1, 4, 5), 0.1)
    probability[0, 0, 0, :2] = torch.tensor([0.8, 0.9])
    target = torch.zeros(1, 1, 4, 5, dtype=torch.long)
    loss = topk_cross_entropy(logits_of(probability), target)
    assert float(loss) == pytest.approx(-(math.log(0.2) + math.log(0.1)) / 2, abs=1e-5)


def test_topk_of_fewer_than_ten_voxels_takes_the_hardest_one() -> None:
    loss = topk_cross_entropy(logits_of(row(0.5, 0.75)), row(0, 0).long())
    assert float(loss) == pytest.approx(-math.log(0.25), abs=1e-5)


@pytest.mark.parametrize(
    ("resolutions", "weights"),
    [(1, [1]), (2, [1, 0]), (3, [2 / 3, 1 / 3, 0]), (5, [8 / 15, 4 / 15, 2 / 15, 1 / 15, 0])],
)
def test_each_resolution_weighs_half_the_finer_and_the_coarsest_nothing(resolutions: int, weights: list[float]) -> None:
    assert deep_supervision_weights(resolutions) == pytest.approx(weights)


@given(st.integers(1, 8))
def test_deep_supervision_weights_sum_to_one(resolutions: int) -> None:
    assert sum(deep_supervision_weights(resolutions)) == pytest.approx(1)


def test_the_coarsest_output_takes_no_part_in_the_loss() -> None:
    target = torch.zeros(1, 4, 4, 4, dtype=torch.long)
    target[0, :2] = 1
    outputs = [torch.randn(1, 2, edge, edge, edge) for edge in (4, 2, 1)]
    loss = deep_supervision_loss(outputs, target, DICE_CE)
    finest = segmentation_loss(outputs[0], target, DICE_CE)
    middle = segmentation_loss(outputs[1], downsample_target(target, outputs[1].shape[2:]), DICE_CE)
    assert float(loss) == pytest.approx(float(2 / 3 * finest + 1 / 3 * middle), abs=1e-6)


def test_a_target_is_brought_down_by_its_nearest_voxels() -> None:
    target = torch.arange(4).reshape(1, 1, 1, 4)
    assert downsample_target(target, torch.Size((1, 1, 2))).ravel().tolist() == [1, 3]


@pytest.mark.parametrize("loss", [DICE_CE, DICE_TOPK10])
def test_the_gradient_is_the_slope(loss: LossConfig) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 2, 2, 3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    target = torch.randint(0, 2, (1, 2, 3, 4), generator=generator)
    assert torch.autograd.gradcheck(lambda z: segmentation_loss(z, target, loss), (logits,))


def test_a_better_prediction_costs_less() -> None:
    target = row(1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0).long()
    costs = [
        float(segmentation_loss(logits_of(torch.where(target == 1, p, 1 - p).float()), target, DICE_TOPK10))
        for p in np.linspace(0.1, 0.9, 5)
    ]
    assert costs == sorted(costs, reverse=True)


def test_a_share_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="topk_share is 0"):
        LossConfig(topk_share=0.0)


@pytest.mark.parametrize("config", [DICE_CE, DICE_TOPK10, LossConfig(batch_dice=True)])
def test_two_processes_with_the_same_patches_lose_what_one_with_both_loses(config: LossConfig) -> None:
    logits = torch.randn(1, 2, 2, 3, 4, generator=torch.Generator().manual_seed(1)).requires_grad_()
    target = torch.zeros(1, 2, 3, 4, dtype=torch.long)
    target[0, 0] = 1
    whole = segmentation_loss(torch.cat([logits, logits]), torch.cat([target, target]), config)
    part = segmentation_loss(logits, target, config, lambda values: torch.stack([values, values]))
    assert part.item() == pytest.approx(whole.item(), abs=1e-6)
    torch.testing.assert_close(*(torch.autograd.grad(loss, logits)[0] for loss in (part, whole)))


def test_equal_voxels_share_the_last_places_among_the_hardest() -> None:
    logits = torch.zeros(1, 2, 1, 1, 20, requires_grad=True)
    target = torch.zeros(1, 1, 1, 20, dtype=torch.long)
    loss = topk_cross_entropy(logits, target, 0.1, lambda values: torch.stack([values, values]))
    assert loss.item() == pytest.approx(math.log(2))
    (slope,) = torch.autograd.grad(loss, logits)
    assert slope[:, 1].sum().item() == pytest.approx(0.5)


@pytest.mark.parametrize("config", [DICE_CE, DICE_TOPK10, LossConfig(batch_dice=True)])
def test_what_is_said_of_an_unsure_voxel_changes_neither_loss_nor_gradient(config: LossConfig) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 2, 4, 4, 4, generator=generator)
    target = (torch.rand(2, 4, 4, 4, generator=generator) < 0.3).long()
    target[:, :2] = UNSURE
    other = logits.clone()
    other[:, :, :2] = -3 * other[:, :, :2]
    first, second = (each.requires_grad_() for each in (logits, other))
    losses = [segmentation_loss(each, target, config) for each in (first, second)]
    assert torch.equal(*losses)
    gradient = torch.autograd.grad(losses[0], first)[0]
    assert not gradient[:, :, :2].any()
    assert bool(gradient[:, :, 2:].any())


@pytest.mark.parametrize("config", [DICE_CE, DICE_TOPK10])
def test_without_unsure_voxels_losses_are_the_plain_ones_bit_by_bit(config: LossConfig) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 2, 6, 5, 4, generator=generator).requires_grad_()
    target = (torch.rand(2, 6, 5, 4, generator=generator) < 0.2).long()
    lesion, reference = torch.softmax(logits, dim=1)[:, 1].flatten(1), target.flatten(1).float()
    both, either = (lesion * reference).sum(1), lesion.sum(1) + reference.sum(1)
    entropies = torch.nn.functional.cross_entropy(logits, target, reduction="none").flatten()
    entropy = torch.nn.functional.cross_entropy(logits, target)
    if config.topk_share is not None:
        entropy = entropies.topk(int(entropies.numel() * config.topk_share), sorted=False).values.mean()
    plain = -((2 * both + 1e-5) / (either + 1e-5).clamp_min(1e-8)).mean() + entropy
    found = segmentation_loss(logits, target, config)
    assert torch.equal(found, plain)
    assert torch.equal(*(torch.autograd.grad(loss, logits)[0] for loss in (found, plain)))
