"""The whole experiment as a graph of jobs, one for each training, on this machine or a cluster."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import tomli_w

from mapping_stroke.console import say, warn
from mapping_stroke.dataset.folds import read_folds
from mapping_stroke.dataset.layouts import LAYOUTS, Findings, Layout
from mapping_stroke.errors import ConfigError, RunFolderError
from mapping_stroke.files import remove, write_text
from mapping_stroke.run_folder import RunFolder, claim_folder, holds_work, is_run_folder
from mapping_stroke.stages.claim import require_idle, start_again
from mapping_stroke.stages.expected_times import KINDS, expect_seconds, share_done
from mapping_stroke.stages.prepare import find_run_cases, identify_run, is_unchanged
from mapping_stroke.stages.settings import (
    ExperimentConfig,
    FoldsConfig,
    PredictConfig,
    PrepareConfig,
    TrainConfig,
)
from mapping_stroke.work import StageResult
from mapping_stroke.workflow.execution import Execution, as_options, this_program
from mapping_stroke.workflow.forecast import Forecast
from mapping_stroke.workflow.jobs import Jobs, stage_of
from mapping_stroke.workflow.snakemake import run_jobs

SETTINGS_FILE = "settings.toml"
MOST_SHARES = 8
"""Jobs that share the predictions on a cluster, at most."""
STAGE_OF = {
    "layout": "prepare",
    "scans": "prepare",
    "masks": "prepare",
    "exclude_bad": "prepare",
    "folds": "folds",
    "group_by": "folds",
    "given_folds": "folds",
    "mirror": "predict",
    "rule": "postprocess",
    "scoring": "evaluate",
}
"""The stage whose results a setting decides; all others decide the training."""
AS_USUAL = ExperimentConfig()
HERE = Execution()


def experiment_run(
    data: Path,
    run: RunFolder,
    config: ExperimentConfig = AS_USUAL,
    execution: Execution = HERE,
    layouts: Sequence[Layout] = LAYOUTS,
    *,
    overwrite: bool = False,
) -> StageResult:
    """Run every stage as jobs, side by side if they do not need one another; finished jobs are not run again.

    Args:
        data: Data set, in any layout that `prepare` reads.
        run: Run folder; the same data and settings resume it.
        config: The settings that decide the results.
        execution: Where and how the jobs run.
        layouts: The layouts to choose from.
        overwrite: Remove another experiment from the folder.

    Returns:
        The page of the report; and the jobs in which single cases failed.

    Raises:
        CaseError: No scan is found.
        ConfigError: A program is missing, a setting is out of range, a scheme needs unlabelled scans that the data set
            does not have, or a job failed.
        RunFolderError: The folder holds other work or other settings, or another command is running its jobs.
        Stopped: A signal asked to stop; all work is saved.
    """
    planned = plan_experiment(data, run, config, execution, layouts, overwrite=overwrite)
    jobs, cases = planned.jobs, planned.findings.cases
    if not is_run_folder(run.path):
        claim_folder(run.path, planned.identity)
    forecast = Forecast(expect_seconds(jobs.names, cases, config), partial(share_done, run, len(cases)), KINDS)
    run_jobs(jobs, "experiment", planned.graph, execution, forecast, partial(planned.begin, overwrite=overwrite))
    for line in jobs.last_attempt("report"):
        say(line)
    left_out = {job: f"some cases failed, see {jobs.log(job)}" for job in jobs.left_out()}
    for job, why in left_out.items():
        warn(f"{job}: {why}")
    return StageResult((run.report_html,), left_out)


def plan_experiment(
    data: Path,
    run: RunFolder,
    config: ExperimentConfig,
    execution: Execution,
    layouts: Sequence[Layout] = LAYOUTS,
    *,
    overwrite: bool = False,
) -> "PlannedExperiment":
    """Plan the jobs of an experiment; raises as `experiment_run` does. Nothing is written or removed."""
    execution.require_programs()
    findings = find_run_cases(data, config.prepare, layouts)
    plan = _plan(data, run, config, execution, findings)
    identity = identify_run(data, run, config.prepare, findings, overwrite=overwrite)
    jobs = Jobs(run.experiment, tuple(plan.pop("jobs")))
    planned = PlannedExperiment(run, jobs, plan, identity, _settings(config, plan), findings)
    if planned.starts_again(overwrite=overwrite):
        require_idle(run)
    return planned


@dataclass(frozen=True)
class PlannedExperiment:
    """An experiment that may begin.

    Attributes:
        run: Its folder, which may hold another run.
        jobs: All jobs.
        graph: What the graph of jobs reads.
        identity: Of the run.
        settings: Those that decide the results, as plain values.
        findings: The cases.
    """

    run: RunFolder
    jobs: Jobs
    graph: Mapping[str, Any]
    identity: Mapping[str, object]
    settings: Mapping[str, Any]
    findings: Findings

    def starts_again(self, *, overwrite: bool) -> bool:
        """Whether another run has to be removed; raises `RunFolderError` if it must not be."""
        if not is_run_folder(self.run.path):
            return False
        if not holds_work(self.run.path, self.identity):
            return True
        changed = _changed_settings(self.jobs, self.settings)
        if changed and not overwrite:
            raise RunFolderError(
                f"{self.run.path}: was started with other settings ({'; '.join(changed)}); give the former ones to "
                "resume, another run folder for a new experiment, or --overwrite to start again"
            )
        return bool(changed)

    def checks_again(self) -> bool:
        """Whether the data have changed since the stages were done; says so."""
        if not self.jobs.done("prepare").is_file() or is_unchanged(self.run, self.identity, self.findings):
            return False
        say("Files of the data set have changed since the last start: every stage is checked again")
        return True

    def show(self, *, overwrite: bool) -> None:
        """Print the jobs and their states, as they would begin. Nothing is written or removed."""
        if self.starts_again(overwrite=overwrite):
            say(f"{self.run.path}: holds another experiment, which would be removed")
            self.jobs.show(anew=True)
        else:
            self.jobs.show(anew=self.checks_again())

    def begin(self, *, overwrite: bool) -> None:
        """Remove what must not remain, and store the settings. The caller holds the lock of the jobs."""
        if self.starts_again(overwrite=overwrite):
            start_again(self.run, self.identity)
        elif self.checks_again():
            remove(self.jobs.done(""))
        write_text(self.jobs.folder / SETTINGS_FILE, tomli_w.dumps(self.settings))


def _plan(
    data: Path, run: RunFolder, config: ExperimentConfig, execution: Execution, findings: Findings
) -> dict[str, Any]:
    """The jobs, and what their graph reads."""
    plain, pseudo = _schemes_for(config, findings)
    labelled = [case for case in findings.cases if case.mask]
    given = config.given_folds
    folds = sorted(set(read_folds(given, labelled).values())) if given else list(range(config.folds))
    shares = 1 if execution.is_local else min(MOST_SHARES, len(findings.cases))
    training = [f"train/{scheme}/fold_{fold}" for scheme, fold in product([*plain, *pseudo], folds)]
    predicting = [f"predict/{number}_of_{shares}" for number in range(1, shares + 1)]
    device = [] if config.device == "auto" else ["--device", config.device]
    return {
        "jobs": ["prepare", "folds", "arrays", *training, *predicting, "postprocess", "evaluate", "report"],
        "run": str(run.path.resolve()),
        "data": str(data.resolve()),
        "mapping": this_program(),
        "schemes": plain,
        "pseudo_label_schemes": pseudo,
        "folds": folds,
        "shares": shares,
        "options": {
            "prepare": as_options(config.prepare, PrepareConfig()),
            "folds": as_options(config.splitting(), FoldsConfig()),
            "train": [*as_options(config.training(), TrainConfig(schemes=config.schemes)), *device],
            "predict": [*as_options(PredictConfig(mirror=config.mirror), PredictConfig()), *device],
            "postprocess": ["--rule", config.rule],
            "evaluate": ["--profile", config.scoring],
        },
        **execution.resources(config.device),
    }


def _schemes_for(config: ExperimentConfig, findings: Findings) -> tuple[list[str], list[str]]:
    """The schemes without and with pseudo-labels; by default none with, if no scan is unlabelled."""
    schemes = config.training().find_schemes()
    plain = [scheme.name for scheme in schemes if not scheme.pseudo_labels]
    pseudo = [scheme.name for scheme in schemes if scheme.pseudo_labels]
    if pseudo and not plain:
        raise ConfigError(f"--schemes {pseudo[0]}: needs another scheme to make its pseudo-labels; add default")
    if pseudo and all(case.mask for case in findings.cases):
        if config.schemes:
            raise ConfigError(f"--schemes {pseudo[0]}: needs scans without a mask, the data set has none; omit it")
        say(f"The data set has no unlabelled scans: {', '.join(pseudo)} is left out")
        return plain, []
    return plain, pseudo


def _settings(config: ExperimentConfig, plan: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that decide the results, as plain values; those that are not given are left out."""
    values = {**asdict(config), **asdict(config.prepare)}
    values["schemes"] = [*plan["schemes"], *plan["pseudo_label_schemes"]]
    for name in ("prepare", "device"):
        del values[name]
    return {
        name: str(value) if isinstance(value, Path) else value for name, value in values.items() if value is not None
    }


def _changed_settings(jobs: Jobs, asked: Mapping[str, Any]) -> list[str]:
    """The settings that differ from those of the run, of stages that have begun, with both values."""
    path = jobs.folder / SETTINGS_FILE
    if not path.is_file():
        return []
    found = tomllib.loads(path.read_text(encoding="utf-8"))
    stages = {job: stage_of(job) for job in jobs.names}
    # a training that has begun keeps its checkpoint; any other stage that was not finished starts anew
    begun = {stage for job, stage in stages.items() if (jobs.log if stage == "train" else jobs.done)(job).is_file()}
    return [
        f"{name} was {found.get(name, 'not given')}, now {asked.get(name, 'not given')}"
        for name in sorted(found.keys() | asked.keys())
        if found.get(name) != asked.get(name) and STAGE_OF.get(name, "train") in begun
    ]
