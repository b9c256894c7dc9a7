"""How much memory a prediction needs, and whether this machine has it."""

import math
from collections.abc import Iterable

from mapping_stroke.errors import ResourceError
from mapping_stroke.free_memory import available_bytes
from mapping_stroke.image import Shape
from mapping_stroke.networks.spec import NetworkSpec

LIVE_MAPS = 3.5
"""How many feature maps of the finest stage are alive at once: its skip, two of its convolutions, and scratch."""
SCAN_MAPS = 17
"""How many float32 volumes of the scan's size are alive at once: the scan, sums and maps; besides, one scan that is
read ahead and one that is being written."""
GIGABYTE = 1e9


def network_bytes(spec: NetworkSpec, patch: Shape, batch: int, value_bytes: int) -> float:
    """Memory that one network needs for a batch of patches: activations and weights."""
    activations = LIVE_MAPS * max(spec.features[0], 1) * math.prod(spec.shapes(patch)[0]) * batch * value_bytes
    largest = max(spec.features)
    return activations + 4 * 27 * 2 * largest * largest * spec.stages


def scan_bytes(shapes: Iterable[tuple[int, ...]]) -> float:
    """Memory for a scan and its maps, on its own grid and the networks' grids."""
    return SCAN_MAPS * 4 * max(map(math.prod, shapes), default=0)


def require_memory(needed_bytes: float, what: str, remedy: str) -> None:
    """Raise `ResourceError` if the machine, or the limit of a container or job, leaves less memory than that."""
    available = available_bytes()
    if needed_bytes > available:
        raise ResourceError(
            f"{what} needs about {needed_bytes / GIGABYTE:.1f} GB of memory and this machine (or job) has "
            f"{available / GIGABYTE:.1f} GB left; {remedy}"
        )
