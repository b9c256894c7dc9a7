"""The engine under the loop: device, precision, processes."""

import logging
from dataclasses import dataclass

import lightning_fabric
import torch

from mapping_stroke.errors import ConfigError

PRECISIONS = {"float32": "32-true", "bfloat16": "bf16-mixed"}
"""Of the convolutions, by our names and Fabric's; weights, optimiser and losses are float32 always."""


@dataclass(frozen=True)
class Hardware:
    """What a member is trained on, and how that computes.

    Attributes:
        device: Where network, patches and augmentation live.
        precision: `bfloat16`, `float32`, or `auto`: bfloat16 where the device has instructions for it.
        compiled: Compile the network: a minute at the start, and a C++ compiler (CPU) or Triton (CUDA) is needed.
    """

    device: torch.device
    precision: str = "auto"
    compiled: bool = False

    def __post_init__(self) -> None:
        if self.precision not in ("auto", *PRECISIONS):
            raise ConfigError(f"no precision {self.precision!r} to train in; expected auto, {', '.join(PRECISIONS)}")

    @property
    def computes_in(self) -> str:
        """The precision that `precision` comes to on this device."""
        if self.precision != "auto":
            return self.precision
        fast = self.device.type == "cuda" or (self.device.type == "cpu" and _processor_has_bfloat16())
        return "bfloat16" if fast else "float32"

    @property
    def description(self) -> str:
        """What computes, in a few words."""
        return f"{self.device} ({self.computes_in}{', compiled' if self.compiled else ''})"


def start_engine(hardware: Hardware) -> lightning_fabric.Fabric:
    """A launched engine."""
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces the precision at every start
    accelerator = hardware.device.type if hardware.device.type in ("cuda", "mps") else "cpu"
    precision = PRECISIONS[hardware.computes_in]
    fabric = lightning_fabric.Fabric(accelerator=accelerator, devices=1, precision=precision)
    fabric.launch()
    return fabric


def _processor_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself: where torch must imitate it, float32 is faster."""
    look = getattr(torch.cpu, "get_capabilities", None)  # absent from older torch
    found = look() if look else {}
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
