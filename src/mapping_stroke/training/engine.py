"""The engine under the loop: device, precision, processes."""

import lightning_fabric
import torch


def start_engine(device: torch.device) -> lightning_fabric.Fabric:
    """A launched single-process engine: bfloat16 where the device is a CUDA GPU, float32 elsewhere."""
    precision = "bf16-mixed" if device.type == "cuda" else "32-true"
    accelerator = device.type if device.type in ("cuda", "mps") else "cpu"
    fabric = lightning_fabric.Fabric(accelerator=accelerator, devices=1, precision=precision)
    fabric.launch()
    return fabric
