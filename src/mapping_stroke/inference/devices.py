"""Which devices torch has here."""

from typing import TYPE_CHECKING

from mapping_stroke.errors import ConfigError

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
