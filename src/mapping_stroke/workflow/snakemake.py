"""Runs a graph of jobs by Snakemake, and shows which job began, ended or failed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

from mapping_stroke.console import counted, duration, estimated, listed, say
from mapping_stroke.errors import ConfigError, RunFolderError
from mapping_stroke.files import write_json
from mapping_stroke.processes import StopRequest, listening, try_lock
from mapping_stroke.workflow.execution import Execution
from mapping_stroke.workflow.forecast import Forecast, TimeLeft
from mapping_stroke.workflow.jobs import PLAN_FILE, Jobs, JobState

LOG_FILE = "snakemake.log"
SECONDS_BETWEEN_LOOKS = 1.0
HOURS_OF_SMALL_JOBS, GB_OF_SMALL_JOBS = 2, 8
"""What a job that is not large asks for on a cluster, at most."""
NAMED, SHOWN = 5, 3
GRACE_S = 30.0
"""Time for Snakemake to end after the last job: it still has to look at the job's status."""


def run_jobs(
    jobs: Jobs,
    graph: str,
    plan: Mapping[str, Any],
    execution: Execution,
    forecast: Forecast | None = None,
    begin: Callable[[], None] = lambda: None,
) -> None:
    """Run the jobs that are not done, side by side if they do not need one another.

    Args:
        jobs: All jobs.
        graph: Name of a graph in this package, such as `experiment`.
        plan: What the graph reads.
        execution: Where and how the jobs run.
        forecast: What is known of the time that the jobs need.
        begin: Called under the lock, before anything is written; may remove all but the lock from the folder.

    Raises:
        RunFolderError: Another command runs these jobs.
        ConfigError: A job failed. The end of its log was shown, and all that does not need it is done.
        Stopped: A signal asked to stop; the jobs have saved their work.
    """
    lock = try_lock(jobs.lock)
    if lock is None:
        raise RunFolderError(f"{jobs.folder}: another command is running these jobs; wait for it, or stop it")
    try:
        begin()
        write_json(jobs.folder / PLAN_FILE, {**plan, "jobs": jobs.names})
        waiting = [job for job, state in jobs.states().items() if state != "done"]
        if not waiting:
            return
        say(f"{counted(len(waiting), 'job')} of {len(jobs.names)} to run; logs: {jobs.folder / 'logs'}")
        jobs.clear_marks()
        command = snakemake_command(jobs, graph, execution)
        output = jobs.folder / LOG_FILE
        with listening() as stop, stop.held(), _running(command, output, local=execution.is_local) as process:
            _watch(jobs, process, stop, forecast or Forecast(), execution.jobs_at_once)
            status = process.wait()
        _require_all(jobs, status)
    finally:
        lock.release()


def _require_all(jobs: Jobs, status: int) -> None:
    """Raise `ConfigError` if a job is not done, after showing why."""
    states = jobs.states()
    if all(state == "done" for state in states.values()):
        return
    failed = [job for job, state in states.items() if state in ("failed", "running", "stopped")]
    for job in failed:
        jobs.show_failure(job)
    if not failed:
        log = jobs.folder / LOG_FILE
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines()[-10:]:
            say(f"  {line}")
        raise ConfigError(f"{log}: Snakemake ended with status {status}, see its last lines above")
    raise ConfigError(
        f"{counted(len(failed), 'job')} failed ({listed(failed, NAMED)}), see above; the jobs that do not need "
        "them are done; fix the problem and rerun the command to resume"
    )


def snakemake_command(jobs: Jobs, graph: str, execution: Execution) -> list[str]:
    """The command line that starts Snakemake."""
    home = Path(str(files(__package__)))
    at_once = execution.jobs_at_once
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(home / f"{graph}.smk")]
    command += ["--directory", str(jobs.folder.resolve()), "--configfile", str((jobs.folder / PLAN_FILE).resolve())]
    # what the jobs did is known to them: Snakemake only compares the times of markers
    command += ["--rerun-triggers", "mtime", "--rerun-incomplete", "--nolock", "--keep-going", "--nocolor"]
    command += ["--retries", str(execution.times)]
    if execution.is_local:
        return [*command, "--cores", str(at_once * execution.cores_each)]
    profile = home / "slurm" if execution.profile == "slurm" else Path(execution.profile)
    command += ["--profile", str(profile.resolve()), "--jobs", str(at_once)]
    return [*command, *(_slurm_options(execution) if execution.profile == "slurm" else ())]


def _slurm_options(execution: Execution) -> list[str]:
    small = {
        "runtime": str(min(execution.time_limit, HOURS_OF_SMALL_JOBS * 60)),
        "mem_mb": str(min(execution.memory_gb, GB_OF_SMALL_JOBS) * 1000),
        "slurm_partition": execution.partition,
        "slurm_account": execution.account,
    }
    options = ["--default-resources", *(f"{name}={value}" for name, value in small.items() if value)]
    # without accounting, sacct answers nothing, and Snakemake would wait for it forever
    counts = subprocess.run(["sacct", "--noheader", "-X"], capture_output=True, check=False).returncode == 0
    options += ["--slurm-status-command", "sacct" if counts else "squeue"]
    options += ["--slurm-array-jobs", "share"]
    return options if execution.account else [*options, "--slurm-no-account"]


@contextmanager
def _running(command: list[str], log: Path, *, local: bool) -> Iterator["subprocess.Popen[bytes]"]:
    """Run Snakemake in a session of its own; if the block ends early, its jobs are asked to stop and waited for."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
        try:
            yield process
        except BaseException:
            say("Stopping: the jobs are saving their work")
            with suppress(ProcessLookupError):
                if local:
                    os.killpg(process.pid, signal.SIGTERM)
                else:  # on SIGTERM, Snakemake would wait for the jobs; on SIGINT it has the scheduler cancel them
                    process.send_signal(signal.SIGINT)
            process.wait()
            raise


def _watch(
    jobs: Jobs,
    process: "subprocess.Popen[bytes]",
    stop: StopRequest,
    forecast: Forecast,
    at_once: int,
) -> None:
    """Report each job that begins or ends, how much is done and how long the rest takes, until the process ends."""
    known = jobs.states()
    open_jobs = [job for job, state in known.items() if state != "done"]
    begun: dict[str, float] = {}
    time_left = TimeLeft(open_jobs, forecast, at_once)
    with estimated("Jobs:") as show:
        ended = False
        while not ended:
            stop.check()
            ended = process.poll() is not None  # before the states, so that the last ones are seen
            states = jobs.states()
            for job in open_jobs:
                if states[job] != known[job]:
                    _report(jobs, job, states[job], begun)
            known = states
            running = [job for job in open_jobs if known[job] == "running"]
            done, left_s = time_left.look(known, time.monotonic())
            show(done, listed(running, SHOWN) or "none is running", left_s)
            if all(state == "done" for state in states.values()):
                _end(process)
            elif not ended:
                time.sleep(SECONDS_BETWEEN_LOOKS)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Let Snakemake end, all of whose jobs are done; timers of its Slurm plugin keep it alive for minutes."""
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _report(jobs: Jobs, job: str, state: JobState, begun: dict[str, float]) -> None:
    now = time.monotonic()
    if state == "running":
        begun[job] = now
        say(f"{job}: started")
    elif state == "done":
        say(f"{job}: done in {duration(now - begun.get(job, now))}")
    elif state == "stopped":
        say(f"{job}: stopped, its work is saved")
    elif state == "failed":
        say(f"{job}: failed, see {jobs.log(job)}")
