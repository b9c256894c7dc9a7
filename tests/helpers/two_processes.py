"""What one process of several computes, to be compared with one that is alone; started by `run_in_two`."""

import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning_fabric
import numpy as np
import torch

from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.errors import FileError, TrainingError
from mapping_stroke.networks.spec import NetworkSpec
from mapping_stroke.training.batches import draw_batch
from mapping_stroke.training.checkpoint import bring_in_step
from mapping_stroke.training.engine import Hardware, any_of, first_does, gather_from, of_all, share_of, start_engine
from mapping_stroke.training.loop import start_training, train
from mapping_stroke.training.mixing import batch_loss
from mapping_stroke.training.schemes import DEFAULT, MIXINGS, SCHEMES, STRONG, LossConfig
from phantoms import NANO, phantom

CPU = torch.device("cpu")
SIZE = replace(
    NANO,
    plain=NetworkSpec("plain", (4, 8, 8), (1, 1, 1)),
    residual=NetworkSpec("residual", (4, 8, 8), (1, 1, 1), 1, conv_bias=False),
    batch=2,
    steps_per_epoch=2,
    validation_steps=2,
)
"""Three resolutions: the coarsest takes no part in the loss."""
CONFIGS = {
    "dice+ce": (LossConfig(), "none"),
    "dice+topk10": (LossConfig(topk_share=0.1), "none"),
    "batch_dice": (LossConfig(batch_dice=True), "none"),
    "mixup, dice+topk10": (LossConfig(topk_share=0.1), "mixup"),
    "carvemix": (LossConfig(), "carvemix"),
}


def make_case(name: str, seed: int) -> CaseArrays:
    scan, lesion = phantom(seed)
    scores = torch.from_numpy((scan - 90) / 30 * (scan != 0)).half()
    return CaseArrays(name, scores, torch.from_numpy(lesion).byte(), np.argwhere(lesion).astype(np.int16))


CASES = [make_case(f"p{seed}", seed) for seed in range(3)]


def answers(fabric: lightning_fabric.Fabric) -> dict[str, Any]:
    """All that is compared."""
    return {name: gradients(fabric, *config) for name, config in CONFIGS.items()} | {
        "trained": [trained(fabric, scheme) for scheme in (1, 2)],
        "nan": loss_that_is_no_number(fabric),
        "any": any_of((fabric.global_rank == fabric.world_size - 1, False), fabric),
        "first": first_does(lambda: {"rank": fabric.global_rank}, fabric),
        "in step": in_step(fabric),
        "failures": [failure(fabric, kind) for kind in (TrainingError, FileError)],
    }


def gradients(fabric: lightning_fabric.Fabric, config: LossConfig, mixing: str) -> dict[str, torch.Tensor]:
    """The loss of one batch of four, and the gradient of every parameter."""
    state = start_training(SCHEMES[0], SIZE, (7,), CPU)
    network, _ = fabric.setup(state.network, state.optimiser)
    batch = draw_batch(CASES, SIZE.patch, share_of(4, fabric), STRONG, state.random, MIXINGS[mixing])
    loss = batch_loss(network(batch.scan), batch.target, batch.blend, config, gather_from(fabric))
    fabric.backward(loss)
    found = {name: p.grad.clone() for name, p in state.network.named_parameters() if p.grad is not None}
    return found | {"loss": of_all(loss.detach(), fabric).mean()}


def trained(fabric: lightning_fabric.Fabric, scheme: int) -> tuple[torch.Tensor, list[float]]:
    """Weights and records of a whole training with validation."""
    state = start_training(SCHEMES[scheme], SIZE, (1,), CPU)
    list(train(state, SCHEMES[scheme], SIZE, (CASES[:2], CASES[2:]), fabric))
    weights = torch.cat([p.detach().flatten() for p in state.network.parameters()])
    return weights, [v for e in state.epochs for v in (e.loss, e.foreground_dice, e.validation_loss)]


def loss_that_is_no_number(fabric: lightning_fabric.Fabric) -> str:
    """The second patch alone is spoilt: the first process learns of it from the second."""
    broken = replace(CASES[1], case_id="broken", scan=CASES[1].scan * float("nan"))
    cases = [CASES[0], broken]
    for seed in range(100):
        random = start_training(SCHEMES[0], SIZE, (seed,), CPU).random
        if draw_batch(cases, SIZE.patch, 2, DEFAULT, random).case_ids == ("p0", "broken"):
            break
    try:
        list(train(start_training(SCHEMES[0], SIZE, (seed,), CPU), SCHEMES[0], SIZE, (cases, []), fabric))
    except TrainingError as error:
        return str(error)
    return ""


def in_step(fabric: lightning_fabric.Fabric) -> tuple[float, int, int]:
    """The processes begin at different states and go on from that of the first."""
    state = start_training(SCHEMES[0], SIZE, (fabric.global_rank,), CPU)
    state.so_far.add_validation(float(fabric.global_rank), torch.zeros(3, dtype=torch.int64), 1.0)
    bring_in_step(state, fabric)
    weights = sum(float(p.detach().abs().sum()) for p in state.network.parameters())
    return weights, int(state.random.numbers.integers(1000)), state.so_far.steps_done


def failure(fabric: lightning_fabric.Fabric, kind: type[Exception]) -> str:
    """What a process raises when the first one fails."""

    def fail() -> None:
        raise kind("it failed")

    try:
        first_does(fail, fabric)
    except (TrainingError, FileError, SystemExit) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def run_in_two(folder: Path) -> list[dict[str, Any]]:
    """The answers of two processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(_one_of_two, (folder, port), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]


def _one_of_two(rank: int, folder: Path, port: int) -> None:
    torch.set_num_threads(1)
    for name, value in {"LOCAL_RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items():
        os.environ[name] = str(value)  # noqa: TID251 - how Fabric is told that its processes are started already
    torch.save(answers(start_engine(Hardware(CPU, "float32", devices=2))), folder / f"{rank}.pt")


def run_in_one() -> dict[str, Any]:
    """The answers of a process that is alone."""
    return answers(start_engine(Hardware(CPU, "float32")))
