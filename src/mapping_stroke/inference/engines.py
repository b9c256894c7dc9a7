"""The engines that compute networks, and the devices that torch has here."""

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
    """The torch device of a name; `auto` takes a CUDA GPU where there is one, else Apple's MPS, else the processor.

    Raises:
        ConfigError: There is no device of this name here.
    """
    import torch

    there = [f"cuda:{index}" for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)]
    there = [*(["cuda", *there] if there else []), *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]
    if name not in (*there, "auto"):
        raise ConfigError(f"no device {name!r} on this machine; expected auto or one of {', '.join(there)}")
    return torch.device(there[0] if name == "auto" else name)


ENGINES = get_args(EngineName)
PRECISIONS = get_args(PrecisionName)


@runtime_checkable
class LoadedNetwork(TileNetwork, Protocol):
    """A network that can also be made ready early, and give memory back between scans."""

    def warm_up(self, patch: Shape, batch: int) -> None:
        """Make ready for so many patches of this shape at once."""

    def release(self) -> None:
        """Give back the memory of activations until the next patch."""


@runtime_checkable
class Engine(Protocol):
    """Loads networks onto one device.

    Attributes:
        precision: Of the convolutions.
        value_bytes: Bytes of one stored activation.
        on_gpu: Whether activations lie in a GPU's own memory.
        description: What computes, in a few words.
    """

    precision: str
    value_bytes: int
    on_gpu: bool

    @property
    def description(self) -> str:
        """What computes, in a few words."""

    def load(self, spec: NetworkSpec, read_weights: Callable[[], Weights]) -> LoadedNetwork:
        """Make a network ready."""


def choose_engine(device: str = "auto", engine: str = "auto", precision: str = "auto") -> Engine:
    """The engine for a device.

    Args:
        device: `auto` takes a CUDA GPU where there is one, else Apple's MPS, else the processor; or `cpu`, `cuda`,
            `cuda:1`, `mps`.
        engine: `auto` takes OpenVINO on x86 processors, torch everywhere else.
        precision: Of the convolutions; `auto` takes bfloat16 where the processor or GPU computes in it.

    Raises:
        ConfigError: There is no such device, engine or precision here.
    """
    for what, name, known in (("engine", engine, ENGINES), ("precision", precision, PRECISIONS)):
        if name not in known:
            raise ConfigError(f"no {what} {name!r}; expected one of {', '.join(known)}")
    on_processor = device == "cpu" or (device == "auto" and not _has_gpu())
    if engine == "openvino" and not on_processor:
        raise ConfigError(f"OpenVINO computes on the processor here, got device {device}; use --engine torch")
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
    """Whether torch would find a GPU; without loading torch where none can be (it takes seconds)."""
    if not may_have_gpu():
        return False
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available()
