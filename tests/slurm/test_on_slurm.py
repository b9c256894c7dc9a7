"""On a real Slurm of two workers: an experiment and a cohort end as on one machine, whatever happens to their jobs.

Run by `make slurm`, which starts the cluster (tests/slurm/cluster).
"""

import contextlib
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from bids_data import contents, write_bids
from phantoms import write_phantoms
from small_models import write_seeing_model

pytestmark = pytest.mark.slurm
CLUSTER = Path(__file__).with_name("cluster")
MAPPING = [sys.executable, "-m", "mapping_stroke.cli"]
ON_SLURM = ["--profile", "slurm", "--cores", "1", "--gpus", "0", "--memory-gb", "2"]
HERE = ["--profile", "local", "--cores", "1"]
TINY = ["--size", "tiny", "--folds", "2", "--epochs", "6", "--schemes", "default", "self-training", "--device", "cpu"]
PATIENCE_S = 600


@pytest.fixture(scope="module", autouse=True)
def cluster() -> None:
    if shutil.which("sinfo") is None or "idle" not in run("sinfo", "--noheader", "--format", "%T").stdout:
        pytest.skip("no Slurm with an idle worker here; start one with: tests/slurm/cluster start FOLDER")


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def start(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([*MAPPING, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_until(holds: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(1)


def text(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def kill_worker(name: str, job: str) -> None:
    """Kill a worker and all that runs on it, as a power cut does; then start the worker again.

    Args:
        name: Of the worker.
        job: Words in the command line of the `mapping` process that it runs.
    """
    jobs = [above for process in running(job, name) for above in (process, *process.parents())]
    for victim in [*daemons(name), *jobs]:
        if victim.name() in ("slurmstepd", "slurmd", "python", "bash", "srun") and is_on(victim, name):
            victim.send_signal(signal.SIGKILL)
    wait_until(lambda: name not in run("sinfo", "-h", "-N", "-t", "idle,mix,alloc", "-o", "%N").stdout, "still up")
    subprocess.run([CLUSTER, "worker", name], check=True)


def daemons(name: str) -> list[psutil.Process]:
    return [p for p in psutil.process_iter(["name", "cmdline"]) if p.info["name"] == "slurmd" and is_on(p, name)]


def running(job: str, name: str) -> list[psutil.Process]:
    """The `mapping` processes of a job on a worker."""
    found = [(p, " ".join(p.info["cmdline"] or [])) for p in psutil.process_iter(["cmdline"])]
    return [p for p, words in found if "mapping_stroke.cli" in words and job in words and worker_of(p) == name]


def hold_until_its_time_is_up(log: Path, job: str) -> None:
    """Stop a job's process, however fast the machine, so that it is still at work when Slurm ends it; it saves then."""
    held = running(job, attempts(log)[-1])
    assert held, job
    for process in held:
        process.send_signal(signal.SIGSTOP)
    wait_until(lambda: len(attempts(log)) > 1 or any(map(is_asked_to_end, held)), "no time limit")
    for process in held:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGCONT)


def is_asked_to_end(process: psutil.Process) -> bool:
    """Whether a process is gone, or the signal that asks it to end waits for it."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    except OSError:
        return True
    waiting = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith(("SigPnd", "ShdPnd"))]
    return any(mask >> (signal.SIGTERM - 1) & 1 for mask in waiting)


def worker_of(process: psutil.Process) -> str:
    try:
        return process.environ().get("SLURMD_NODENAME", "")
    except psutil.Error:
        return ""


def is_on(process: psutil.Process, name: str) -> bool:
    return worker_of(process) == name or f"-N {name}" in " ".join(process.cmdline())


def attempts(log: Path) -> list[str]:
    """The worker of each attempt at a job."""
    return re.findall(r"^\[\S+ \S+ on (\w+)\]", text(log), re.MULTILINE)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("slurm") / "the data", labelled=6)


@pytest.fixture(scope="module")
def here(data: Path) -> Path:
    """The experiment, run on this machine."""
    folder = data.with_name("run here")
    done = run(*MAPPING, "experiment", str(data), "-o", str(folder), *TINY, *HERE, "--jobs", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_an_experiment_survives_time_limits_and_a_killed_worker(data: Path, here: Path) -> None:
    folder = data.with_name("run on slurm")
    logs, members = folder / "experiment" / "logs" / "train", folder / "train"
    work = start("experiment", str(data), "-o", str(folder), *TINY, *ON_SLURM, "--time-limit", "1", "--retries", "12")
    late, killed = logs / "default" / "fold_0.log", logs / "self-training" / "fold_1.log"
    wait_until(lambda: "epoch 2/" in text(late) or work.poll() is not None, "training did not begin")
    hold_until_its_time_is_up(late, "--schemes default --folds 0")
    wait_until(lambda: "epoch 2/" in text(killed) or work.poll() is not None, "self-training did not begin")
    assert work.poll() is None, work.communicate()[0]
    kill_worker(attempts(killed)[-1], "--schemes self-training --folds 1")
    output, _ = work.communicate(timeout=2 * PATIENCE_S)
    assert work.returncode == 0, output
    for log in (late, killed):
        assert len(attempts(log)) > 1, text(log)
        assert re.search(r"resuming after epoch [1-9]", text(log)), text(log)
    for table in ("report/table1.csv", "evaluate/scores.csv"):
        assert (folder / table).read_bytes() == (here / table).read_bytes()
    assert members.is_dir()


def test_scans_are_segmented_alike_in_an_array_job(data: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    write_seeing_model(model)
    command = ["segment", str(data), "--scans", "*_T1w.nii.gz", "--model", str(model), "--space", "mni"]
    command += ["--device", "cpu"]
    alone, together = tmp_path / "alone", tmp_path / "together"
    done = run(*MAPPING, *command, "-o", str(alone))
    assert done.returncode == 0, done.stdout + done.stderr
    work = start(*command, "-o", str(together), *ON_SLURM, "--jobs", "2")
    output, _ = work.communicate(timeout=PATIENCE_S)
    assert work.returncode == 0, output
    logs = [together.with_name("together.jobs") / "logs" / "share" / f"{number}_of_2.log" for number in (1, 2)]
    assert all(attempts(log) for log in logs), [*map(text, logs)]
    assert len(list(together.glob("*_mask.nii.gz"))) == 7
    assert contents(together) == contents(alone)


def test_a_cohort_is_the_same_in_an_array_job(tmp_path: Path) -> None:
    names = tuple(f"sub-{number:02d}/anat/sub-{number:02d}_T1w" for number in range(40))
    data, model = write_bids(tmp_path / "cohort", names), tmp_path / "model"
    (data / f"{names[7]}.nii.gz").write_bytes(b"this is no image")
    write_seeing_model(model)
    options = ["--model", str(model), "--space", "mni", "--device", "cpu"]
    alone = run(*MAPPING, "bids", str(data), str(tmp_path / "alone"), "participant", *options)
    assert alone.returncode == 3, alone.stdout + alone.stderr
    out = tmp_path / "together"
    work = start("bids", str(data), str(out), "participant", *options, *ON_SLURM, "--jobs", "4")
    log = tmp_path / "together.jobs" / "logs" / "share" / "2_of_4.log"
    wait_until(lambda: list(out.glob("sub-*")) and attempts(log), "no share began")
    kill_worker(attempts(log)[-1], "--shard 2/4")
    output, _ = work.communicate(timeout=2 * PATIENCE_S)
    assert work.returncode == 3, output
    assert len(attempts(log)) > 1, text(log)
    assert sum(path.is_dir() for path in out.glob("sub-*")) == 39
    assert contents(out) == contents(tmp_path / "alone")
