"""The environment of a result: versions, machine, device, and available memory."""

import math
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
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
    "scikit-learn",
    "nibabel",
    "SimpleITK",
    "pydicom",
    "nilearn",
)
"""Packages whose versions can affect results."""

DEVICE_FILES = (Path("/dev/nvidiactl"), Path("/dev/kfd"), Path("/dev/dxg"))
"""Device files of GPU drivers on Linux: NVIDIA, AMD, and Windows Subsystem for Linux."""


def describe_environment(*, gpu: bool = True) -> dict[str, str]:
    """Versions of Python and of `PACKAGES`, the program's commit, the system, processor, memory and GPUs, as text.

    Args:
        gpu: Also name the GPUs, which loads torch and may take seconds.
    """
    return {
        "python": platform.python_version(),
        **{package: _version(package) for package in PACKAGES},
        "commit": find_commit(),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
        **({"gpu": _gpu()} if gpu else {}),
    }


PROGRAM = Path(__file__).parent
GIT_SECONDS = 10.0


@cache  # of the program as it was started
def find_commit() -> str:
    """The git commit of this program, followed by `(modified)` if its files differ; `none` outside a checkout."""
    # an installed program may lie in a repository that does not hold it, such as in a project's `.venv`
    if _git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return "none"
    commit = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--", ".")
    return f"{commit} (modified)" if commit and changes else commit or "none"


def _git(*arguments: str) -> str | None:
    """The output of git in the folder of the program; None if it fails, or there is no git."""
    git = shutil.which("git")
    if git is None:
        return None
    try:
        done = subprocess.run(
            [git, "-C", str(PROGRAM), "--no-optional-locks", *arguments],
            capture_output=True,
            text=True,
            timeout=GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def peak_memory_bytes() -> int:
    """The peak memory of this process."""
    try:
        import resource
    except ImportError:  # Windows
        return int(psutil.Process().memory_info().peak_wset)
    # in bytes on macOS, in kilobytes elsewhere
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def allow_open_files(count: int) -> None:
    """Raise the limit of open files to `count` if the system allows it. Memory-mapped arrays count."""
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
    """Whether there may be a GPU. If not, torch need not be loaded to look for one, which takes seconds."""
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
"""Files with the memory limit and usage of a control group (versions 2 and 1)."""
CACHE = re.compile(r"^(?:total_)?inactive_file (\d+)$", re.MULTILINE)
"""Matches cached files in `memory.stat`, which count as used memory but are released on demand."""
LIMIT_ABOVE = re.compile(r"^hierarchical_memory_limit (\d+)$", re.MULTILINE)
"""Matches the lowest limit of all parent groups in `memory.stat` of version 1, also of groups hidden in a container."""
ESCAPED = re.compile(r"\\([0-7]{3})")
"""Matches an escaped character of a path in `mountinfo`, such as a space."""


@dataclass(frozen=True)
class Mount:
    """Mount point of a hierarchy of memory control groups.

    Attributes:
        version: Version of control groups, 1 or 2.
        root: Group that is mounted at `folder`; its parents are hidden.
        folder: Mount point.
    """

    version: int
    root: str
    folder: Path


USUAL = (Mount(2, "/", Path("/sys/fs/cgroup")), Mount(1, "/", Path("/sys/fs/cgroup/memory")))
"""Used if `mountinfo` has no entry."""


def available_bytes() -> float:
    """Memory that is still available to this process, in bytes, or 0 if a group exceeds its limit."""
    # a limit may be set on any parent group, and counts all its processes
    left = min(map(_left_bytes, _groups()), default=math.inf)
    return max(min(float(psutil.virtual_memory().available), left), 0.0)


def _left_bytes(group: Path) -> float:
    """Memory available within one control group, infinite if it has no limit or is hidden."""
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
    """Folders of the groups that contain this process: its own and their visible parents."""
    own = _own_groups()
    for mount in _mounts():
        group, root = PurePosixPath(own.get(mount.version, "/")), PurePosixPath(mount.root)
        # inside a container, the mount shows only a part of the hierarchy
        below = group.relative_to(root if group.is_relative_to(root) else "/")
        if ".." in below.parts:  # outside its namespace
            below = PurePosixPath()
        folder = mount.folder / below
        yield folder
        yield from (above for above in folder.parents if above.is_relative_to(mount.folder))


def _own_groups() -> dict[int, str]:
    """The group of this process that accounts for memory, by version of control groups."""
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
    except OSError:  # not Linux
        return []
