import numpy as np
import pytest
import torch
from torch.nn import functional

from mapping_stroke.training.losses import deep_supervision_loss, segmentation_loss, soft_dice_loss
from mapping_stroke.training.mixing import Blend, batch_loss, blend_patches
from mapping_stroke.training.schemes import LossConfig

DICE_CE, DICE_TOPK10 = LossConfig(), LossConfig(topk_share=0.10)


def patches(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Patch k is k everywhere; its reference is a lesion where k is odd."""
    scans = torch.arange(n, dtype=torch.float32).reshape(n, 1, 1, 1, 1).expand(n, 1, 2, 2, 2)
    return scans, (scans[:, 0] % 2).long()


def test_each_of_two_patches_takes_its_share_of_the_other() -> None:
    scans, target = patches(2)
    mixed, blend = blend_patches(scans, target, 1.0, np.random.default_rng(0))
    assert 0 < blend.share < 1
    assert mixed[:, 0, 0, 0, 0].tolist() == pytest.approx([blend.share, 1 - blend.share])
    assert blend.target[:, 0, 0, 0].tolist() == [1, 0]


def test_each_of_more_patches_takes_its_share_of_the_one_before() -> None:
    mixed, blend = blend_patches(*patches(4), 1.0, np.random.default_rng(1))
    share = blend.share
    expected = [own * (1 - share) + other * share for own, other in ((0, 3), (1, 0), (2, 1), (3, 2))]
    assert mixed[:, 0, 0, 0, 0].tolist() == pytest.approx(expected)
    assert blend.target[:, 0, 0, 0].tolist() == [1, 0, 1, 0]


def test_a_patch_alone_stays_as_it_is() -> None:
    scans, target = torch.randn(1, 1, 3, 3, 3), torch.ones(1, 3, 3, 3, dtype=torch.long)
    mixed, blend = blend_patches(scans, target, 0.2, np.random.default_rng(0))
    torch.testing.assert_close(mixed, scans)
    assert torch.equal(blend.target, target)


def test_without_lesion_nothing_becomes_one() -> None:
    _, blend = blend_patches(torch.randn(2, 1, 3, 3, 3), torch.zeros(2, 3, 3, 3).long(), 0.2, np.random.default_rng(0))
    assert not blend.target.any()


def test_shares_are_beta_and_the_same_from_the_same_seed() -> None:
    scans, target = patches(2)
    first, second = (
        [blend_patches(scans, target, 0.2, rng)[1].share for _ in range(2000)]
        for rng in (np.random.default_rng(5), np.random.default_rng(5))
    )
    assert first == second
    assert np.mean(first) == pytest.approx(0.5, abs=0.03)
    assert np.var(first) == pytest.approx(0.25 / 1.4, rel=0.05)  # of Beta(a, a): 1 / (4 (2a + 1))


@pytest.mark.parametrize("config", [DICE_CE, DICE_TOPK10])
def test_the_loss_weighs_both_references_by_their_shares(config: LossConfig) -> None:
    generator = torch.Generator().manual_seed(0)
    outputs = [torch.randn(2, 2, edge, edge, edge, generator=generator) for edge in (4, 2)]
    own, other = (torch.randint(0, 2, (2, 4, 4, 4), generator=generator) for _ in range(2))
    losses = [float(deep_supervision_loss(outputs, target, config)) for target in (own, other)]
    mixed = batch_loss(outputs, own, Blend(0.3, other), config)
    assert float(mixed) == pytest.approx(0.7 * losses[0] + 0.3 * losses[1], abs=1e-6)
    assert float(batch_loss(outputs, own, None, config)) == losses[0]
    assert float(batch_loss(outputs, own, Blend(0.0, other), config)) == pytest.approx(losses[0])


def test_mixed_cross_entropies_are_the_cross_entropy_of_the_mixed_reference() -> None:
    logits = torch.randn(2, 2, 3, 3, 3, generator=torch.Generator().manual_seed(1))
    own, other = (torch.randint(0, 2, (2, 3, 3, 3)) for _ in range(2))
    lesion = 0.7 * own + 0.3 * other
    soft = functional.cross_entropy(logits, torch.stack([1 - lesion, lesion], dim=1))
    both = [segmentation_loss(logits, target, DICE_CE) - soft_dice_loss(logits, target) for target in (own, other)]
    assert float(0.7 * both[0] + 0.3 * both[1]) == pytest.approx(float(soft), abs=1e-6)


def test_the_soft_dice_of_a_mixed_reference_is_not_best_where_the_prediction_equals_it() -> None:
    """Why losses are mixed and not references: 2 p t / (p + t) grows with p beyond t."""
    reference = 0.3
    dice = [2 * p * reference / (p + reference) for p in (0.3, 0.6, 1.0)]
    assert dice == sorted(dice)
    assert dice[0] < dice[2]
