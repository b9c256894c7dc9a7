"""Device, precision and processes of a training."""

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TypeVar

import lightning_fabric
import torch
from jaxtyping import Shaped
from lightning_fabric.plugins.environments import LightningEnvironment
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor

from mapping_stroke.errors import ConfigError, MappingError, Stopped, TrainingError
from mapping_stroke.images.nifti import Shape
from mapping_stroke.training.batches import Share
from mapping_stroke.training.losses import Gather

T = TypeVar("T")


def share_of(batch: int, fabric: lightning_fabric.Fabric) -> Share:
    """This process's share of a batch."""
    return Share(batch, fabric.global_rank, fabric.world_size)


def gather_from(fabric: lightning_fabric.Fabric) -> Gather | None:
    """A function that gathers values from all processes for the losses; None for a single process."""
    return None if fabric.world_size == 1 else partial(of_all, fabric=fabric)


def of_all(values: Shaped[Tensor, "..."], fabric: lightning_fabric.Fabric) -> Shaped[Tensor, "w ..."]:
    """Gather the values of every process by rank, on the training device and without gradient."""
    if fabric.world_size == 1:
        return values[None]
    gathered = [torch.empty_like(values) for _ in range(fabric.world_size)]
    torch.distributed.all_gather(gathered, values.detach().contiguous())  # Fabric uses a call deprecated in torch
    return torch.stack(gathered)


def any_of(flags: tuple[bool, ...], fabric: lightning_fabric.Fabric) -> tuple[bool, ...]:
    """For each flag, whether any process has set it; the same answer in all processes."""
    if fabric.world_size == 1:
        return flags
    raised = of_all(torch.tensor(flags, dtype=torch.int32, device=fabric.device), fabric)
    return tuple((raised > 0).any(0).tolist())


def first_does(do: Callable[[], T], fabric: lightning_fabric.Fabric) -> T:
    """Let the first process do something for all, such as writing a file; all get its result, or its error.

    Args:
        do: Called in the first process only; its result can be pickled.
        fabric: Launched engine.

    Raises:
        TrainingError: Raised by the first process; all continue with the next member together.
        SystemExit: In the other processes, if the first ends with any other error, which it reports.
    """
    if fabric.world_size == 1:
        return do()
    answer: T | None = None
    failure: BaseException | None = None
    if fabric.is_global_zero:
        try:
            answer = do()
        except (MappingError, OSError, Stopped) as error:
            failure = error
    answer, message = fabric.broadcast((answer, None if failure is None else _for_others(failure)))
    if failure is not None:
        raise failure
    if message is not None:
        raise message
    return answer


def _for_others(failure: BaseException) -> BaseException:
    """The error that the other processes raise after a failure in the first."""
    return TrainingError(str(failure)) if isinstance(failure, TrainingError) else SystemExit(0)


PRECISIONS = {"float32": "32-true", "bfloat16": "bf16-mixed"}
"""Fabric's names of the convolutions' precisions; weights, optimiser and losses are always float32."""
TORN_EDGE = 2
"""For grids with this many voxels along the first axis, processors compute wrong gradients in bfloat16: those of 3x3x3
convolutions are uninitialised memory (torch 2.13.0, oneDNN; found by comparison with float32)."""
LONGEST_WAIT = timedelta(hours=12)
"""Longest wait for another process: the first may prepare scans and make pseudo-labels for all."""


@dataclass(frozen=True)
class Hardware:
    """Device, precision and processes of a training.

    Attributes:
        device: Device of network, patches and augmentation.
        precision: `bfloat16`, `float32`, or `auto`: bfloat16 if the device has instructions for it.
        compiled: Compile network and loss: takes a minute at first, and needs a C++ compiler (CPU) or Triton (CUDA).
        devices: GPUs of each machine, one process each; on a CPU, processes that share it.
        nodes: Machines.
        grids: Grids of the convolutions, in voxels; a CPU computes some of them in float32.
    """

    device: torch.device
    precision: str = "auto"
    compiled: bool = False
    devices: int = 1
    nodes: int = 1
    grids: tuple[Shape, ...] = ()

    def __post_init__(self) -> None:
        if self.precision not in ("auto", *PRECISIONS):
            raise ConfigError(
                f"no precision {self.precision!r} to train in; expected one of auto, {', '.join(PRECISIONS)}"
            )
        for option, number in (("--devices", self.devices), ("--nodes", self.nodes)):
            if number < 1:
                raise ConfigError(f"got {option} {number}, expected 1 or more")
        if self.precision == "bfloat16" and self._tears:
            raise ConfigError(
                "this processor computes wrong gradients in bfloat16 for networks whose coarsest grid has "
                f"{TORN_EDGE} voxels along its first axis; leave --precision out, or take a larger patch"
            )
        if self.processes > 1:
            self._require_devices()

    @property
    def processes(self) -> int:
        """Number of processes on all machines."""
        return self.devices * self.nodes

    @property
    def computes_in(self) -> str:
        """The resolved precision on this device."""
        if self.precision != "auto":
            return self.precision
        on_processor = self.device.type == "cpu" and _processor_has_bfloat16() and not self._tears
        fast = self.device.type == "cuda" or on_processor
        return "bfloat16" if fast else "float32"

    @property
    def description(self) -> str:
        """Short description of device, precision and processes."""
        many = f", {self.processes} processes" if self.processes > 1 else ""
        return f"{self.device} ({self.computes_in}{', compiled' if self.compiled else ''}{many})"

    @property
    def _tears(self) -> bool:
        return self.device.type == "cpu" and any(grid[0] == TORN_EDGE for grid in self.grids)

    def _require_devices(self) -> None:
        """Raise `ConfigError` unless there is a device for each process."""
        if self.device.type not in ("cpu", "cuda"):
            raise ConfigError(
                f"several processes need CUDA GPUs or a processor, not {self.device}; leave --devices out"
            )
        if self.device.index is not None:
            raise ConfigError(f"--device {self.device} names one GPU; give --device cuda with --devices {self.devices}")
        there = torch.cuda.device_count() if self.device.type == "cuda" else self.devices
        if self.devices > there:
            raise ConfigError(
                f"got --devices {self.devices}, but this machine has {there} GPUs; give at most that number"
            )


@dataclass(frozen=True, eq=False)
class Engine:
    """Hardware and its launched Fabric, shared by all members of a command."""

    hardware: Hardware
    fabric: lightning_fabric.Fabric

    @classmethod
    def start(cls, hardware: Hardware) -> "Engine":
        """Launch; raises as `start_engine` does."""
        return cls(hardware, start_engine(hardware))


def start_engine(hardware: Hardware) -> lightning_fabric.Fabric:
    """Launch Fabric.

    With several processes on one machine, the others are started here by repeating the command line, unless `torchrun`
    or `srun` has started all of them.

    Raises:
        ConfigError: The number of started processes differs from that of `hardware`, or they cannot connect.
    """
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # silences the precision notice at every start
    accelerator = hardware.device.type if hardware.device.type in ("cuda", "mps") else "cpu"
    precision = PRECISIONS[hardware.computes_in]
    if hardware.processes == 1:
        devices = [hardware.device.index or 0] if accelerator == "cuda" else 1
        alone = [LightningEnvironment()]  # otherwise a job of Slurm is taken for one of several processes
        fabric = lightning_fabric.Fabric(accelerator=accelerator, devices=devices, precision=precision, plugins=alone)
        fabric.launch()
        return fabric
    strategy = DDPStrategy(timeout=LONGEST_WAIT)
    counts = {"devices": hardware.devices, "num_nodes": hardware.nodes}
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view")  # harmless, from 1x1x1 convolutions
    warnings.filterwarnings("ignore", ".*`srun` command is available")  # not needed on one machine
    try:
        fabric = lightning_fabric.Fabric(accelerator=accelerator, strategy=strategy, precision=precision, **counts)
        fabric.launch()
    except (ValueError, RuntimeError) as error:
        raise ConfigError(
            f"{hardware.nodes} x {hardware.devices} processes cannot train together: {error}; start as many as "
            "given by --nodes and --devices"
        ) from error
    return fabric


def _processor_has_bfloat16() -> bool:
    """Whether the processor has bfloat16 instructions; emulated by torch, it is slower than float32."""
    look = getattr(torch.cpu, "get_capabilities", None)  # absent from older torch
    found = look() if look else {}
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
