"""Jobs without their work: a stand-in for Snakemake, and the commands that a graph of jobs would run."""

import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from mapping_stroke.workflow import snakemake
from mapping_stroke.workflow.execution import this_program
from mapping_stroke.workflow.jobs import Jobs


class NoSnakemake:
    """Stands for Snakemake: does nothing, or plays that jobs were done."""

    def __init__(self, play: Callable[[Jobs], None] = lambda _: None) -> None:
        self.play = play

    def __call__(self, jobs: Jobs, *_: object) -> list[str]:
        self.play(jobs)
        return [sys.executable, "-c", "pass"]


def finish(jobs: Jobs, names: tuple[str, ...] | None = None) -> None:
    for job in names or jobs.names:
        for file, content in ((jobs.begun(job), ""), (jobs.log(job), "[now] mapping\nall went well\n")):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        jobs.done(job).parent.mkdir(parents=True, exist_ok=True)
        jobs.done(job).write_text("0\n")


def commands_of(graph: str, folder: Path) -> list[list[str]]:
    """The `mapping` commands of all jobs of a graph, as Snakemake would run them."""
    file = Path(snakemake.__file__).with_name(f"{graph}.smk")
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(file), "--directory", str(folder), "--cores", "1"]
    command += ["--configfile", str(folder / "plan.json"), "--dry-run", "--printshellcmds"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    starts = shlex.join(this_program()) + " "
    calls = [line for line in (done.stdout + done.stderr).splitlines() if starts in line]
    return [shlex.split(line.rsplit(starts, 1)[1].split("&>>")[0]) for line in calls]
