"""Time of the parts of a training step, and their lower bounds: `python -m benchmarks.training_steps JOB RESULT`.

It runs in its own process, so that it does not affect other measurements.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from benchmarks.training_task import TrainingJob, TrainingTask, read_job
from mapping_stroke.dataset.sources import Cases
from mapping_stroke.files import write_json
from mapping_stroke.networks.unet import build_unet
from mapping_stroke.stages.arrays import make_arrays
from mapping_stroke.training.batches import bring_to, draw_batch
from mapping_stroke.training.engine import Hardware, start_engine
from mapping_stroke.training.loop import LARGEST_GRADIENT_NORM, TrainingState, start_training
from mapping_stroke.training.mixing import batch_loss
from mapping_stroke.training.schemes import augmentation_of

STEPS, WARM_UP = 20, 4
PASSES = 3
"""The forward pass, and two of the same size backwards: for the inputs and for the weights."""
COPIED_VALUES = 2**26
PARTS = ("cut and augment", "forward", "loss", "backward", "optimiser")


@dataclass(frozen=True)
class StepFacts:
    """One of our uncompiled steps, and its lower bound.

    Attributes:
        precision: Precision of the convolutions.
        seconds: Median seconds of each part of a step, in order.
        flop: Operations of the convolutions of a step, forward and backward.
        flop_per_s: Best rate that one of the network's own 3x3x3 convolutions reaches by itself, forward.
        moved_bytes: Bytes read and written by the convolutions of a step, each map once in each of three passes.
        bytes_per_s: Rate of copying memory.
    """

    precision: str
    seconds: dict[str, float]
    flop: float
    flop_per_s: float
    moved_bytes: float
    bytes_per_s: float

    @property
    def step_s(self) -> float:
        """Sum of all parts."""
        return sum(self.seconds.values())

    @property
    def floor_s(self) -> float:
        """Lower bound of a step: its operations or its bytes, whichever takes longer."""
        return max(self.flop / self.flop_per_s, self.moved_bytes / self.bytes_per_s)


def measure_steps(job: TrainingJob) -> StepFacts:
    """Time the parts of some training steps, then the performance of the device."""
    hardware = Hardware(torch.device(job.device), job.precision)
    task, device = job.task, hardware.device
    seconds = _time_parts(job, hardware)
    kind = torch.bfloat16 if hardware.computes_in == "bfloat16" else torch.float32
    values, grids = _convolutions(task)
    return StepFacts(
        precision=hardware.computes_in,
        seconds=seconds,
        flop=PASSES * task.batch * task.network.forward_flop(task.patch),
        flop_per_s=max(_convolution_rate(task.batch, channels, grid, kind, device) for channels, grid in grids),
        moved_bytes=PASSES * task.batch * values * kind.itemsize,
        bytes_per_s=_copy_rate(device),
    )


def _time_parts(job: TrainingJob, hardware: Hardware) -> dict[str, float]:
    task = job.task
    triples = [(case.case_id, Path(case.scan), Path(case.mask)) for case in job.training]
    arrays = make_arrays(Path(job.prepared), triples, task.size.preprocess)
    cases = bring_to(hardware.device, list(arrays.values()))
    fabric = start_engine(hardware)
    state = start_training(task.scheme, task.size, (job.seed,), hardware.device)
    network, optimiser = fabric.setup(state.network, state.optimiser)
    taken: dict[str, list[float]] = {part: [] for part in PARTS}
    for _ in range(WARM_UP + STEPS):
        _step(_Stopwatch(taken, hardware.device), task, cases, state, (fabric, network, optimiser))
    return {part: median(each[WARM_UP:]) for part, each in taken.items()}


def _step(
    watch: "_Stopwatch",
    task: TrainingTask,
    cases: Cases,
    state: TrainingState,
    engine: tuple[Fabric, Any, Any],
) -> None:
    """A step as in `training.loop`, with its parts timed."""
    fabric, network, optimiser = engine
    with watch.part("cut and augment"):
        batch = draw_batch(cases, task.patch, task.batch, augmentation_of(task.scheme), state.random)
    with watch.part("forward"):
        outputs = network(batch.scan)
    with watch.part("loss"):
        loss = batch_loss(outputs, batch.target, batch.blend, task.size.loss_of(task.scheme))
    with watch.part("backward"):
        optimiser.zero_grad(set_to_none=True)
        fabric.backward(loss)
    with watch.part("optimiser"):
        fabric.clip_gradients(network, optimiser, max_norm=LARGEST_GRADIENT_NORM)
        optimiser.step()


@dataclass(frozen=True)
class _Stopwatch:
    taken: dict[str, list[float]]
    device: torch.device

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        _wait(self.device)  # GPU work is asynchronous
        start = time.perf_counter()
        yield
        _wait(self.device)
        self.taken[name].append(time.perf_counter() - start)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _convolutions(task: TrainingTask) -> tuple[int, list[tuple[int, tuple[int, int, int]]]]:
    """Number of values that convolutions read and write in a forward pass, and channels and grid of each stage."""
    values = 0

    def count(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal values
        values += inputs[0].numel() + output.numel()

    network = build_unet(task.network, seed=0)
    # hooks see every convolution with the shapes of a real pass
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            module.register_forward_hook(count)
    with torch.no_grad():
        network(torch.zeros((1, 1, *task.patch)))
    return values, list(zip(task.network.features, task.network.shapes(task.patch), strict=True))


def _convolution_rate(
    batch: int, channels: int, grid: tuple[int, int, int], kind: torch.dtype, device: torch.device
) -> float:
    """Floating-point operations per second of one 3x3x3 convolution with as many channels in as out."""
    layout = torch.channels_last_3d  # the faster memory layout, as in training
    maps = torch.randn((batch, channels, *grid), device=device).to(kind).contiguous(memory_format=layout)
    convolution = nn.Conv3d(channels, channels, 3, padding=1).to(device, kind)
    torch.nn.utils.convert_conv3d_weight_memory_format(convolution, layout)
    with torch.no_grad():
        seconds = _median_seconds(lambda: convolution(maps), device)
    voxels = grid[0] * grid[1] * grid[2]
    return batch * 2 * 27 * channels**2 * voxels / seconds


def _copy_rate(device: torch.device) -> float:
    """Bytes read and written per second by a copy."""
    source = torch.zeros(COPIED_VALUES, device=device)
    target = torch.empty_like(source)
    # read and write, four bytes each
    return 2 * 4 * COPIED_VALUES / _median_seconds(lambda: target.copy_(source), device)


def _median_seconds(work: Callable[[], object], device: torch.device) -> float:
    seconds = []
    for _ in range(STEPS):
        _wait(device)
        start = time.perf_counter()
        work()
        _wait(device)
        seconds.append(time.perf_counter() - start)
    return median(seconds[WARM_UP:])


if __name__ == "__main__":
    write_json(Path(sys.argv[2]), asdict(measure_steps(read_job(Path(sys.argv[1])))))
