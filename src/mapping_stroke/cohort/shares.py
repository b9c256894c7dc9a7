"""A cohort segmented by several processes, as jobs on this machine or a cluster."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mapping_stroke.console import warn
from mapping_stroke.files import remove
from mapping_stroke.work import StageResult
from mapping_stroke.workflow.execution import Execution
from mapping_stroke.workflow.jobs import Jobs
from mapping_stroke.workflow.options import this_program
from mapping_stroke.workflow.snakemake import run_jobs

FOLDER_SUFFIX = ".jobs"
"""The logs and markers of the jobs lie next to the output folder, whose name they carry with this suffix."""


@dataclass(frozen=True)
class CohortExecution(Execution):
    """Where and how the scans are segmented."""

    profile: str = "none"
    """`none`: one scan after another, in this process. `local`: by `--jobs` processes. `slurm`: by an array of
    `--jobs` Slurm jobs. Or a folder with a Snakemake profile of your own, for another scheduler."""


def run_shares(
    output: Path, command: Sequence[str], execution: Execution, device: str, *, scans: int, by_shard: bool
) -> StageResult:
    """Run the same command in several jobs, each of which segments some of the scans.

    Every start runs all jobs: a job finds out quickly that its scans are finished.

    Args:
        output: The cohort's output folder, see `FOLDER_SUFFIX`.
        command: Arguments of `mapping`, with absolute paths.
        execution: Number of jobs, and where they run.
        device: `cpu` for jobs that need no GPU.
        scans: Number of scans; there are no more jobs than that.
        by_shard: Each job gets a `--shard`; otherwise the jobs share the output folder scan by scan.

    Returns:
        The output folder; and the jobs in which scans failed.

    Raises:
        ConfigError: A program is missing, or a job failed.
        RunFolderError: Another command is running these jobs.
        Stopped: A signal asked to stop; finished scans are kept.
    """
    execution.require_programs()
    shares = max(min(execution.jobs_at_once, scans), 1)
    folder = output.with_name(output.name + FOLDER_SUFFIX).absolute()
    jobs = Jobs(folder, tuple(f"share/{number}_of_{shares}" for number in range(1, shares + 1)))
    plan = {"mapping": this_program(), "command": list(command), "shares": shares, "by_shard": by_shard}
    remove(jobs.done(""))
    run_jobs(jobs, "shares", {**plan, **execution.resources(device)}, execution)
    failed = {job: f"scans failed, see {jobs.log(job)}" for job in jobs.left_out()}
    for job, why in failed.items():
        warn(f"{job}: {why}")
    return StageResult((output,), failed)
