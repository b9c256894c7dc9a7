"""The memory limits of containers and batch jobs, as Linux' control groups of both versions show them."""

from pathlib import Path

import psutil
import pytest

from mapping_stroke import environment as free_memory
from mapping_stroke.environment import USUAL, Mount, available_bytes

NO_LIMIT_1 = "9223372036854771712"
"""What version 1 says instead of `max`."""


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder instead of /proc/self and /sys/fs/cgroup; nothing in it yet."""
    monkeypatch.setattr(free_memory, "PROC", tmp_path / "proc")
    monkeypatch.setattr(free_memory, "USUAL", tuple(Mount(each.version, "/", tmp_path / "sys") for each in USUAL))
    return tmp_path


def describe(system: Path, own: str, *mounts: str) -> None:
    """What /proc/self says; `sys` in a mount stands for the system's folder."""
    (system / "proc").mkdir()
    (system / "proc" / "cgroup").write_text(own)
    lines = ["22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw", *mounts]
    text = "\n".join(lines).replace(" sys", f" {system / 'sys'}")
    (system / "proc" / "mountinfo").write_text(text + "\n")


def group_2(folder: Path, limit: str, used: int, cached: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 1000\ninactive_file {cached}\nactive_file 300\n")


def group_1(folder: Path, limit: str, used: int, cached: int = 0, above: str = NO_LIMIT_1) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.limit_in_bytes").write_text(f"{limit}\n")
    (folder / "memory.usage_in_bytes").write_text(f"{used}\n")
    stat = f"cache 9\ninactive_file 1\nhierarchical_memory_limit {above}\ntotal_inactive_file {cached}\n"
    (folder / "memory.stat").write_text(stat)


SLURM_2 = "/system.slice/slurmstepd.scope/job_7/step_0/user/task_0"
MOUNT_2 = "30 22 0:26 / sys rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
SLURM_1 = "/slurm/uid_1000/job_7/step_0/task_0"
OWN_1 = f"12:pids:/user.slice\n4:cpuacct,memory:{SLURM_1}\n1:name=systemd:/user.slice\n0::/user.slice\n"


@pytest.mark.parametrize("limited", ["job_7/step_0/user/task_0", "job_7/step_0", "job_7", ""])
def test_the_limit_of_a_slurm_job_counts_at_whichever_level_it_stands(system: Path, limited: str) -> None:
    describe(system, f"0::{SLURM_2}\n", MOUNT_2)
    scope = system / "sys" / "system.slice" / "slurmstepd.scope"
    for level in ("job_7/step_0/user/task_0", "job_7/step_0/user", "job_7/step_0", "job_7", ""):
        group_2(scope / level, "5000" if level == limited else "max", 2000, 700)
    assert available_bytes() == 3700


def test_the_tightest_of_several_limits_counts(system: Path) -> None:
    describe(system, f"0::{SLURM_2}\n", MOUNT_2)
    group_2(system / "sys" / SLURM_2[1:], "9000", 1000)
    group_2((system / "sys" / SLURM_2[1:]).parents[2], "10000", 8500)
    assert available_bytes() == 1500


@pytest.mark.parametrize("level", [SLURM_1, "/slurm/uid_1000/job_7", "/slurm/uid_1000"])
def test_version_1_has_a_hierarchy_for_memory_of_its_own(system: Path, level: str) -> None:
    mounts = (
        "31 22 0:27 / sys/unified rw - cgroup2 cgroup2 rw",
        "32 22 0:28 / sys/pids rw - cgroup cgroup rw,pids",
        "33 22 0:29 / sys/memory rw - cgroup cgroup rw,cpuacct,memory",
    )
    describe(system, OWN_1, *mounts)
    group_1(system / "sys" / "memory", NO_LIMIT_1, 10**12)
    group_1(system / "sys" / "memory" / level[1:], "6000", 2500, 100)
    assert available_bytes() == 3600


def test_a_limit_above_what_a_container_shows_counts_in_version_1(system: Path) -> None:
    describe(system, OWN_1, f"33 22 0:29 {SLURM_1} sys/memory ro - cgroup cgroup rw,memory")
    group_1(system / "sys" / "memory", NO_LIMIT_1, 1000, 0, above="4000")
    assert available_bytes() == 3000


def test_below_the_root_of_a_mount_a_nested_group_is_found(system: Path) -> None:
    describe(system, "0::/docker/abc/job\n", "30 22 0:26 /docker/abc sys rw - cgroup2 cgroup2 rw")
    group_2(system / "sys" / "job", "5000", 2000)
    assert available_bytes() == 3000


@pytest.mark.parametrize("own", ["0::/\n", "0::/../../elsewhere\n", f"0::{SLURM_2}\n", ""])
def test_a_group_that_is_hidden_leaves_the_limit_of_the_container(system: Path, own: str) -> None:
    describe(system, own, MOUNT_2)
    group_2(system / "sys", "5000", 2000)
    assert available_bytes() == 3000


def test_a_folder_with_a_space_is_found(system: Path) -> None:
    describe(system, "0::/a\n", r"30 22 0:26 / sys/my\040groups rw - cgroup2 cgroup2 rw")
    group_2(system / "sys" / "my groups" / "a", "5000", 2000)
    assert available_bytes() == 3000


def test_without_limits_the_systems_memory_counts(system: Path) -> None:
    free = psutil.virtual_memory().available
    assert available_bytes() == pytest.approx(free, rel=0.5)  # no such system: neither /proc nor groups
    describe(system, f"0::{SLURM_2}\n", MOUNT_2)
    group_2(system / "sys" / SLURM_2[1:], "max", 2000)
    assert available_bytes() == pytest.approx(free, rel=0.5)


def test_where_nothing_tells_the_usual_place_counts(system: Path) -> None:
    group_2(system / "sys", "5000", 2000)
    assert available_bytes() == 3000


def test_a_group_that_uses_more_than_it_may_leaves_nothing(system: Path) -> None:
    group_2(system / "sys", "1000", 2000)
    assert available_bytes() == 0
