"""Choose the engine that runs the networks, and the torch device."""

import platform
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol, get_args, runtime_checkable

from mapping_stroke.environment import may_have_gpu
from mapping_stroke.errors import ConfigError
from mapping_stroke.images.nifti import Shape
from mapping_stroke.inference.sliding_window import TileNetwork
from mapping_stroke.names import EngineName, PrecisionName
from mapping_stroke.networks.spec import NetworkSpec, Weights

if TYPE_CHECKING:
    import torch


def choose_device(name: str) -> "torch.device":
    """The torch device with that name; `auto` is a CUDA GPU if there is one, else Apple's MPS, else the processor.

    Raises:
        ConfigError: There is no such device here.
    """
    import torch

    found = [f"cuda:{index}" for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)]
    found = [*(["cuda", *found] if found else []), *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]
    if name not in (*found, "auto"):
        raise ConfigError(f"no device {name!r} on this machine; expected auto or one of {', '.join(found)}")
    return torch.device(found[0] if name == "auto" else name)


ENGINES = get_args(EngineName)
PRECISIONS = get_args(PrecisionName)


@runtime_checkable
class LoadedNetwork(TileNetwork, Protocol):
    """A network that can also be compiled early, and release memory between scans."""

    def warm_up(self, patch: Shape, batch: int) -> None:
        """Prepare for batches of this many patches of this shape."""

    def release(self) -> None:
        """Release the memory of activations until the next patch."""


@runtime_checkable
class Engine(Protocol):
    """Loads networks onto one device.

    Attributes:
        precision: Precision of the convolutions.
        value_bytes: Bytes of one stored activation.
        on_gpu: Whether activations are in a GPU's own memory.
        description: Device and software, in a few words.
    """

    precision: str
    value_bytes: int
    on_gpu: bool

    @property
    def description(self) -> str:
        """Device and software, in a few words."""

    def load(self, spec: NetworkSpec, read_weights: Callable[[], Weights]) -> LoadedNetwork:
        """Load a network."""


def choose_engine(device: str = "auto", engine: str = "auto", precision: str = "auto") -> Engine:
    """The engine for a device.

    Args:
        device: `auto` for a CUDA GPU if there is one, else Apple's MPS, else the processor; or `cpu`, `cuda`, `cuda:1`,
            `mps`.
        engine: `auto` for OpenVINO on x86 processors, torch everywhere else.
        precision: Precision of the convolutions; `auto` for bfloat16 if the processor or GPU supports it.

    Raises:
        ConfigError: There is no such device, engine or precision here.
    """
    for kind, name, known in (("engine", engine, ENGINES), ("precision", precision, PRECISIONS)):
        if name not in known:
            raise ConfigError(f"no {kind} {name!r}; expected one of {', '.join(known)}")
    on_processor = device == "cpu" or (device == "auto" and not _has_gpu())
    if engine == "openvino" and not on_processor:
        raise ConfigError(f"OpenVINO runs only on the processor, got device {device}; use --engine torch")
    if on_processor and (engine == "openvino" or (engine == "auto" and _openvino_suits())):
        if find_spec("openvino") is None:
            raise ConfigError("OpenVINO is not installed; run `pip install openvino`, or use --engine torch")
        from mapping_stroke.inference.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(precision)
    from mapping_stroke.inference.torch_engine import TorchEngine

    return TorchEngine(choose_device(device), precision)


def _openvino_suits() -> bool:
    return platform.machine().lower() in ("x86_64", "amd64") and find_spec("openvino") is not None


def _has_gpu() -> bool:
    """Whether torch would find a GPU; torch, which takes seconds to load, is only imported if there may be one."""
    if not may_have_gpu():
        return False
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available()
