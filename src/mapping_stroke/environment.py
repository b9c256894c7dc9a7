"""What a result was computed with: versions, machine, device, and how much memory is left."""

import math
import os
import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath

import psutil

PACKAGES = (
    "mapping-stroke",
    "torch",
    "lightning-fabric",
    "dynamic-network-architectures",
    "numpy",
    "openvino",
    "scipy",
    "nibabel",
    "SimpleITK",
    "pydicom",
    "nilearn",
)
"""The packages whose versions can move a result."""

DEVICE_FILES = (Path("/dev/nvidiactl"), Path("/dev/kfd"), Path("/dev/dxg"))
"""Of the drivers on Linux: NVIDIA's, AMD's, and Windows' own within its Linux."""


def describe_environment(*, gpu: bool = True) -> dict[str, str]:
    """Versions of Python and of `PACKAGES`, the operating system, the processor and the GPUs, as text.

    Args:
        gpu: Name the GPUs; that loads torch, which takes seconds where it is not loaded yet.
    """
    return {
        "python": platform.python_version(),
        **{package: _version(package) for package in PACKAGES},
        "system": platform.platform(),
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        **({"gpu": _gpu()} if gpu else {}),
    }


def peak_memory_bytes() -> int:
    """The most memory that this process has held so far."""
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def allow_open_files(count: int) -> None:
    """Let this process keep so many files open, as far as the system lets it; arrays mapped into memory count."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft not in (resource.RLIM_INFINITY, -1) and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - a kernel file, Linux only
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def may_have_gpu() -> bool:
    """Whether it is worth loading torch, which takes seconds, to ask it for a GPU."""
    if platform.system() == "Linux":
        return any(path.exists() for path in DEVICE_FILES)
    return True


def _gpu() -> str:
    if not may_have_gpu():
        return "none"
    import torch

    if not torch.cuda.is_available():
        return "none"
    return ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))


PROC = Path("/proc/self")
FILES = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
"""In which a group says how much memory it may use and uses (versions 2 and 1)."""
CACHE = re.compile(r"^(?:total_)?inactive_file (\d+)$", re.MULTILINE)
"""In `memory.stat`: cached files, which count as used and are given up when memory is asked for."""
LIMIT_ABOVE = re.compile(r"^hierarchical_memory_limit (\d+)$", re.MULTILINE)
"""In `memory.stat` of version 1: the lowest limit of all groups above, also of those that a container does not show."""
ESCAPED = re.compile(r"\\([0-7]{3})")
"""In `mountinfo`: a character of a path, such as a space."""


@dataclass(frozen=True)
class Mount:
    """Where a hierarchy of control groups that counts memory can be seen.

    Attributes:
        version: Of control groups: 1 or 2.
        root: Group that is seen as `folder`; what lies above it is hidden.
        folder: Mount point.
    """

    version: int
    root: str
    folder: Path


USUAL = (Mount(2, "/", Path("/sys/fs/cgroup")), Mount(1, "/", Path("/sys/fs/cgroup/memory")))
"""Where nothing tells."""


def available_bytes() -> float:
    """Memory that this process may still take, in bytes: 0 if a group uses more than it may."""
    left = min(map(_left_bytes, _groups()), default=math.inf)
    return max(min(float(psutil.virtual_memory().available), left), 0.0)


def _left_bytes(group: Path) -> float:
    """What one control group leaves; infinite if it has no limit or cannot be seen."""
    for limit, used in FILES:
        try:
            stat = (group / "memory.stat").read_text()
            cached = sum(map(int, CACHE.findall(stat)[-1:]))
            limits = [float((group / limit).read_text()), *map(float, LIMIT_ABOVE.findall(stat))]
            return min(limits) - float((group / used).read_text()) + cached
        except (OSError, ValueError):  # not of this version, or "max"
            continue
    return math.inf


def _groups() -> Iterator[Path]:
    """Folders of the groups that hold this process: its own and those above, as far as they can be seen."""
    own = _own_groups()
    for mount in _mounts():
        group, root = PurePosixPath(own.get(mount.version, "/")), PurePosixPath(mount.root)
        below = group.relative_to(root if group.is_relative_to(root) else "/")
        if ".." in below.parts:  # outside of what its namespace shows
            below = PurePosixPath()
        folder = mount.folder / below
        yield folder
        yield from (above for above in folder.parents if above.is_relative_to(mount.folder))


def _own_groups() -> dict[int, str]:
    """Version of control groups to the group of this process that counts memory."""
    found = {}
    for line in _read_lines(PROC / "cgroup"):
        number, controllers, group = line.split(":", 2)
        if "memory" in controllers.split(","):
            found[1] = group
        elif number == "0":
            found[2] = group
    return found


def _mounts() -> tuple[Mount, ...]:
    found = []
    for line in _read_lines(PROC / "mountinfo"):
        place, _, kind = line.partition(" - ")
        root, folder = (ESCAPED.sub(lambda code: chr(int(code[1], 8)), path) for path in place.split()[3:5])
        file_system, _, options = kind.split(" ", 2)
        if file_system == "cgroup2":
            found.append(Mount(2, root, Path(folder)))
        elif file_system == "cgroup" and "memory" in options.split(","):
            found.append(Mount(1, root, Path(folder)))
    return tuple(found) or USUAL


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:  # another system than Linux
        return []
