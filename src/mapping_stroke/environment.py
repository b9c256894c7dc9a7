"""What a result was computed with: versions, machine, device."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

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
