"""Jobs and their states, read from the files that each job leaves in one folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mapping_stroke.console import aligned, counted, say
from mapping_stroke.files import read_object, remove
from mapping_stroke.processes import is_locked
from mapping_stroke.work import SOME_FAILED, STOPPED

JobState = Literal["done", "running", "stopped", "failed", "waiting"]
LOCK_FILE = "lock"
PLAN_FILE = "plan.json"
"""What the graph of jobs reads: the commands' options and what each job may use; `jobs` names all jobs."""
QUOTED = 6
"""Lines of a failed job's log that are shown."""
START = "["
"""How the line of a log begins that gives the time, machine and command of an attempt."""


@dataclass(frozen=True)
class Jobs:
    """Jobs and the folder of their logs and markers.

    Attributes:
        folder: All that the jobs and Snakemake leave besides their results.
        names: In the order in which they can run, such as `train/residual/fold_0`; the part up to the first slash is
            the stage.
    """

    folder: Path
    names: tuple[str, ...]

    @property
    def lock(self) -> Path:
        """Held by the one command that runs the jobs."""
        return self.folder / LOCK_FILE

    def log(self, job: str) -> Path:
        """The log of all attempts at a job."""
        return self.folder / "logs" / f"{job}.log"

    def done(self, job: str) -> Path:
        """The marker of a finished job, with its exit status."""
        return self.folder / "done" / job

    def begun(self, job: str) -> Path:
        """The marker of a job that has begun since the jobs were last started."""
        return self.folder / "begun" / job

    def failed(self, job: str) -> Path:
        """The marker of a job whose last attempt failed, with its exit status."""
        return self.folder / "failed" / job

    def states(self) -> dict[str, JobState]:
        """The state of every job, by name."""
        alive = is_locked(self.lock)
        return {job: self._state(job, alive=alive) for job in self.names}

    def left_out(self) -> list[str]:
        """Finished jobs in which single cases failed."""
        return [job for job in self.names if self.done(job).is_file() and _status(self.done(job)) == SOME_FAILED]

    def clear_marks(self) -> None:
        """Forget which jobs began or failed earlier, and make the folders that the jobs write into."""
        remove(self.begun(""))
        remove(self.failed(""))
        for job in self.names:
            for file in (self.begun(job), self.failed(job), self.log(job)):
                file.parent.mkdir(parents=True, exist_ok=True)

    def last_attempt(self, job: str) -> list[str]:
        """What the last attempt at a job has printed; empty without a log."""
        log = self.log(job)
        if not log.is_file():
            return []
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        starts = [number for number, line in enumerate(lines) if line.startswith(START)]
        return [line for line in lines[starts[-1] + 1 if starts else 0 :] if line.strip()]

    def show_failure(self, job: str) -> None:
        """Print the end of a failed job's log."""
        say(f"\n{job} failed; the end of {self.log(job)}:")
        for line in self.last_attempt(job)[-QUOTED:]:
            say(f"  {line}")

    def show(self, *, anew: bool = False) -> None:
        """Print the state of every stage, and the end of the logs of failed jobs; with `anew`, as if none had begun."""
        states: dict[str, JobState] = dict.fromkeys(self.names, "waiting") if anew else self.states()
        stages = dict.fromkeys(stage_of(job) for job in self.names)
        rows = [(stage, _words([state for job, state in states.items() if stage_of(job) == stage])) for stage in stages]
        for line in aligned([("Stage", "State"), *rows]):
            say(line)
        for job, state in states.items():
            if state == "failed":
                self.show_failure(job)

    def _state(self, job: str, *, alive: bool) -> JobState:
        if self.done(job).is_file():
            return "done"
        if self.failed(job).is_file():
            return "stopped" if _status(self.failed(job)) == STOPPED else "failed"
        if not self.begun(job).is_file():
            return "waiting"
        return "running" if alive else "stopped"


def read_jobs(folder: Path) -> Jobs | None:
    """The jobs that were planned in a folder; None if there are none."""
    plan: Mapping[str, Sequence[str]] = read_object(folder / PLAN_FILE)
    return Jobs(folder, tuple(plan["jobs"])) if "jobs" in plan else None


def stage_of(job: str) -> str:
    """The stage of a job: the part of its name up to the first slash."""
    return job.split("/")[0]


def _words(states: Sequence[JobState]) -> str:
    if len(states) == 1:
        return states[0]
    parts = [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
    return f"{counted(len(states), 'job')}: {', '.join(parts)}"


def _status(marker: Path) -> int:
    return int(marker.read_text(encoding="utf-8").strip() or 0)
