"""Where and how jobs run: the options `--profile`, `--jobs` and so on, and the command line of a job."""

import os
import shutil
import sys
from dataclasses import dataclass, fields, is_dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mapping_stroke.errors import ConfigError

CLUSTER_JOBS = 40
CLUSTER_CORES = 8


@dataclass(frozen=True)
class Execution:
    """Where and how the jobs run. These settings may change when the work is resumed."""

    profile: str = "local"
    """`local`: on this machine. `slurm`: each job is submitted to Slurm. Or a folder with a Snakemake profile of your
    own, for another scheduler."""
    jobs: int | None = None
    """Large jobs at the same time: trainings, predictions, shares of a cohort. Default: 1 on this machine, 40 on a
    cluster."""
    cores: int | None = None
    """CPU cores of each large job. Default: an equal share of this machine's, or 8 on a cluster."""
    gpus: int | None = None
    """GPUs of each large job; 0 for CPUs only. Default: 1, or 0 if this machine runs the jobs and has none."""
    memory_gb: int = 32
    """Memory that a large job asks for on a cluster."""
    time_limit: int = 2880
    """Time limit of a job on a cluster, in minutes. A training that reaches it resumes from its checkpoint."""
    retries: int | None = None
    """How often a failed job is started again. Default: 0 on this machine, 3 on a cluster."""
    partition: str = ""
    """Slurm partition. Default: the cluster's."""
    account: str = ""
    """Slurm account. Default: yours."""

    def __post_init__(self) -> None:
        least = {"jobs": 1, "cores": 1, "gpus": 0, "memory_gb": 1, "time_limit": 1, "retries": 0}
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise ConfigError(f"got --{name.replace('_', '-')} {value}, expected {low} or more")

    @property
    def is_local(self) -> bool:
        """Whether the jobs run on this machine."""
        return self.profile == "local"

    @property
    def jobs_at_once(self) -> int:
        """Large jobs at the same time."""
        if self.jobs is not None:
            return self.jobs
        return 1 if self.is_local else CLUSTER_JOBS

    @property
    def cores_each(self) -> int:
        """CPU cores of each large job."""
        if self.cores is not None:
            return self.cores
        return max((os.cpu_count() or 1) // self.jobs_at_once, 1) if self.is_local else CLUSTER_CORES

    @property
    def times(self) -> int:
        """How often a failed job is started again."""
        if self.retries is not None:
            return self.retries
        return 0 if self.is_local else 3

    def require_programs(self) -> None:
        """Raise `ConfigError` if Snakemake, or the scheduler that the profile needs, is missing."""
        if find_spec("snakemake") is None:
            raise ConfigError("jobs need Snakemake; install it with: pip install 'mapping-stroke[workflow]'")
        if self.profile == "slurm":
            if find_spec("snakemake_executor_plugin_slurm") is None:
                raise ConfigError("--profile slurm: needs: pip install snakemake-executor-plugin-slurm")
            if shutil.which("sbatch") is None:
                raise ConfigError("--profile slurm: no command sbatch here; run this on a login node, or use local")
        elif not self.is_local and not Path(self.profile, "config.yaml").is_file():
            raise ConfigError(
                f"--profile {self.profile}: expected local, slurm, or a folder with a Snakemake profile (config.yaml)"
            )

    def resources(self, device: str) -> dict[str, int]:
        """What each large job asks for, as the graphs of jobs read it."""
        return {
            "cores": self.cores_each,
            "gpus": self._gpus_each(device),
            "memory_mb": self.memory_gb * 1000,
            "minutes": self.time_limit,
        }

    def _gpus_each(self, device: str) -> int:
        if self.gpus is not None:
            return self.gpus
        if device == "cpu":
            return 0
        return int(not self.is_local or _has_gpu())


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def this_program() -> list[str]:
    """The start of a command line of `mapping` that works on every machine with this installation."""
    return [sys.executable, "-m", "mapping_stroke.cli"]


def as_options(settings: Any, default: Any) -> list[str]:
    """The options of a command that give these settings; those that equal the default are left out.

    Args:
        settings: A dataclass whose fields are options; fields that are dataclasses themselves are groups of options.
        default: The same dataclass, as it is without options.

    Returns:
        Options and values; paths are absolute, because a job may run in another folder.
    """
    given: list[str] = []
    for field in fields(settings):
        value, usual = getattr(settings, field.name), getattr(default, field.name)
        if value == usual:
            continue
        if is_dataclass(value):
            given += as_options(value, usual)
            continue
        words = () if value is True else value if isinstance(value, tuple) else (value,)
        given += [f"--{field.name.rstrip('_').replace('_', '-')}", *map(_word, words)]
    return given


def _word(value: object) -> str:
    return str(value.absolute() if isinstance(value, Path) else value)
