"""What the real nnU-Net v2 does in training; run by `.oracles/bin/python`, never imported by a test.

    oracle_training.py PART OUT [COUNT [SEED]]

PART is `losses`, `steps`, `dice`, `initial`, `weights` or `patches`; OUT is an .npz file. Everything goes through
`nnUNetTrainer` and `nnUNetDataLoader` themselves; only what they would read from a data set is put in their hands.
"""

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from nnunetv2.training.data_augmentation.compute_initial_patch_size import get_patch_size
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.training.nnUNetTrainer.variants.loss.nnUNetTrainerTopkLoss import nnUNetTrainerDiceTopK10Loss
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

from training_inputs import (
    PATCH,
    STEP_EPOCHS,
    STEP_FEATURES,
    STEP_LENGTH,
    STEPS,
    TARGETS,
    VOLUME,
    make_lesion_voxels,
    make_step_batch,
    make_target,
    make_weight,
    wave,
)

LABELS = SimpleNamespace(
    has_regions=False, ignore_label=None, has_ignore_label=False, all_labels=[1], foreground_labels=[1]
)
Arrays = dict[str, np.ndarray]


def main(part: str, out: str, count: str = "1000", seed: str = "0") -> None:
    np.random.seed(int(seed))  # noqa: NPY002 - the real program draws from here
    torch.manual_seed(int(seed))
    parts = {"losses": losses, "steps": steps, "dice": dice, "initial": initial, "weights": weights}
    np.savez_compressed(out, **(patches(int(count)) if part == "patches" else parts[part]()))


def make_trainer(kind: type[nnUNetTrainer] = nnUNetTrainer, **values: Any) -> Any:
    """A trainer without a data set."""
    trainer = object.__new__(kind)
    given = {
        "device": torch.device("cpu"), "is_ddp": False, "enable_deep_supervision": True, "grad_scaler": None,
        "label_manager": LABELS, "initial_lr": 1e-2, "weight_decay": 3e-5, "local_rank": 0, "current_epoch": 0,
    }  # fmt: skip
    trainer.__dict__.update(given | values)
    return trainer


def plan(stages: int, batch_dice: bool = False) -> SimpleNamespace:
    pools = [[1, 1, 1]] + [[2, 2, 2]] * (stages - 1)
    return SimpleNamespace(batch_dice=batch_dice, pool_op_kernel_sizes=pools)


def losses() -> Arrays:
    """Each loss on three resolutions (two of weight above 0), followed by its gradients for the finest two."""
    arrays = {}
    for name, kind in (("dice+ce", nnUNetTrainer), ("dice+topk10", nnUNetTrainerDiceTopK10Loss)):
        for batch_dice in (False, True):
            loss = make_trainer(kind, configuration_manager=plan(4, batch_dice))._build_loss()
            arrays[f"{name}_weights"] = np.array(loss.weight_factors)
            for target in TARGETS:
                shapes = [(3, 4, 5), (2, 3, 4), (2, 2, 2)]
                outputs = [torch.tensor(wave((2, 2, *shape), 1.1 + shape[0])).requires_grad_() for shape in shapes]
                targets = [torch.tensor(make_target(target, shape))[:, None] for shape in shapes]
                value = loss(outputs, targets)
                value.backward()
                key = f"{name}_{'batch' if batch_dice else 'each'}_{target}"
                gradients = [outputs[level].grad.numpy().ravel() for level in (0, 1)]  # type: ignore[union-attr]
                arrays[key] = np.concatenate([[value.item()], *gradients]).astype(np.float32)
    return arrays


def steps() -> Arrays:
    """The weights, losses and learning rates of the first training steps."""
    network = make_network("PlainConvUNet", STEP_FEATURES, [1] * 4, [1] * 3, True)
    for number, (name, parameter) in enumerate(network.named_parameters()):
        parameter.data = torch.from_numpy(make_weight(number, name, tuple(parameter.shape)))
    trainer = make_trainer(configuration_manager=plan(4), network=network, num_epochs=STEP_EPOCHS)
    trainer.loss = trainer._build_loss()
    trainer.optimizer, trainer.lr_scheduler = trainer.configure_optimizers()
    trainer.print_to_log_file = lambda *_: None
    trainer.logger = SimpleNamespace(log=lambda *_: None)
    norms, clip = [], torch.nn.utils.clip_grad_norm_
    torch.nn.utils.clip_grad_norm_ = lambda *given: norms.append(float(clip(*given)))  # type: ignore[assignment]
    found, rates = [], []
    for number in range(STEPS):
        if number % STEP_LENGTH == 0:
            trainer.current_epoch = number // STEP_LENGTH
            trainer.on_train_epoch_start()
            rates.append(trainer.optimizer.param_groups[0]["lr"])
        scan, target = (torch.from_numpy(array) for array in make_step_batch(number))
        targets = downsample(target)
        found.append(float(trainer.train_step({"data": scan, "target": targets})["loss"]))
    trainer.num_epochs = 1000
    _, schedule = trainer.configure_optimizers()
    poly = []
    for epoch in range(0, 1000, 50):
        schedule.step(epoch)
        poly.append(schedule.get_last_lr()[0])
    final = np.concatenate([parameter.detach().numpy().ravel() for parameter in network.parameters()])
    lists = {"losses": found, "rates": rates, "norms": norms, "poly": poly}
    return {name: np.array(values) for name, values in lists.items()} | {"final": final}


def downsample(target: torch.Tensor) -> list[torch.Tensor]:
    from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import DownsampleSegForDSTransform

    scales = make_trainer(configuration_manager=plan(4))._get_deep_supervision_scales()
    transform = DownsampleSegForDSTransform(scales)
    each = [transform(segmentation=sample[None])["segmentation"] for sample in target.to(torch.int16)]
    return [torch.stack(level) for level in zip(*each, strict=True)]


def dice() -> Arrays:
    """The online Dice and the validation loss over batches with lesions, with none, and with nothing marked at all."""
    arrays = {}
    for name, kinds, shift in (("mixed", TARGETS, 0.0), ("none", ("none",), 0.0), ("nothing", ("none",), -9.0)):
        logged: dict[str, Any] = {}
        trainer = make_trainer(
            configuration_manager=plan(4), enable_deep_supervision=False,
            network=lambda data: torch.cat([-data, data], 1),
            logger=SimpleNamespace(log=lambda key, value, _, logged=logged: logged.__setitem__(key, value)),
        )  # fmt: skip
        trainer.loss = trainer._build_loss()
        outputs = [
            trainer.validation_step({
                "data": torch.from_numpy(wave((2, 1, 5, 6, 7), 1.31 + 0.01 * number) + np.float32(shift)),
                "target": torch.from_numpy(make_target(kind, (5, 6, 7)))[:, None],
            })
            for number, kind in enumerate(kinds)
        ]  # fmt: skip
        with np.errstate(invalid="ignore"):
            trainer.on_validation_epoch_end(outputs)
        arrays[name] = np.array([logged["mean_fg_dice"], logged["val_losses"]])
    return arrays


def make_network(
    kind: str, features: tuple[int, ...], depths: list[int], decoder: list[int], bias: bool
) -> torch.nn.Module:
    stages = len(features)
    per_stage = "n_blocks_per_stage" if kind.startswith("Residual") else "n_conv_per_stage"
    arguments = {
        "n_stages": stages, "features_per_stage": list(features), "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[3, 3, 3]] * stages, "strides": plan(stages).pool_op_kernel_sizes, per_stage: depths,
        "n_conv_per_stage_decoder": decoder, "conv_bias": bias,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d", "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None, "dropout_op_kwargs": None, "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }  # fmt: skip
    requires = ["conv_op", "norm_op", "dropout_op", "nonlin"]
    module = "dynamic_network_architectures.architectures.unet"
    network: torch.nn.Module = get_network_from_plans(
        f"{module}.{kind}", arguments, requires, 1, 2, allow_init=True, deep_supervision=True
    )
    return network


def both_networks(divisor: int) -> dict[str, torch.nn.Module]:
    """The plain and the residual network of the paper's size, or narrower; each made from the seed 5."""
    networks = {}
    for name, kind, features, depths, decoder in (
        ("plain", "PlainConvUNet", (32, 64, 128, 256, 320, 320), [2] * 6, [2] * 5),
        ("residual", "ResidualEncoderUNet", (24, 48, 96, 192, 320, 320), [1, 2, 3, 4, 4, 4], [1] * 5),
    ):
        torch.manual_seed(5)
        narrow = tuple(feature // divisor for feature in features)
        networks[name] = make_network(kind, narrow, depths, decoder, name == "plain")
    return networks


def initial() -> Arrays:
    """Mean and standard deviation of every parameter of fresh networks, of an eighth of the width."""
    arrays = {}
    for kind, network in both_networks(8).items():
        parameters = dict(network.named_parameters())
        values = [[value.mean().item(), value.std(correction=0).item()] for value in parameters.values()]
        arrays |= {f"{kind}_names": np.array(list(parameters)), kind: np.array(values, np.float32)}
    return arrays


def weights() -> Arrays:
    """Every parameter of fresh networks of the full width."""
    return {
        f"{kind}_{name}": parameter.detach().numpy()
        for kind, network in both_networks(1).items()
        for name, parameter in network.named_parameters()
    }


def patches(count: int) -> Arrays:
    """Lowest voxels (x, y, z) of patches, anywhere and on lesions; and which samples of a batch are put on lesions."""
    rotation = (-np.pi / 6, np.pi / 6)
    initial_size = get_patch_size(PATCH, rotation, rotation, rotation, (0.85, 1.25))
    data = SimpleNamespace(identifiers=["a"])
    voxels = make_lesion_voxels()[:, ::-1]
    locations = {1: np.column_stack([np.zeros(len(voxels), int), voxels])}
    loader = nnUNetDataLoader(data, 2, initial_size, PATCH[::-1], LABELS, 0.33)
    arrays = {}
    for name, forced in (("anywhere", False), ("lesion", True)):
        lows = [loader.get_bbox(np.array(VOLUME[::-1]), forced, locations)[0] for _ in range(count)]
        inner = np.array(lows) + initial_size // 2 - np.array(PATCH) // 2  # what the spatial transform crops from it
        arrays[name] = inner[:, ::-1].astype(np.int16)
    arrays["forced"] = np.zeros((13, 12), bool)
    for batch in range(1, 13):
        loader = nnUNetDataLoader(data, batch, initial_size, PATCH[::-1], LABELS, 0.33)
        arrays["forced"][batch, :batch] = [loader.get_do_oversample(index) for index in range(batch)]
    return arrays


if __name__ == "__main__":
    main(*sys.argv[1:])
