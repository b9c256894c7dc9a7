"""How much memory a prediction needs, and whether this machine has it."""

import math
import re
from collections.abc import Iterable
from pathlib import Path

import psutil

from mapping_stroke.errors import ResourceError
from mapping_stroke.image import Shape
from mapping_stroke.networks.spec import NetworkSpec

LIVE_MAPS = 3.5
"""How many feature maps of the finest stage are alive at once: its skip, two of its convolutions, and scratch."""
SCAN_MAPS = 17
"""How many float32 volumes of the scan's size are alive at once: the scan, sums and maps; besides, one scan that is
read ahead and one that is being written."""
CGROUPS = (
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes"),
)
"""Where a container says how much memory it may use and uses (cgroup versions 2 and 1)."""
CACHE = re.compile(r"^(?:total_)?inactive_file (\d+)$", re.MULTILINE)
"""In `memory.stat`: cached files, which count as used and are given up when memory is asked for."""
GIGABYTE = 1e9


def network_bytes(spec: NetworkSpec, patch: Shape, batch: int, value_bytes: int) -> float:
    """Memory that one network needs for a batch of patches: activations and weights."""
    activations = LIVE_MAPS * max(spec.features[0], 1) * math.prod(spec.shapes(patch)[0]) * batch * value_bytes
    largest = max(spec.features)
    return activations + 4 * 27 * 2 * largest * largest * spec.stages


def scan_bytes(shapes: Iterable[tuple[int, ...]]) -> float:
    """Memory for a scan and its maps, on its own grid and the networks' grids."""
    return SCAN_MAPS * 4 * max(map(math.prod, shapes), default=0)


def available_bytes() -> float:
    """Memory that this process may still take: what the system has left, or what its container allows."""
    available = float(psutil.virtual_memory().available)
    for folder, limit, used in CGROUPS:
        try:
            cached = sum(map(int, CACHE.findall((folder / "memory.stat").read_text())[-1:]))
            left = float((folder / limit).read_text()) - float((folder / used).read_text()) + cached
            available = min(available, left)
        except (OSError, ValueError):  # no such limit: another system, or "max"
            continue
    return available


def require_memory(needed_bytes: float, what: str, remedy: str) -> None:
    """Raise `ResourceError` where this machine has less memory left than that."""
    available = available_bytes()
    if needed_bytes > available:
        raise ResourceError(
            f"{what} needs about {needed_bytes / GIGABYTE:.1f} GB of memory and this machine has "
            f"{available / GIGABYTE:.1f} GB left; {remedy}"
        )
