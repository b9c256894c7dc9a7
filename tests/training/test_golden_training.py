"""Losses, training steps, fresh weights, places of patches and the online Dice are those of the real nnU-Net v2.

The real program's results lie in `golden/`; what a network computes is compared in `tests/interop`.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.networks.spec import NetworkSpec
from mapping_stroke.networks.unet import build_unet
from mapping_stroke.training import loop
from mapping_stroke.training.batches import Batch
from mapping_stroke.training.engine import Hardware, start_engine
from mapping_stroke.training.loop import EpochSoFar
from mapping_stroke.training.losses import deep_supervision_weights, segmentation_loss
from mapping_stroke.training.schemes import SCHEMES, SIZES, LossConfig
from our_training import Arrays, our_patches
from training_agreement import require_same_distribution
from training_inputs import (
    STEP_EPOCHS,
    STEP_FEATURES,
    STEP_LENGTH,
    STEPS,
    TARGETS,
    make_step_batch,
    make_target,
    make_weight,
    wave,
)

CLOSING_NORM = "conv2.norm.weight"
GOLDEN = Path(__file__).parent / "golden"
CPU = torch.device("cpu")
FLOAT32 = Hardware(CPU, "float32")
LOSSES = {"dice+ce": None, "dice+topk10": 0.1}
CASE = CaseArrays("a", torch.ones(2, 2, 2).half(), torch.zeros(2, 2, 2, dtype=torch.uint8), np.zeros((0, 3), np.int16))
STEP_SIZE = replace(
    SIZES["full"],
    patch=(16, 16, 16),
    plain=NetworkSpec("plain", STEP_FEATURES, (1, 1, 1, 1), 1),
    residual=NetworkSpec("residual", STEP_FEATURES, (1, 1, 1, 1), 1),
    epochs=STEP_EPOCHS,
    steps_per_epoch=STEP_LENGTH,
)


def read_golden(name: str) -> Arrays:
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        return dict(arrays)


def narrow(spec: NetworkSpec) -> NetworkSpec:
    return replace(spec, features=tuple(feature // 8 for feature in spec.features))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("batch_dice", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_their_gradients_are_the_real_ones(name: str, batch_dice: bool, target: str) -> None:
    real, config = read_golden("losses"), LossConfig(LOSSES[name], batch_dice)
    weights = deep_supervision_weights(3)
    np.testing.assert_allclose(weights, real[f"{name}_weights"], rtol=1e-12)
    shapes = [(3, 4, 5), (2, 3, 4)]
    outputs = [torch.tensor(wave((2, 2, *shape), 1.1 + shape[0])).requires_grad_() for shape in shapes]
    loss = sum(
        weight * segmentation_loss(logits, torch.tensor(make_target(target, shape)), config)
        for weight, logits, shape in zip(weights[:2], outputs, shapes, strict=True)
    )
    loss.backward()  # type: ignore[union-attr]
    value, *gradients = real[f"{name}_{'batch' if batch_dice else 'each'}_{target}"]
    assert loss.item() == pytest.approx(value, abs=1e-6)  # type: ignore[union-attr]
    found = np.concatenate([logits.grad.numpy().ravel() for logits in outputs])  # type: ignore[union-attr]
    np.testing.assert_allclose(found, gradients, atol=1e-7, rtol=1e-5)


def test_training_steps_change_the_weights_as_the_real_ones_do(monkeypatch: pytest.MonkeyPatch) -> None:
    real = read_golden("steps")
    assert real["norms"].max() > 12 > real["norms"].min()  # some gradients are clipped, some are not
    state = loop.start_training(SCHEMES[0], STEP_SIZE, (0,), CPU)
    with torch.no_grad():
        for number, (name, parameter) in enumerate(state.network.named_parameters()):
            parameter.copy_(torch.from_numpy(make_weight(number, name, tuple(parameter.shape))))
    numbers = iter(range(STEPS))
    monkeypatch.setattr(loop, "draw_batch", lambda *_: make_batch(*make_step_batch(next(numbers))))
    for _ in loop.train(state, SCHEMES[0], STEP_SIZE, ([CASE], []), start_engine(FLOAT32)):
        if len(state.epochs) == STEPS // STEP_LENGTH:
            break
    assert [epoch.learning_rate for epoch in state.epochs] == pytest.approx(real["rates"], rel=1e-9)
    losses = real["losses"].reshape(-1, STEP_LENGTH).mean(1)
    assert [epoch.loss for epoch in state.epochs] == pytest.approx(losses, abs=1e-5)
    final = np.concatenate([parameter.detach().numpy().ravel() for parameter in state.network.parameters()])
    np.testing.assert_allclose(final, real["final"], atol=5e-6, rtol=1e-5)  # processors round convolutions differently


def test_the_learning_rate_of_a_thousand_epochs_is_the_real_one() -> None:
    ours = [0.01 * (1 - epoch / 1000) ** loop.POLYNOMIAL_DECAY for epoch in range(0, 1000, 50)]
    np.testing.assert_allclose(ours, read_golden("steps")["poly"], rtol=1e-12)


def make_batch(scan: np.ndarray, target: np.ndarray) -> Batch:
    return Batch(torch.from_numpy(scan), torch.from_numpy(target), ("a", "a"))


def validate_on(kinds: tuple[str, ...], shift: float = 0) -> tuple[float, float]:
    """Dice and loss of an epoch whose validation patches have those targets."""
    epoch = EpochSoFar(losses=[torch.zeros(())])
    for number, kind in enumerate(kinds):
        scan = wave((2, 1, 5, 6, 7), 1.31 + 0.01 * number) + np.float32(shift)
        batch = make_batch(scan, make_target(kind, (5, 6, 7)))
        epoch.add_validation(*loop.validate(_Contrary(), batch, LossConfig(), start_engine(FLOAT32)), 0.0)
    record = epoch.sum_up(0, 0.01)
    return record.foreground_dice, record.validation_loss


@pytest.mark.parametrize(("name", "kinds"), [("mixed", TARGETS), ("none", ("none",))])
def test_the_online_dice_is_the_real_one(name: str, kinds: tuple[str, ...]) -> None:
    assert validate_on(kinds) == pytest.approx(read_golden("dice")[name], abs=1e-6)


def test_where_nothing_is_marked_and_nothing_is_there_the_online_dice_is_one() -> None:
    dice, loss = read_golden("dice")["nothing"]
    assert np.isnan(dice)  # nnU-Net's; decision 32
    assert validate_on(("none",), shift=-9) == pytest.approx((1, loss), abs=1e-6)


class _Contrary(torch.nn.Module):
    """A network whose logits are the scan itself for the lesion, and minus it for the rest."""

    def forward(self, scan: torch.Tensor) -> list[torch.Tensor]:
        return [torch.cat([-scan, scan], 1)]


@pytest.mark.parametrize("kind", ["plain", "residual"])
def test_fresh_weights_have_the_real_means_and_spreads(kind: str) -> None:
    real = read_golden("initial")
    size = SIZES["full"]
    network = build_unet(narrow(size.plain if kind == "plain" else size.residual), seed=6)
    parameters = dict(network.named_parameters())
    assert list(parameters) == list(real[f"{kind}_names"])
    for (name, parameter), (mean, std) in zip(parameters.items(), real[kind], strict=True):
        count = parameter.numel()
        if std == 0:
            assert (parameter == mean).all(), name
        else:
            assert abs(parameter.mean().item() - mean) < 5 * std * np.sqrt(2 / count), name
            assert parameter.std().item() == pytest.approx(std, rel=5 / np.sqrt(count)), name
    closing = [float(mean) for name, (mean, _) in zip(parameters, real[kind], strict=True) if CLOSING_NORM in name]
    assert closing == [0.0] * (sum(size.residual.depths) if kind == "residual" else 0)  # a block passes its input on


def test_the_same_samples_of_a_batch_are_put_on_lesions() -> None:
    np.testing.assert_array_equal(our_patches(1)["forced"], read_golden("patches")["forced"])


def test_patches_lie_where_the_real_ones_lie() -> None:
    real, ours = read_golden("patches"), our_patches(1000)
    for axis in range(3):  # nnU-Net's reach one voxel before the near end: decision 31
        anywhere = real["anywhere"][:, axis]
        assert (anywhere.min(), anywhere.max()) == (-1, ours["anywhere"][:, axis].max())
        require_same_distribution(ours["anywhere"][:, axis], anywhere[anywhere >= 0], f"anywhere {axis}")
        require_same_distribution(ours["lesion"][:, axis], real["lesion"][:, axis].clip(0), f"on lesions {axis}")
