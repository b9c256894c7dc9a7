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
    """How the losses ask the other processes; None where there are none."""
    return None if fabric.world_size == 1 else partial(of_all, fabric=fabric)


def of_all(values: Shaped[Tensor, "..."], fabric: lightning_fabric.Fabric) -> Shaped[Tensor, "w ..."]:
    """The values of every process, in their order; they lie on the training device, and no gradient passes."""
    if fabric.world_size == 1:
        return values[None]
    gathered = [torch.empty_like(values) for _ in range(fabric.world_size)]
    torch.distributed.all_gather(gathered, values.detach().contiguous())  # what Fabric calls is deprecated by torch
    return torch.stack(gathered)


def any_of(flags: tuple[bool, ...], fabric: lightning_fabric.Fabric) -> tuple[bool, ...]:
    """For each flag, whether any process has raised it: the same answer in all."""
    if fabric.world_size == 1:
        return flags
    raised = of_all(torch.tensor(flags, dtype=torch.int32, device=fabric.device), fabric)
    return tuple((raised > 0).any(0).tolist())


def first_does(do: Callable[[], T], fabric: lightning_fabric.Fabric) -> T:
    """Have the first process do something for all, such as writing a file; all get its answer, or its error.

    Args:
        do: Called in the first process only; its answer can be pickled.
        fabric: Launched engine.

    Raises:
        TrainingError: The first process got one: all go on to the next member together.
        SystemExit: In the others, where the first process ends with any other error, and says why.
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
    answer, message = fabric.broadcast((answer, None if failure is None else _told(failure)))
    if failure is not None:
        raise failure
    if message is not None:
        raise message
    return answer


def _told(failure: BaseException) -> BaseException:
    """What the other processes raise where the first one failed."""
    return TrainingError(str(failure)) if isinstance(failure, TrainingError) else SystemExit(0)


PRECISIONS = {"float32": "32-true", "bfloat16": "bf16-mixed"}
"""Of the convolutions, by our names and Fabric's; weights, optimiser and losses are float32 always."""
TORN_EDGE = 2
"""Where a grid has so many voxels along its first axis, processors compute wrong gradients in bfloat16: the weights of
3x3x3 convolutions get what happens to lie in memory (torch 2.13.0, oneDNN; found by comparing with float32)."""
LONGEST_WAIT = timedelta(hours=12)
"""Of one process for another: the first may prepare scans and make pseudo-labels for all."""


@dataclass(frozen=True)
class Hardware:
    """What a member is trained on, and how that computes.

    Attributes:
        device: Where network, patches and augmentation live.
        precision: `bfloat16`, `float32`, or `auto`: bfloat16 where the device has instructions for it.
        compiled: Compile network and loss: a minute at the start, and a C++ compiler (CPU) or Triton (CUDA) is needed.
        devices: GPUs of each machine, each with a process of its own; on a processor, processes that share it.
        nodes: Machines.
        grids: What the convolutions will be computed on, in voxels; a processor takes float32 for some of them.
    """

    device: torch.device
    precision: str = "auto"
    compiled: bool = False
    devices: int = 1
    nodes: int = 1
    grids: tuple[Shape, ...] = ()

    def __post_init__(self) -> None:
        if self.precision not in ("auto", *PRECISIONS):
            raise ConfigError(f"no precision {self.precision!r} to train in; expected auto, {', '.join(PRECISIONS)}")
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
        """All that train together, on all machines."""
        return self.devices * self.nodes

    @property
    def computes_in(self) -> str:
        """The precision that `precision` comes to on this device."""
        if self.precision != "auto":
            return self.precision
        on_processor = self.device.type == "cpu" and _processor_has_bfloat16() and not self._tears
        fast = self.device.type == "cuda" or on_processor
        return "bfloat16" if fast else "float32"

    @property
    def description(self) -> str:
        """What computes, in a few words."""
        many = f", {self.processes} processes" if self.processes > 1 else ""
        return f"{self.device} ({self.computes_in}{', compiled' if self.compiled else ''}{many})"

    @property
    def _tears(self) -> bool:
        return self.device.type == "cpu" and any(grid[0] == TORN_EDGE for grid in self.grids)

    def _require_devices(self) -> None:
        """Refuse several processes where there is no device for each."""
        if self.device.type not in ("cpu", "cuda"):
            raise ConfigError(
                f"several processes need CUDA GPUs or a processor, not {self.device}; leave --devices out"
            )
        if self.device.index is not None:
            raise ConfigError(f"--device {self.device} names one GPU; give --device cuda with --devices {self.devices}")
        there = torch.cuda.device_count() if self.device.type == "cuda" else self.devices
        if self.devices > there:
            raise ConfigError(f"got --devices {self.devices}, but this machine has {there} GPUs; give at most so many")


@dataclass(frozen=True, eq=False)
class Engine:
    """Hardware, and what trains on it, launched once for all members of a command."""

    hardware: Hardware
    fabric: lightning_fabric.Fabric

    @classmethod
    def start(cls, hardware: Hardware) -> "Engine":
        """Launch; raises as `start_engine` does."""
        return cls(hardware, start_engine(hardware))


def start_engine(hardware: Hardware) -> lightning_fabric.Fabric:
    """A launched engine.

    With several processes on one machine the other ones are started here, by repeating the command line, unless
    `torchrun` or `srun` has started all of them.

    Raises:
        ConfigError: Who started the processes started another number than `hardware` says, or they find no connection.
    """
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces the precision at every start
    accelerator = hardware.device.type if hardware.device.type in ("cuda", "mps") else "cpu"
    precision = PRECISIONS[hardware.computes_in]
    if hardware.processes == 1:
        devices = [hardware.device.index or 0] if accelerator == "cuda" else 1
        fabric = lightning_fabric.Fabric(accelerator=accelerator, devices=devices, precision=precision)
        fabric.launch()
        return fabric
    strategy = DDPStrategy(timeout=LONGEST_WAIT)
    counts = {"devices": hardware.devices, "num_nodes": hardware.nodes}
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view")  # of 1x1x1 convolutions: all the same
    try:
        fabric = lightning_fabric.Fabric(accelerator=accelerator, strategy=strategy, precision=precision, **counts)
        fabric.launch()
    except (ValueError, RuntimeError) as error:
        raise ConfigError(
            f"{hardware.nodes} x {hardware.devices} processes cannot train together: {error}; start as many as "
            "--nodes and --devices say"
        ) from error
    return fabric


def _processor_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself: where torch must imitate it, float32 is faster."""
    look = getattr(torch.cpu, "get_capabilities", None)  # absent from older torch
    found = look() if look else {}
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
